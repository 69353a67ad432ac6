"""The interface between a connection and its protocol (pure).

A protocol is a state machine: it takes messages (`receive`) and returns actions for the connection to perform:
`OpenStream`, `SetRate`, `AudioChunk`, `SendMessage`, `EndOfAudio`, `CloseConnection`. It performs no I/O and reads no
clock, so a test covers an exchange completely with messages and expected actions.

A message that violates the protocol is never answered with an exception. Before the stream is open, and for a missing
credential, it is answered with the protocol's own error and a closed connection. Once audio flows, a malformed message
is left out (`Omission`) and the call goes on; only a flood of them closes the connection. After `CloseConnection` a
protocol ignores all input.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Literal

from stream.events import CallChange, Event, Party
from stream.types import Samples

MAX_RATE_HZ = 48_000
"""Highest sample rate of a call; the models work at 16 kHz."""

MAX_JSON_DEPTH = 64
"""Maximum nesting of received JSON."""

MAX_MALFORMED = 100
"""By how many the malformed messages of an open connection may outnumber the others before it is closed."""


IsAuthorized = Callable[[Mapping[str, Any]], bool]
"""Checks the fields with which a client describes its stream for a credential."""


class RejectReason(StrEnum):
    """Why the server refuses or ends a connection."""

    MALFORMED = "malformed"
    UNAUTHORIZED = "unauthorized"
    TOO_BIG = "too_big"
    TOO_FAST = "too_fast"
    TOO_MANY = "too_many"
    IDLE = "idle"
    BUSY = "busy"
    STOPPING = "stopping"
    INTERNAL = "internal"


CLOSE_CODES = {
    RejectReason.MALFORMED: 1003,
    RejectReason.TOO_BIG: 1009,
    RejectReason.STOPPING: 1001,
    RejectReason.BUSY: 1013,
    RejectReason.INTERNAL: 1011,
}
"""WebSocket close codes (RFC 6455 and its IANA registry); every other reason is 1008, policy violation."""


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Open a call or a stream. `tracks` are the parties of a call, or a single None for a stream without parties.

    With `leg` the connection carries one party of a call whose other party may use another connection with the same
    name. The party is `tracks[0]`, or the first one without a connection if that is None.
    """

    name: str
    rate_hz: int  # 0: a `SetRate` follows before the first audio
    tracks: tuple[Party | None, ...]
    events: bool = False
    leg: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)  # what the peer says about the call
    age_s: float = 0.0  # how long ago the first audio was recorded


@dataclass(frozen=True, slots=True)
class SetRate:
    """Set the sample rate of a stream that was opened with rate 0."""

    rate_hz: int


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Audio of one track; `start_frame` counts from the connection's first frame, lost frames included."""

    track: int
    start_frame: int
    samples: Samples = field(repr=False)


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Send a message to the peer."""

    data: str | bytes


@dataclass(frozen=True, slots=True)
class EndOfAudio:
    """The audio ended regularly; once all events are sent, the connection calls `audio_finished`."""

    reason: str


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Close the connection. `code` and `reason` go into a WebSocket's close frame; a TCP socket has no place for them.

    `reject_reason` is None for a regular close.
    """

    code: int
    reason: str
    reject_reason: RejectReason | None = None


@dataclass(frozen=True, slots=True)
class Omission:
    """A malformed message was left out, wholly or in part; the connection goes on."""

    message: str


@dataclass(frozen=True, slots=True)
class InterruptAudio:
    """The peer says that it sends no audio for now (`paused`), or sends it again (`resumed`)."""

    state: Literal["paused", "resumed"]
    reason: str


@dataclass(frozen=True, slots=True)
class ChangeCall:
    """What the peer says about its call while it lasts: who is on it; that it is on hold, retrieved, transferred."""

    labels: Mapping[str, str]
    change: CallChange | None


Action = (
    OpenStream
    | SetRate
    | AudioChunk
    | SendMessage
    | EndOfAudio
    | CloseConnection
    | Omission
    | InterruptAudio
    | ChangeCall
)


class ProtocolViolation(Exception):
    """A message that the protocol does not allow; the text says what is wrong with it."""

    reject_reason = RejectReason.MALFORMED


class Unauthorized(ProtocolViolation):
    """The peer has shown no valid credential."""

    reject_reason = RejectReason.UNAUTHORIZED


