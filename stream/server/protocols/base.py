"""What a connection's protocol and its connection say to each other (pure).

A protocol is an object that is fed messages (`receive`) and answers with actions: `OpenStream` a call or a stream, hear
`AudioChunk`, `SendMessage` to the peer, `EndOfAudio` the sound, `CloseConnection` the connection. It never does anything itself, holds no socket
and looks at no clock, so that an exchange written down in a test is the whole truth about it.

Whatever cannot be what the protocol says is answered with the protocol's own error and a closed connection, never with
an exception. After a `CloseConnection` a protocol is deaf.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from stream.events import Event, Party
from stream.types import Samples

DEEPEST = 64
"""How deep JSON from outside may be nested."""


class RejectReason(StrEnum):
    """Why a connection is refused or ended by us."""

    MALFORMED = "malformed"
    UNAUTHORIZED = "unauthorized"
    TOO_BIG = "too_big"
    TOO_FAST = "too_fast"
    TOO_MANY = "too_many"
    IDLE = "idle"
    BUSY = "busy"
    STOPPING = "stopping"


CLOSE_CODES = {
    RejectReason.MALFORMED: 1003,
    RejectReason.TOO_BIG: 1009,
    RejectReason.STOPPING: 1001,
    RejectReason.BUSY: 1013,
}
"""RFC 6455 and its registry; anything else is 1008, a policy."""


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Sound will come. `tracks` are the parties of a call, or one None for a stream that is no call.

    `leg` says that this connection carries one party of a call whose other party may come on another connection of the
    same name; which party it is follows from the order unless `tracks` says so.
    """

    name: str
    rate_hz: int  # 0: told by a `SetRate` before the first sound
    tracks: tuple[Party | None, ...]
    events: bool = False
    leg: bool = False


@dataclass(frozen=True, slots=True)
class SetRate:
    """The rate of what was opened is known by now."""

    rate_hz: int


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Sound of one track; `start_frame` counts from the connection's first frame, lost ones included."""

    track: int
    start_frame: int
    samples: Samples = field(repr=False)


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Something for the peer."""

    data: str | bytes


@dataclass(frozen=True, slots=True)
class EndOfAudio:
    """The sound has ended as it should; when all has been told of it, `finished` is asked for the last words."""

    reason: str


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Close the connection, for a fault or not. The code is a WebSocket's; a plain socket is just closed."""

    code: int
    reason: str
    fault: RejectReason | None = None


Action = OpenStream | SetRate | AudioChunk | SendMessage | EndOfAudio | CloseConnection


class ProtocolViolation(Exception):
    """What came is not of the protocol; the message says what is wrong."""

    fault = RejectReason.MALFORMED


class Unauthorized(ProtocolViolation):
    """Whoever it is has not shown that he may."""

    fault = RejectReason.UNAUTHORIZED


class ConnectionProtocol(ABC):
    """One connection's protocol. Subclasses say what a message means, and by which name they are counted."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.closed = False

    def receive(self, message: str | bytes) -> list[Action]:
        """Take one message (a WebSocket's), or whatever bytes have come (a socket's)."""
        if self.closed:
            return []
        try:
            return self._seal(self._receive(message))
        except ProtocolViolation as wrong:
            return self.refuse(wrong.fault, str(wrong))

    def tell(self, event: Event) -> list[Action]:  # noqa: ARG002 - most protocols have no way to say it
        """An event of the connection's own call or stream."""
        return []

    def finished(self) -> list[Action]:
        """Everything has been told after `EndOfAudio`."""
        return self._seal([CloseConnection(1000, "")])

    def hung_up(self) -> list[Action]:
        """The peer has gone without a word; returns what was still held back."""
        return []

    def started(self, name: str) -> list[Action]:  # noqa: ARG002
        """The stream or call that was opened goes by this name."""
        return []

    def refuse(self, fault: RejectReason, message: str) -> list[Action]:
        """End the connection for a reason of ours."""
        if self.closed:
            return []
        return self._seal(
            [*self._last_words(fault, message), CloseConnection(CLOSE_CODES.get(fault, 1008), message, fault)]
        )

    @abstractmethod
    def _receive(self, message: str | bytes) -> list[Action]:
        """What a message of the peer leads to."""

    def _last_words(self, fault: RejectReason, message: str) -> Sequence[Action]:  # noqa: ARG002
        return ()

    def _seal(self, actions: list[Action]) -> list[Action]:
        self.closed = self.closed or any(isinstance(action, CloseConnection) for action in actions)
        return actions


def parse(text: str) -> dict[str, Any]:
    """A JSON object from outside. Raises `ProtocolViolation`."""
    try:
        if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
            raise ProtocolViolation("the message is nested too deeply")
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolViolation("the message is not JSON") from None
    if not isinstance(found, dict):
        raise ProtocolViolation("the message is not a JSON object")
    return found


def get(message: dict[str, Any], *keys: str, kind: type = str) -> Any:
    """The value under the first of several spellings of a key that is there. Raises `ProtocolViolation`."""
    for key in keys:
        if key in message:
            value = message[key]
            if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
                return value
            raise ProtocolViolation(f"{key} is not {_WORDS[kind]}")
    raise ProtocolViolation(f"{keys[0]} is missing")


def number(value: Any, name: str) -> int:
    """A whole number that some peers write as text. Raises `ProtocolViolation`."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:  # noqa: PLR2004 - below 2^53
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise ProtocolViolation(f"{name} is not a whole number")
    return value


_WORDS = {str: "text", dict: "an object", list: "a list", int: "a whole number", bool: "true or false"}


def _depth(text: str) -> int:
    depth = deepest = 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        deepest = max(deepest, depth)
    return deepest
