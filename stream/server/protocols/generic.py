"""tonewatch's own protocol, for browsers and custom clients (pure).

    client: {"type": "start", "rate_hz": 48000, "channels": 1, "format": "s16le", "source": "desk", "events": true}
    server: {"type": "started", "source": "desk", "schema": 2}
    client: binary PCM, interleaved, whole frames, of any length        server: events, one per message
    client: {"type": "stop"}                                            server: the remaining events
                                                                        server: {"type": "stopped"}, closes with 1000

{"type": "call", "change": "hold", "labels": {"agent": "Grace"}} says what happens to a call while it lasts: `hold`,
`retrieve` or `transfer`.

`"age_s": 12.5` in `start` says how long ago the first audio was recorded, if a client has kept it during an outage: its
events are dated right, and so much more may be ahead of real time.

Once audio flows, a malformed message is left out, and the first one is answered with {"type": "warning", "message": …}.

A call of two tracks has `"call": "ID", "channels": 2, "parties": ["customer", "agent"]` instead of `source`. On an
error the server sends {"type": "error", "code": …, "message": …} and closes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from stream import events
from stream.audio.pcm import SAMPLE_BYTES, decode
from stream.events import Event, Party
from stream.server.call_labels import read_change, read_labels
from stream.server.protocols.base import (
    MAX_RATE_HZ,
    Action,
    AudioChunk,
    ChangeCall,
    ConnectionProtocol,
    EndOfAudio,
    Omission,
    OpenStream,
    ProtocolViolation,
    RejectReason,
    SendMessage,
    get_field,
    parse_object,
    to_int,
    to_party,
)

MIN_RATE_HZ = 4_000
MAX_NAME_CHARACTERS = 64
MAX_AGE_S = 300.0
"""Oldest audio that a client may have kept while it was not connected."""

MAX_SAMPLE = 4.0
"""Largest absolute value of a float sample that is accepted; the nominal range is -1 to 1."""


START_FIELDS = frozenset(
    ("type", "rate_hz", "channels", "format", "source", "call", "parties", "events", "token", "labels", "age_s")
)


class GenericProtocol(ConnectionProtocol):
    """State of one client's connection."""

    name = "generic"

    def __init__(self) -> None:
        super().__init__()
        self._open: OpenStream | None = None
        self._format = "s16le"
        self._frame_bytes = 2
        self._frames = 0
        self._ended = False

    def stream_opened(self, name: str) -> list[Action]:
        """Send `started` with the assigned name."""
        return [_message("started", source=name, schema=events.SCHEMA_VERSION)]

    def encode_event(self, event: Event) -> list[Action]:
        """Send the event as JSON."""
        return [] if self.closed else [SendMessage(events.to_json(event))]

    def audio_finished(self) -> list[Action]:
        """Send `stopped` and close."""
        return [_message("stopped"), *super().audio_finished()]

    def left_out(self, message: str) -> list[Action]:
        """Send a warning."""
        return [_message("warning", message=message)]

    def _receive(self, message: str | bytes) -> list[Action]:
        if self._ended:
            raise ProtocolViolation("no message may follow stop")
        if isinstance(message, bytes):
            return self._receive_audio(message)
        fields = parse_object(message)
        kind = get_field(fields, "type")
        if kind == "start":
            return self._start(fields)
        if kind == "stop":
            if self._open is None:
                raise ProtocolViolation("stop before start")
            self._ended = True
            return [EndOfAudio("the client sent stop")]
        if kind == "call":
            return [self._change_call(fields)]
        raise ProtocolViolation("type must be start, call or stop")

    def _change_call(self, fields: dict[str, Any]) -> Action:
        if self._open is None:
            raise ProtocolViolation("call before start")
        labels = read_labels(get_field(fields, "labels", kind=dict)) if "labels" in fields else {}
        change = read_change(fields)
        if change is None and ("change" in fields or not labels):
            raise ProtocolViolation("change must be hold, retrieve or transfer")
        return ChangeCall(labels, change)

    def _start(self, fields: dict[str, Any]) -> list[Action]:
        if self._open is not None:
            raise ProtocolViolation("repeated start; send it once per connection")
        unknown = set(fields) - START_FIELDS
        if unknown:
            raise ProtocolViolation(f"unknown field {min(unknown)[:MAX_NAME_CHARACTERS]!r} in start")
        rate_hz = to_int(get_field(fields, "rate_hz", kind=int), "rate_hz")
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            raise ProtocolViolation(f"rate_hz must be from {MIN_RATE_HZ} to {MAX_RATE_HZ}")
        self._format = fields.get("format", "s16le")
        if self._format not in tuple(SAMPLE_BYTES):
            raise ProtocolViolation(f"format must be {' or '.join(SAMPLE_BYTES)}")
        tracks = _tracks(fields)
        channels = to_int(fields.get("channels", len(tracks)), "channels")
        if channels != len(tracks):
            raise ProtocolViolation(f"channels must be {len(tracks)}: one per party of a call, one for a stream")
        name = (
            get_field(fields, "call" if "parties" in fields else "source") if {"call", "source"} & set(fields) else ""
        )
        if len(name) > MAX_NAME_CHARACTERS:
            raise ProtocolViolation(f"name too long: {len(name)} characters, at most {MAX_NAME_CHARACTERS}")
        labels = read_labels(get_field(fields, "labels", kind=dict)) if "labels" in fields else {}
        self._frame_bytes = SAMPLE_BYTES[self._format] * channels
        events_wanted = get_field(fields, "events", kind=bool) if "events" in fields else True
        age_s = _age_s(fields)
        self._open = OpenStream(name or "client", rate_hz, tracks, events=events_wanted, labels=labels, age_s=age_s)
        return [self._open]

    def _receive_audio(self, data: bytes) -> list[Action]:
        if self._open is None:
            raise ProtocolViolation("audio before start")
        actions: list[Action] = []
        if len(data) % self._frame_bytes:
            actions.append(Omission(f"audio must consist of whole frames of {self._frame_bytes} bytes"))
            data = data[: len(data) // self._frame_bytes * self._frame_bytes]
        if not data:
            return actions
        channels = len(self._open.tracks)
        samples = decode(data, pcm_format=self._format, channels=channels)
        if self._format == "f32le" and not (valid := np.abs(samples) <= MAX_SAMPLE).all():  # false for NaN as well
            actions.append(Omission("samples must be numbers from -1 to 1"))
            samples = np.where(valid, samples, np.float32(0))
        start, self._frames = self._frames, self._frames + len(samples)
        chunks = (AudioChunk(track, start, np.ascontiguousarray(samples[:, track])) for track in range(channels))
        return [*actions, *chunks]

    def _error_messages(self, reason: RejectReason, message: str) -> Sequence[Action]:
        return [_message("error", code=reason.value, message=message)]


def _age_s(fields: dict[str, Any]) -> float:
    age_s = fields.get("age_s", 0)
    if isinstance(age_s, bool) or not isinstance(age_s, int | float) or not 0 <= age_s <= MAX_AGE_S:
        raise ProtocolViolation(f"age_s must be from 0 to {MAX_AGE_S:g}")
    return float(age_s)


def _tracks(fields: dict[str, Any]) -> tuple[Party | None, ...]:
    if "parties" not in fields:
        return (None,)
    parties = get_field(fields, "parties", kind=list)
    if not 1 <= len(parties) <= 2 or len(set(map(str, parties))) < len(parties):  # noqa: PLR2004
        raise ProtocolViolation("parties must name one or two different parties")
    named = tuple(to_party(party) for party in parties)
    if None in named:
        raise ProtocolViolation("parties must be customer or agent")
    get_field(fields, "call")
    return named


def _message(kind: str, **fields: Any) -> SendMessage:
    return SendMessage(json.dumps({"type": kind, **fields}))