class ConnectionProtocol(ABC):
    """Protocol state of one connection. `name` is the protocol's name in statistics.

    `timestamped` says that `AudioChunk.start_frame` comes from the peer's timestamps, so that audio that the peer
    omits leaves a gap; otherwise frames are counted. `pace_hint` is what to do when audio arrives at half or twice the
    speed of the clock.
    """

    name: ClassVar[str]
    timestamped: ClassVar[bool] = False
    pace_hint: ClassVar[str] = "check the sample rate and the number of channels that it was announced with"

    def __init__(self) -> None:
        self.closed = False
        self.awaits_proof = False  # whether the client has yet to prove who it is, by opening a stream
        self.is_open = False  # a stream was opened: from here on a malformed message is left out
        self.messages = 0  # received; of a TCP socket, packets
        self._malformed = 0  # by how many the malformed messages outnumber the others

    def receive(self, message: str | bytes) -> list[Action]:
        """Process one WebSocket message, or the bytes read from a TCP socket."""
        if self.closed:
            return []
        self.messages += 1
        try:
            actions = self._receive(message)
        except ProtocolViolation as violation:
            if not self._tolerates(violation):
                return self.reject(violation.reject_reason, str(violation))
            actions = [Omission(str(violation))]
        return self._track_malformed(self._track_close(actions))

    def encode_event(self, event: Event) -> list[Action]:  # noqa: ARG002 - most protocols send no events
        """Encode an event of the connection's own call or stream."""
        return []

    def audio_finished(self) -> list[Action]:
        """Close after `EndOfAudio`, once all events are sent."""
        return self._track_close([CloseConnection(1000, "")])

    def peer_closed(self) -> list[Action]:
        """Release what was held back when the peer closes the connection without the protocol's own end."""
        return []

    def stream_opened(self, name: str) -> list[Action]:  # noqa: ARG002
        """Acknowledge an `OpenStream`; `name` is the name of the stream or call in the pipeline."""
        return []

    def left_out(self, message: str) -> list[Action]:  # noqa: ARG002
        """Tell the peer about the first message that was left out, if the protocol has a message for it."""
        return []

    def reject(self, reason: RejectReason, message: str) -> list[Action]:
        """Send the protocol's own error and close the connection."""
        if self.closed:
            return []
        close = CloseConnection(CLOSE_CODES.get(reason, 1008), message, reason)
        return self._track_close([*self._error_messages(reason, message), close])

    @abstractmethod
    def _receive(self, message: str | bytes) -> list[Action]:
        """Process one message. Raises `ProtocolViolation`."""

    def _error_messages(self, reason: RejectReason, message: str) -> Sequence[Action]:  # noqa: ARG002
        return ()

    def _tolerates(self, violation: ProtocolViolation) -> bool:
        """Whether the connection goes on without the message that violates the protocol."""
        return self.is_open and violation.reject_reason is RejectReason.MALFORMED

    def _track_malformed(self, actions: list[Action]) -> list[Action]:
        """Count what was left out; a flood of it closes the connection."""
        left_out = [action.message for action in actions if isinstance(action, Omission)]
        well_formed = sum(isinstance(action, AudioChunk) for action in actions) or int(not left_out)
        self._malformed = max(0, self._malformed + len(left_out) - well_formed)
        if self._malformed <= MAX_MALFORMED or self.closed:
            return actions
        return [*actions, *self.reject(RejectReason.MALFORMED, f"too many malformed messages: {left_out[-1]}")]

    def _track_close(self, actions: list[Action]) -> list[Action]:
        """Update `closed` and `is_open` from `actions`, and return them."""
        self.closed = self.closed or any(isinstance(action, CloseConnection) for action in actions)
        self.is_open = self.is_open or any(isinstance(action, OpenStream) for action in actions)
        return actions


def parse_object(text: str) -> dict[str, Any]:
    """Parse a received JSON object. Raises `ProtocolViolation`."""
    try:
        if text.count("[") + text.count("{") > MAX_JSON_DEPTH and _nesting_depth(text) > MAX_JSON_DEPTH:
            raise ProtocolViolation("the message is nested too deeply")
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolViolation("the message is not JSON") from None
    if not isinstance(parsed, dict):
        raise ProtocolViolation("the message is not a JSON object")
    return parsed


def get_field(message: dict[str, Any], *keys: str, kind: type = str) -> Any:
    """Return the value under the first of the alternative `keys` that is present. Raises `ProtocolViolation`."""
    for key in keys:
        if key in message:
            value = message[key]
            if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
                return value
            raise ProtocolViolation(f"{key} is not {_TYPE_NAMES[kind]}")
    raise ProtocolViolation(f"{keys[0]} is missing")


def to_int(value: Any, name: str) -> int:
    """Return a non-negative integer below 2^53, which some peers send as text. Raises `ProtocolViolation`."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:  # noqa: PLR2004 - below 2^53
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise ProtocolViolation(f"{name} is not a whole number")
    return value


def to_party(name: Any) -> Party | None:
    """Return the party of that name, or None if it is neither."""
    return _PARTIES.get(name) if isinstance(name, str) else None


_PARTIES: dict[str, Party] = {"customer": "customer", "agent": "agent"}

_TYPE_NAMES = {str: "text", dict: "an object", list: "a list", int: "a whole number", bool: "true or false"}


def _nesting_depth(text: str) -> int:
    depth = deepest = 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        deepest = max(deepest, depth)
    return deepest
