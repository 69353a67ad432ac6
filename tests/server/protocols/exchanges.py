"""Protocols talked to in tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from stream.server.protocols.base import (
    Action,
    AudioChunk,
    CloseConnection,
    ConnectionProtocol,
    OpenStream,
    SendMessage,
)


def feed(protocol: ConnectionProtocol, *messages: str | bytes | dict[str, Any]) -> list[Action]:
    """Everything a protocol answers to these messages."""
    actions: list[Action] = []
    for message in messages:
        actions += protocol.receive(json.dumps(message) if isinstance(message, dict) else message)
    return actions


def kinds(actions: Sequence[Action]) -> list[str]:
    return [type(action).__name__ for action in actions]


def replies(actions: Sequence[Action]) -> list[Any]:
    """What went back, JSON read."""
    return [json.loads(action.data) for action in actions if isinstance(action, SendMessage)]


def opened(actions: Sequence[Action]) -> OpenStream:
    (found,) = [action for action in actions if isinstance(action, OpenStream)]
    return found


def closed(actions: Sequence[Action]) -> CloseConnection:
    (found,) = [action for action in actions if isinstance(action, CloseConnection)]
    assert actions[-1] == found, "a close is the last word"
    return found


def spans(actions: Sequence[Action], track: int = 0) -> list[tuple[int, int]]:
    """Where a track's sound lies, in frames."""
    return [
        (action.start_frame, action.start_frame + len(action.samples))
        for action in actions
        if isinstance(action, AudioChunk) and action.track == track
    ]


def sound(actions: Sequence[Action], track: int = 0) -> np.ndarray:
    return np.concatenate(
        [action.samples for action in actions if isinstance(action, AudioChunk) and action.track == track]
        or [np.empty(0, np.float32)]
    )
