"""Twilio Media Streams, and Telnyx' spelling of them (pure).

JSON messages: `connected`, `start`, then `media` with base64 µ-law at 8 kHz (Telnyx also has `PCMU`, `PCMA`, `L16`),
`mark` and `dtmf` in between, and `stop`. Every message after `connected` is numbered without holes from 1 on
(`sequenceNumber`); they are put in order again, waiting for `HELD` messages at most, after which the missing ones are
lost. Where in time a chunk belongs is said by its `timestamp` (ms since the stream's start): a chunk that comes later
than the samples counted so far by more than `JITTER_MS` leaves a gap of that length, anything less is jitter.

The inbound track is what Twilio hears of the caller: the customer, unless the stream's custom parameter `inbound` says
`agent`. A custom parameter `call` names the call; otherwise its `callSid` does.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from stream.audio import g711
from stream.audio.pcm import decode
from stream.events import Party
from stream.server.protocols.base import (
    Action,
    AudioChunk,
    ConnectionProtocol,
    EndOfAudio,
    OpenStream,
    ProtocolViolation,
    Unauthorized,
    get,
    number,
    parse,
)
from stream.types import Samples

HELD = 32
"""Messages that may wait for one that is missing."""

JITTER_MS = 60
"""Chunks are stamped when they leave; less than this is no loss."""

LONGEST_GAP_S = 600
"""A jump in time beyond this is no gap but nonsense."""

_ENCODINGS = {"audio/x-mulaw": "mulaw", "PCMU": "mulaw", "audio/x-alaw": "alaw", "PCMA": "alaw", "L16": "l16"}


class TwilioProtocol(ConnectionProtocol):
    """One media stream. `admits` judges the stream's custom parameters, where the connection has not proved itself."""

    name = "twilio"

    def __init__(self, *, admits: Callable[[dict[str, Any]], bool] | None = None) -> None:
        super().__init__()
        self._admits = admits
        self._next: int | None = None
        self._held: dict[int, dict[str, Any]] = {}
        self._tracks: dict[str, int] = {}
        self._ends: list[int] = []  # frames, by track
        self._rate_hz = 8_000
        self._encoding = "mulaw"
        self._started = self._ended = self._last = False

    def hung_up(self) -> list[Action]:
        """What still waited for a missing message."""
        self._last = True  # nothing more comes: what is missing by now is lost
        return [] if self.closed else self._seal(self._in_order())

    def _receive(self, message: str | bytes) -> list[Action]:
        if isinstance(message, bytes):
            raise ProtocolViolation("media streams are made of text messages")
        fields = parse(message)
        event = get(fields, "event")
        if event == "connected":
            return []
        written = fields.get("sequenceNumber", fields.get("sequence_number"))
        if written is None:
            return self._take(event, fields)
        place = number(written, "sequenceNumber")
        if self._next is None:
            self._next = min(place, 1)
        if place < self._next:  # a duplicate, or one that was given up
            return []
        self._held[place] = {**fields, "event": event}
        return self._in_order()

    def _in_order(self) -> list[Action]:
        """Whatever is due by number; a message that keeps too many waiting is lost."""
        actions: list[Action] = []
        while self._held and self._next is not None:
            if self._next not in self._held:
                if len(self._held) <= HELD and not self._last:
                    break
                self._next = min(self._held)
            fields = self._held.pop(self._next)
            self._next += 1
            actions += self._take(fields["event"], fields)
        return actions

    def _take(self, event: str, fields: dict[str, Any]) -> list[Action]:
        if self._ended:
            raise ProtocolViolation("nothing may follow a stop")
        if event == "start":
            return self._start(get(fields, "start", kind=dict), fields)
        if event == "media":
            return self._media(get(fields, "media", kind=dict))
        if event == "stop":
            if not self._started:
                raise ProtocolViolation("a stop came before the start")
            self._ended = True
            return [EndOfAudio("the call has ended")]
        if event in ("mark", "dtmf", "clear", "error"):
            return []
        raise ProtocolViolation("event must be connected, start, media, mark, dtmf or stop")

    def _start(self, start: dict[str, Any], fields: dict[str, Any]) -> list[Action]:
        if self._started:
            raise ProtocolViolation("a second start came")
        parameters = start.get("customParameters", start.get("custom_parameters")) or {}
        if not isinstance(parameters, dict):
            raise ProtocolViolation("customParameters is not an object")
        if self._admits is not None and not self._admits(parameters):
            raise Unauthorized("the stream brought no valid token; set the parameter `token`")
        self._started = True
        shape = start.get("mediaFormat", start.get("media_format")) or {}
        if not isinstance(shape, dict):
            raise ProtocolViolation("mediaFormat is not an object")
        encoding = shape.get("encoding", "audio/x-mulaw")
        if not isinstance(encoding, str) or encoding not in _ENCODINGS:
            raise ProtocolViolation("the encoding must be audio/x-mulaw, PCMU, PCMA or L16")
        self._encoding = _ENCODINGS[encoding]
        self._rate_hz = number(shape.get("sampleRate", shape.get("sample_rate", 8_000)), "sampleRate")
        if self._rate_hz not in (8_000, 16_000, 24_000, 48_000) or number(shape.get("channels", 1), "channels") != 1:
            raise ProtocolViolation("the sound must be mono at 8, 16, 24 or 48 kHz")
        names = self._names(start)
        self._tracks = {name: place for place, name in enumerate(names)}
        self._ends = [0] * len(names)
        inbound: Party = "agent" if parameters.get("inbound") == "agent" else "customer"
        outbound: Party = "customer" if inbound == "agent" else "agent"
        name = parameters.get("call") or start.get("callSid") or start.get("call_control_id") or ""
        name = name or fields.get("streamSid") or fields.get("stream_id") or "twilio"
        parties = tuple(inbound if one == "inbound" else outbound for one in names)
        return [OpenStream(str(name), self._rate_hz, parties)]

    def _names(self, start: dict[str, Any]) -> list[Literal["inbound", "outbound"]]:
        tracks = start.get("tracks", ["inbound", "outbound"])
        if not isinstance(tracks, list):
            raise ProtocolViolation("tracks is not a list")
        names: list[Literal["inbound", "outbound"]] = []
        if "inbound" in tracks:
            names.append("inbound")
        if "outbound" in tracks:
            names.append("outbound")
        if not names:
            raise ProtocolViolation("tracks must hold inbound or outbound")
        return names

    def _media(self, media: dict[str, Any]) -> list[Action]:
        if not self._started:
            raise ProtocolViolation("media came before the start")
        track = self._tracks.get(str(media.get("track", "inbound")))
        if track is None:
            raise ProtocolViolation("media came for a track that the start did not name")
        stamp_ms = number(get(media, "timestamp", kind=object), "timestamp")
        samples = self._decode(get(media, "payload"))
        due, said = self._ends[track], stamp_ms * self._rate_hz // 1_000
        start = said if said - due > JITTER_MS * self._rate_hz // 1_000 else due
        if start - due > LONGEST_GAP_S * self._rate_hz:
            raise ProtocolViolation(f"the timestamp jumps by more than {LONGEST_GAP_S} s")
        self._ends[track] = start + len(samples)
        return [AudioChunk(track, start, samples)] if len(samples) else []

    def _decode(self, payload: str) -> Samples:
        try:
            data = base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError):
            raise ProtocolViolation("the payload is not base64") from None
        if self._encoding != "l16":
            return g711.decode(data, self._encoding)
        if len(data) % 2:
            raise ProtocolViolation("the payload is not of whole samples")
        return np.ascontiguousarray(decode(data, pcm_format="s16le", channels=1)[:, 0])
