"""Feeding protocols with messages, and reading the actions that they return."""

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
    Omission,
    OpenStream,
    SendMessage,
)


def feed(protocol: ConnectionProtocol, *messages: str | bytes | dict[str, Any]) -> list[Action]:
    """Return all actions for `messages`; dictionaries are sent as JSON."""
    actions: list[Action] = []
    for message in messages:
        actions += protocol.receive(json.dumps(message) if isinstance(message, dict) else message)
    return actions


def kinds(actions: Sequence[Action]) -> list[type[Action]]:
    return [type(action) for action in actions]


def replies(actions: Sequence[Action]) -> list[Any]:
    """Return the messages sent to the peer, decoded from JSON."""
    return [json.loads(action.data) for action in actions if isinstance(action, SendMessage)]


def opened(actions: Sequence[Action]) -> OpenStream:
    """Return the only `OpenStream`."""
    (found,) = [action for action in actions if isinstance(action, OpenStream)]
    return found


def closed(actions: Sequence[Action]) -> CloseConnection:
    """Return the only `CloseConnection`, which must be the last action."""
    (found,) = [action for action in actions if isinstance(action, CloseConnection)]
    assert actions[-1] == found, "no action follows a close"
    return found


def violation(actions: Sequence[Action]) -> str:
    """Return what was wrong: of a message that was left out, or of one that closed the connection."""
    left_out = [action.message for action in actions if isinstance(action, Omission)]
    return left_out[-1] if left_out else closed(actions).reason


def spans(actions: Sequence[Action], track: int = 0) -> list[tuple[int, int]]:
    """Return the frame ranges of a track's audio chunks."""
    return [
        (action.start_frame, action.start_frame + len(action.samples))
        for action in actions
        if isinstance(action, AudioChunk) and action.track == track
    ]


def audio(actions: Sequence[Action], track: int = 0) -> np.ndarray:
    """Return a track's samples, joined."""
    return np.concatenate(
        [action.samples for action in actions if isinstance(action, AudioChunk) and action.track == track]
        or [np.empty(0, np.float32)]
    )
