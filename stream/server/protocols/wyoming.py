"""Wyoming, the protocol of Home Assistant's speech services: its frames, and the analysis of one utterance (pure).

A frame is a line of JSON with a `type`, then `data_length` bytes of JSON and `payload_length` bytes of payload, both
optional. Frames are kept as the bytes that arrived, so that they can be passed on unchanged; JSON is parsed only where
its content is needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stream.audio.pcm import SAMPLE_BYTES, decode
from stream.server.protocols.base import (
    MAX_RATE_HZ,
    Action,
    AudioChunk,
    ConnectionProtocol,
    EndOfAudio,
    OpenStream,
    ProtocolViolation,
    RejectReason,
    get_field,
    parse_object,
    to_int,
)
from stream.server.utterance_result import UtteranceSpeaker

AUDIO_CHUNK, AUDIO_STOP = "audio-chunk", "audio-stop"
TRANSCRIPT = "transcript"

MAX_CHANNELS = 8


class FrameTooBig(ProtocolViolation):
    """A frame exceeds the limit."""

    reject_reason = RejectReason.TOO_BIG


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `raw` is the whole of it, as it arrived."""

    raw: bytes = field(repr=False)
    header: Mapping[str, Any]
    data_bytes: bytes = field(repr=False)
    payload: bytes = field(repr=False)

    @property
    def type(self) -> str:
        """Type of the frame; empty if it has none."""
        kind = self.header.get("type")
        return kind if isinstance(kind, str) else ""

    def data(self) -> dict[str, Any]:
        """Return the frame's data, of its line and of what follows. Raises `ProtocolViolation`."""
        data = dict(get_field(dict(self.header), "data", kind=dict)) if self.header.get("data") else {}
        return data | (parse_object(_text(self.data_bytes)) if self.data_bytes else {})


class FrameReader:
    """Splits received bytes into frames of at most `max_bytes`."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._searched = 0  # of the buffer, for the end of the line
        self._header: dict[str, Any] = {}
        self._line_bytes = self._data_bytes = self._frame_bytes = 0  # of the frame whose line is complete

    @property
    def pending(self) -> bytes:
        """Bytes of an incomplete frame."""
        return bytes(self._buffer)

    def feed(self, received: bytes) -> list[Frame]:
        """Return the frames that are complete now. Raises `ProtocolViolation`, after which no more can be read."""
        self._buffer += received
        frames: list[Frame] = []
        while self._read_line() and len(self._buffer) >= self._frame_bytes:
            raw = bytes(self._buffer[: self._frame_bytes])
            del self._buffer[: self._frame_bytes]
            data_end = self._line_bytes + self._data_bytes
            frames.append(Frame(raw, self._header, raw[self._line_bytes : data_end], raw[data_end:]))
            self._line_bytes = self._searched = 0
        return frames

    def _read_line(self) -> bool:
        """Read the line of the next frame, if it is complete."""
        if self._line_bytes:
            return True
        end = self._buffer.find(b"\n", self._searched)
        self._searched = len(self._buffer)
        if end < 0:
            self._check_size(len(self._buffer))
            return False
        self._check_size(end + 1)
        self._header = parse_object(_text(self._buffer[:end]))
        self._data_bytes, payload_bytes = (
            to_int(self._header.get(key) or 0, key) for key in ("data_length", "payload_length")
        )
        self._line_bytes = end + 1
        self._frame_bytes = self._line_bytes + self._data_bytes + payload_bytes
        self._check_size(self._frame_bytes)
        return True

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise FrameTooBig(f"a frame has more than {self._max_bytes} bytes")


class UtteranceProtocol(ConnectionProtocol):
    """Analysis of one utterance under the name `source`, from its audio frames.

    Binary messages are audio in the format of `chunk`, the data of the first audio frame; the text message
    `audio-stop` ends the utterance. `result` is what is known about the speaker so far.
    """

    name = "wyoming"
    pace_hint = "the client sends a recording, or announces another sample rate than its audio has"

    def __init__(self, *, source: str, chunk: Mapping[str, Any]) -> None:
        super().__init__()
        self.result = UtteranceSpeaker()
        self._source, self._chunk = source, dict(chunk)
        self._channels = 0  # once it is open
        self._frames = 0

    def encode_event(self, event: Any) -> list[Action]:
        """Keep what the event says about the speaker; the client is sent no events."""
        self.result.apply(event)
        return []

    def _receive(self, message: str | bytes) -> list[Action]:
        if isinstance(message, str):
            return [EndOfAudio("the utterance has ended")] if message == AUDIO_STOP else []
        opening = [] if self._channels else [self._open()]
        whole = len(message) // (SAMPLE_BYTES["s16le"] * self._channels) * SAMPLE_BYTES["s16le"] * self._channels
        if not whole:
            return [*opening]
        samples = decode(message[:whole], pcm_format="s16le", channels=self._channels).mean(axis=1)
        start, self._frames = self._frames, self._frames + len(samples)
        return [*opening, AudioChunk(0, start, samples)]

    def _open(self) -> OpenStream:
        rate_hz, width, channels = (to_int(self._chunk.get(key), key) for key in ("rate", "width", "channels"))
        if width != SAMPLE_BYTES["s16le"] or not 0 < channels <= MAX_CHANNELS or not 0 < rate_hz <= MAX_RATE_HZ:
            raise ProtocolViolation(
                f"audio of {rate_hz} Hz, {width} bytes and {channels} channels is not analysed; "
                f"send 16-bit PCM of up to {MAX_RATE_HZ} Hz and {MAX_CHANNELS} channels"
            )
        self._channels = channels
        return OpenStream(self._source, rate_hz, (None,), events=True)


def with_context(frame: Frame, context: Mapping[str, Any]) -> bytes:
    """Return a transcript's frame with `context` added to its own and the same text. Raises `ProtocolViolation`."""
    data = frame.data()
    own = data.get("context")
    data["context"] = {**(own if isinstance(own, dict) else {}), **context}
    header = {key: value for key, value in frame.header.items() if key not in ("data", "data_length")}
    return _encode(header, data) + frame.payload


def detection(speaker: str | None, context: Mapping[str, Any]) -> bytes:
    """Return a `detection` frame, the protocol's own place for a speaker's name."""
    return _encode({"type": "detection"}, {"name": None, "timestamp": None, "speaker": speaker, "context": {**context}})


def error(text: str, code: str) -> bytes:
    """Return an `error` frame."""
    return _encode({"type": "error"}, {"text": text, "code": code})


def _encode(header: Mapping[str, Any], data: Mapping[str, Any]) -> bytes:
    data_bytes = json.dumps(data, ensure_ascii=False).encode(errors="surrogatepass")
    line = json.dumps({**header, "data_length": len(data_bytes)}, ensure_ascii=False)
    return line.encode(errors="surrogatepass") + b"\n" + data_bytes


def _text(data: bytes | bytearray) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ProtocolViolation("a frame is not UTF-8") from None
