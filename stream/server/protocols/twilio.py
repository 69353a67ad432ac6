"""Twilio Media Streams, and Telnyx' variant of them (pure).

JSON messages: `connected`, `start`, then `media` with base64 µ-law at 8 kHz (Telnyx also has `PCMU`, `PCMA`, `L16`),
`mark` and `dtmf` in between, and `stop`. Messages after `connected` are numbered consecutively from 1
(`sequenceNumber`). They are processed in that order; up to `MAX_REORDERED_MESSAGES` wait for a missing one before it
counts as lost. The `timestamp` of a chunk (ms since the stream's start) gives its position: a chunk that is more than
`MAX_JITTER_MS` ahead of the samples counted so far leaves a gap of that length; a smaller difference is jitter.

The inbound track is the audio that Twilio receives from the caller: the customer, unless the custom parameter `inbound`
of the stream is `agent`. The custom parameter `call` names the call; the default is its `callSid`.
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
from stream.server.call_labels import read_labels
from stream.server.protocols.base import (
    Action,
    AudioChunk,
    ConnectionProtocol,
    EndOfAudio,
    Omission,
    OpenStream,
    ProtocolViolation,
    Unauthorized,
    get_field,
    parse_object,
    to_int,
)
from stream.types import Samples

MAX_REORDERED_MESSAGES = 32
"""Maximum number of messages that wait for a missing one."""

MAX_JITTER_MS = 60
"""Timestamps are set when chunks are sent; a difference up to this is no loss."""

MAX_GAP_S = 600
"""Maximum gap; a larger jump of the timestamp is a protocol violation."""

_ENCODINGS = {"audio/x-mulaw": "mulaw", "PCMU": "mulaw", "audio/x-alaw": "alaw", "PCMA": "alaw", "L16": "l16"}


class TwilioProtocol(ConnectionProtocol):
    """State of one media stream. `is_authorized` checks its custom parameters, if the request had no credential."""

    name = "twilio"
    timestamped = True

    def __init__(self, *, is_authorized: Callable[[dict[str, Any]], bool] | None = None) -> None:
        super().__init__()
        self._is_authorized = is_authorized
        self.awaits_proof = is_authorized is not None
        self._next: int | None = None
        self._reorder_buffer: dict[int, dict[str, Any]] = {}
        self._tracks: dict[str, int] = {}
        self._ends: list[int] = []  # frames, by track
        self._rate_hz = 8_000
        self._encoding = "mulaw"
        self._started = self._ended = self._peer_closed = False

    def peer_closed(self) -> list[Action]:
        """Process the messages that were waiting for a missing one."""
        self._peer_closed = True  # missing messages cannot arrive any more
        try:
            return [] if self.closed else self._track_close(self._process_in_order())
        except ProtocolViolation:  # there is nobody left to tell
            return []

    def _receive(self, message: str | bytes) -> list[Action]:
        if isinstance(message, bytes):
            raise ProtocolViolation("media stream messages must be text")
        fields = parse_object(message)
        event = get_field(fields, "event")
        if event == "connected":
            return []
        number = fields.get("sequenceNumber", fields.get("sequence_number"))
        if number is None:
            return self._process(event, fields)
        number = to_int(number, "sequenceNumber")
        if self._next is None:
            self._next = min(number, 1)
        if number < self._next:  # a duplicate, or a message that counts as lost
            return []
        self._reorder_buffer[number] = {**fields, "event": event}
        return self._process_in_order()

    def _process_in_order(self) -> list[Action]:
        """Process messages up to the first missing one; skip it if too many messages wait."""
        actions: list[Action] = []
        while self._reorder_buffer and self._next is not None:
            if self._next not in self._reorder_buffer:
                if len(self._reorder_buffer) <= MAX_REORDERED_MESSAGES and not self._peer_closed:
                    break
                self._next = min(self._reorder_buffer)
            fields = self._reorder_buffer.pop(self._next)
            self._next += 1
            try:
                actions += self._process(fields["event"], fields)
            except ProtocolViolation as violation:  # the messages before and behind it are valid
                if not (self._tolerates(violation) or any(isinstance(action, OpenStream) for action in actions)):
                    raise
                actions.append(Omission(str(violation)))
        return actions

    def _process(self, event: str, fields: dict[str, Any]) -> list[Action]:
        if self._ended:
            raise ProtocolViolation("no message may follow stop")
        if event == "start":
            return self._start(get_field(fields, "start", kind=dict), fields)
        if event == "media":
            return self._media(get_field(fields, "media", kind=dict))
        if event == "stop":
            if not self._started:
                raise ProtocolViolation("stop before start")
            self._ended = True
            return [EndOfAudio("the call has ended")]
        if event in ("mark", "dtmf", "clear", "error"):
            return []
        raise ProtocolViolation("event must be connected, start, media, mark, dtmf or stop")

    def _start(self, start: dict[str, Any], fields: dict[str, Any]) -> list[Action]:
        if self._started:
            raise ProtocolViolation("repeated start; send it once per stream")
        parameters = start.get("customParameters", start.get("custom_parameters")) or {}
        if not isinstance(parameters, dict):
            raise ProtocolViolation("customParameters must be an object")
        if self._is_authorized is not None and not self._is_authorized(parameters):
            raise Unauthorized("missing or wrong token; set the custom parameter `token`")
        self._started = True
        media_format = start.get("mediaFormat", start.get("media_format")) or {}
        if not isinstance(media_format, dict):
            raise ProtocolViolation("mediaFormat must be an object")
        encoding = media_format.get("encoding", "audio/x-mulaw")
        if not isinstance(encoding, str) or encoding not in _ENCODINGS:
            raise ProtocolViolation("encoding must be audio/x-mulaw, PCMU, PCMA or L16")
        self._encoding = _ENCODINGS[encoding]
        self._rate_hz = to_int(media_format.get("sampleRate", media_format.get("sample_rate", 8_000)), "sampleRate")
        if (
            self._rate_hz not in (8_000, 16_000, 24_000, 48_000)
            or to_int(media_format.get("channels", 1), "channels") != 1
        ):
            raise ProtocolViolation("audio must be mono at 8, 16, 24 or 48 kHz")
        names = _track_names(start)
        self._tracks = {name: index for index, name in enumerate(names)}
        self._ends = [0] * len(names)
        inbound: Party = "agent" if parameters.get("inbound") == "agent" else "customer"
        outbound: Party = "customer" if inbound == "agent" else "agent"
        name = parameters.get("call") or start.get("callSid") or start.get("call_control_id") or ""
        name = name or fields.get("streamSid") or fields.get("stream_id") or "twilio"
        parties = tuple(inbound if track == "inbound" else outbound for track in names)
        return [OpenStream(str(name), self._rate_hz, parties, labels=read_labels(parameters, start))]

    def _media(self, media: dict[str, Any]) -> list[Action]:
        if not self._started:
            raise ProtocolViolation("media before start")
        track = self._tracks.get(str(media.get("track", "inbound")))
        if track is None:
            raise ProtocolViolation("media for a track that start did not announce")
        timestamp_ms = to_int(get_field(media, "timestamp", kind=object), "timestamp")
        samples = self._decode(get_field(media, "payload"))
        expected, stamped = self._ends[track], timestamp_ms * self._rate_hz // 1_000
        start = stamped if stamped - expected > MAX_JITTER_MS * self._rate_hz // 1_000 else expected
        if start - expected > MAX_GAP_S * self._rate_hz:
            raise ProtocolViolation(f"timestamp jumps by more than {MAX_GAP_S} s")
        self._ends[track] = start + len(samples)
        return [AudioChunk(track, start, samples)] if len(samples) else []

    def _decode(self, payload: str) -> Samples:
        try:
            data = base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError):
            raise ProtocolViolation("payload is not base64") from None
        if self._encoding != "l16":
            return g711.decode(data, self._encoding)
        if len(data) % 2:
            raise ProtocolViolation("payload must consist of whole 2-byte samples")
        return np.ascontiguousarray(decode(data, pcm_format="s16le", channels=1)[:, 0])


def _track_names(start: dict[str, Any]) -> list[Literal["inbound", "outbound"]]:
    tracks = start.get("tracks", ["inbound", "outbound"])
    if not isinstance(tracks, list):
        raise ProtocolViolation("tracks must be a list")
    names: list[Literal["inbound", "outbound"]] = []
    if "inbound" in tracks:
        names.append("inbound")
    if "outbound" in tracks:
        names.append("outbound")
    if not names:
        raise ProtocolViolation("tracks must contain inbound or outbound")
    return names
