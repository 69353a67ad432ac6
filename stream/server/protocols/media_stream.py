"""Media streams in JSON: what Twilio, Telnyx, Plivo and Exotel have in common (pure).

Messages are `start`, then `media` with audio in base64, with `dtmf`, `mark` and the like in between, and `stop`. The
`timestamp` of a chunk in ms gives its position: a chunk that is more than `MAX_JITTER_MS` ahead of the samples counted
so far leaves a gap of that length; a smaller difference is jitter.

The inbound track is the audio that the telephone system receives from the caller: the customer, unless the custom
parameter `inbound` is `agent`. The custom parameter `call` names the call.
"""

from __future__ import annotations

import base64
import binascii
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from stream.audio import g711
from stream.audio.pcm import decode_mono
from stream.events import Party
from stream.server.call_labels import read_labels
from stream.server.protocols.base import (
    Action,
    AudioChunk,
    ConnectionProtocol,
    EndOfAudio,
    IsAuthorized,
    OpenStream,
    ProtocolViolation,
    Unauthorized,
    get_field,
    parse_object,
    to_int,
)
from stream.types import Samples

MAX_JITTER_MS = 60
"""Timestamps are set when chunks are sent; a difference up to this is no loss."""

MAX_GAP_S = 600
"""Maximum gap; a larger jump of the timestamp is a protocol violation."""

RATES_HZ = (8_000, 16_000, 24_000, 48_000)

Encoding = Literal["mulaw", "alaw", "l16"]


@dataclass(frozen=True, slots=True)
class MediaStart:
    """What a `start` message says, whatever its fields are called."""

    call: str
    parameters: Mapping[str, Any]  # the custom ones
    media_format: Mapping[str, Any]
    rate_hz: Any = 8_000  # as received
    channels: Any = 1


class MediaStreamProtocol(ConnectionProtocol):
    """State of one media stream. `is_authorized` checks its custom parameters, if the request had no credential.

    `encodings` are the names of supported ones; the first applies where none is named. `ignored_events` concern those
    who play audio. With `from_first_chunk` timestamps count from anywhere, not from the stream's start. `parameters`
    are those of the request URL; custom ones of the same name win.
    """

    timestamped = True
    encodings: ClassVar[Mapping[str, Encoding]]
    ignored_events: ClassVar[frozenset[str]]
    from_first_chunk: ClassVar[bool] = False

    def __init__(
        self, *, is_authorized: IsAuthorized | None = None, parameters: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self._parameters = parameters or {}
        self._is_authorized = is_authorized
        self.awaits_proof = is_authorized is not None
        self._tracks: dict[str, int] = {}
        self._ends: list[int] = []  # frames, by track
        self._rate_hz = 8_000
        self._encoding: Encoding = "mulaw"
        self._origin_ms: int | None = None  # timestamp that counts as 0
        self._ended = False

    @abstractmethod
    def _read_start(self, start: dict[str, Any], message: dict[str, Any]) -> MediaStart:
        """Read `message`, whose field `start` is given. Raises `ProtocolViolation`."""

    def _receive(self, message: str | bytes) -> list[Action]:
        fields = self._parse(message)
        return self._process(fields["event"], fields)

    def _parse(self, message: str | bytes) -> dict[str, Any]:
        if isinstance(message, bytes):
            raise ProtocolViolation("media stream messages must be text")
        fields = parse_object(message)
        get_field(fields, "event")
        return fields

    def _process(self, event: str, fields: dict[str, Any]) -> list[Action]:
        if self._ended:
            raise ProtocolViolation("no message may follow stop")
        if event == "start":
            return self._start(get_field(fields, "start", kind=dict), fields)
        if event == "media":
            return self._media(get_field(fields, "media", kind=dict))
        if event == "stop":
            if not self._tracks:
                raise ProtocolViolation("stop before start")
            self._ended = True
            return [EndOfAudio("the call has ended")]
        if event in self.ignored_events:
            return []
        raise ProtocolViolation("event must be connected, start, media, mark, dtmf or stop")

    def _start(self, start: dict[str, Any], message: dict[str, Any]) -> list[Action]:
        if self._tracks:
            raise ProtocolViolation("repeated start; send it once per stream")
        read = self._read_start(start, message)
        if self._is_authorized is not None and not self._is_authorized(read.parameters):
            raise Unauthorized("missing or wrong token; set the custom parameter `token`")
        encoding = read.media_format.get("encoding") or next(iter(self.encodings))
        if not isinstance(encoding, str) or encoding not in self.encodings:
            raise ProtocolViolation(f"encoding must be one of {', '.join(self.encodings)}")
        rate_hz = to_int(read.rate_hz, "sampleRate")
        if rate_hz not in RATES_HZ or to_int(read.channels, "channels") != 1:
            raise ProtocolViolation("audio must be mono at 8, 16, 24 or 48 kHz")
        names = _track_names(start)
        self._encoding, self._rate_hz = self.encodings[encoding], rate_hz
        self._tracks = {name: index for index, name in enumerate(names)}
        self._ends = [0] * len(names)
        parameters = {**self._parameters, **read.parameters}
        inbound: Party = "agent" if parameters.get("inbound") == "agent" else "customer"
        outbound: Party = "customer" if inbound == "agent" else "agent"
        parties = tuple(inbound if track == "inbound" else outbound for track in names)
        name = str(parameters.get("call") or read.call or self.name)
        return [OpenStream(name, rate_hz, parties, labels=read_labels(parameters, start))]

    def _media(self, media: dict[str, Any]) -> list[Action]:
        if not self._tracks:
            raise ProtocolViolation("media before start")
        track = self._tracks.get(str(media.get("track", "inbound")))
        if track is None:
            raise ProtocolViolation("media for a track that start did not announce")
        timestamp_ms = to_int(get_field(media, "timestamp", kind=object), "timestamp")
        samples = self._decode(get_field(media, "payload"))
        if self._origin_ms is None:
            self._origin_ms = timestamp_ms if self.from_first_chunk else 0
        expected, stamped = self._ends[track], (timestamp_ms - self._origin_ms) * self._rate_hz // 1_000
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
        return decode_mono(data)


def get_object(fields: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Return the object under the first of the alternative `keys` that is present, empty without one."""
    found = next((fields[key] for key in keys if key in fields), None) or {}
    if not isinstance(found, dict):
        raise ProtocolViolation(f"{keys[0]} must be an object")
    return found


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
