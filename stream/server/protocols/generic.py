"""Our own small protocol, for browsers and for anything that has none (pure).

    client: {"type": "start", "rate_hz": 48000, "channels": 1, "format": "s16le", "source": "desk", "events": true}
    server: {"type": "started", "source": "desk", "schema": 1}
    client: binary PCM, interleaved, whole frames, of any length        server: events, one a message
    client: {"type": "stop"}                                            server: the rest of the events
                                                                        server: {"type": "stopped"}, closes with 1000

A call of two tracks says `"call": "ID", "channels": 2, "parties": ["customer", "agent"]` instead of `source`. On an
error the server says {"type": "error", "code": …, "message": …} and closes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from stream import events
from stream.audio.pcm import SAMPLE_BYTES, decode
from stream.events import Event, Party
from stream.server.protocols.base import (
    Action,
    AudioChunk,
    ConnectionProtocol,
    EndOfAudio,
    OpenStream,
    ProtocolViolation,
    RejectReason,
    SendMessage,
    get,
    number,
    parse,
)

LOWEST_HZ, HIGHEST_HZ = 4_000, 192_000
LONGEST_NAME = 64


class GenericProtocol(ConnectionProtocol):
    """One connection of a browser, or of any other client."""

    name = "generic"

    def __init__(self) -> None:
        super().__init__()
        self._open: OpenStream | None = None
        self._format = "s16le"
        self._frame_bytes = 2
        self._frames = 0
        self._ended = False

    def started(self, name: str) -> list[Action]:
        """The connection's stream or call goes by this name."""
        return [_say("started", source=name, schema=events.SCHEMA_VERSION)]

    def tell(self, event: Event) -> list[Action]:
        """The event as it is."""
        return [] if self.closed else [SendMessage(events.to_json(event))]

    def finished(self) -> list[Action]:
        """The last message before the close."""
        return [_say("stopped"), *super().finished()]

    def _receive(self, message: str | bytes) -> list[Action]:
        if self._ended:
            raise ProtocolViolation("nothing may follow a stop")
        if isinstance(message, bytes):
            return self._hear(message)
        fields = parse(message)
        kind = get(fields, "type")
        if kind == "start":
            return self._start(fields)
        if kind == "stop":
            if self._open is None:
                raise ProtocolViolation("a stop came before the start")
            self._ended = True
            return [EndOfAudio("the client has stopped")]
        raise ProtocolViolation("type must be start or stop")

    def _start(self, fields: dict[str, Any]) -> list[Action]:
        if self._open is not None:
            raise ProtocolViolation("a second start came")
        unknown = set(fields) - {
            "type",
            "rate_hz",
            "channels",
            "format",
            "source",
            "call",
            "parties",
            "events",
            "token",
        }
        if unknown:
            raise ProtocolViolation(f"a start has no {min(unknown)[:LONGEST_NAME]}")
        rate_hz = number(get(fields, "rate_hz", kind=int), "rate_hz")
        if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
            raise ProtocolViolation(f"rate_hz must be from {LOWEST_HZ} to {HIGHEST_HZ}")
        self._format = fields.get("format", "s16le")
        if self._format not in tuple(SAMPLE_BYTES):
            raise ProtocolViolation(f"format must be {' or '.join(SAMPLE_BYTES)}")
        tracks = _tracks(fields)
        channels = number(fields.get("channels", len(tracks)), "channels")
        if channels != len(tracks):
            raise ProtocolViolation(f"channels must be {len(tracks)}: one a party, or one for a stream")
        name = get(fields, "call" if "parties" in fields else "source") if {"call", "source"} & set(fields) else ""
        if len(name) > LONGEST_NAME:
            raise ProtocolViolation(f"a name may have {LONGEST_NAME} letters")
        self._frame_bytes = SAMPLE_BYTES[self._format] * channels
        wanted = get(fields, "events", kind=bool) if "events" in fields else True
        self._open = OpenStream(name or "client", rate_hz, tracks, events=wanted)
        return [self._open]

    def _hear(self, data: bytes) -> list[Action]:
        if self._open is None:
            raise ProtocolViolation("sound came before the start")
        if len(data) % self._frame_bytes:
            raise ProtocolViolation(f"the sound is not of whole frames of {self._frame_bytes} bytes")
        if not data:
            return []
        channels = len(self._open.tracks)
        samples = decode(data, pcm_format=self._format, channels=channels)
        if self._format == "f32le" and not (np.abs(samples) <= 4.0).all():  # noqa: PLR2004 - NaN fails, too
            raise ProtocolViolation("the sound holds samples that are no numbers from -1 to 1")
        start, self._frames = self._frames, self._frames + len(samples)
        return [AudioChunk(track, start, np.ascontiguousarray(samples[:, track])) for track in range(channels)]

    def _last_words(self, fault: RejectReason, message: str) -> Sequence[Action]:
        return [_say("error", code=fault.value, message=message)]


def _tracks(fields: dict[str, Any]) -> tuple[Party | None, ...]:
    if "parties" not in fields:
        return (None,)
    parties = get(fields, "parties", kind=list)
    if not 1 <= len(parties) <= 2 or len(set(map(str, parties))) < len(parties):  # noqa: PLR2004
        raise ProtocolViolation("parties must name one or two different parties")
    known: dict[Any, Party] = {"customer": "customer", "agent": "agent"}
    if any(not isinstance(party, str) or party not in known for party in parties):
        raise ProtocolViolation("parties must be customer or agent")
    get(fields, "call")
    return tuple(known[party] for party in parties)


def _say(kind: str, **fields: Any) -> SendMessage:
    return SendMessage(json.dumps({"type": kind, **fields}))
