"""Asterisk's WebSocket channel, chan_websocket (pure).

Text messages are events, in plain form (`MEDIA_START connection_id:… format:ulaw optimal_frame_size:160`) or as JSON
(`{"event": "MEDIA_START", "format": "ulaw", …}`). Binary messages are media in the codec that MEDIA_START names. A
connection is one party's track of a call. The dial string `v(call=ID,party=agent)` puts call and party into the request
URL; without it the call is named after the connection's id, and the first connection is the customer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stream.audio import g711
from stream.audio.pcm import decode_mono
from stream.server.call_labels import read_labels
from stream.server.protocols.base import (
    Action,
    AudioChunk,
    ConnectionProtocol,
    Omission,
    OpenStream,
    ProtocolViolation,
    RejectReason,
    SendMessage,
    get_field,
    parse_object,
    to_party,
)
from stream.types import Samples

CODECS: dict[str, tuple[str, int]] = {
    "ulaw": ("mulaw", 8_000),
    "alaw": ("alaw", 8_000),
    "slin": ("slin", 8_000),
    **{f"slin{khz}": ("slin", rate) for khz, rate in ((12, 12_000), (16, 16_000), (24, 24_000), (32, 32_000))},
    **{f"slin{khz}": ("slin", rate) for khz, rate in ((44, 44_100), (48, 48_000))},
}
"""Asterisk's names of the supported codecs: encoding and sample rate in Hz."""

SAMPLE_BYTES = 2


class AsteriskProtocol(ConnectionProtocol):
    """State of one channel's connection; `parameters` are those of the request URL."""

    name = "asterisk"

    def __init__(self, *, parameters: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._parameters = parameters or {}
        self._codec = ""
        self._frames = 0
        self._json = False

    def _receive(self, message: str | bytes) -> list[Action]:
        if isinstance(message, bytes):
            return self._receive_audio(message)
        event, fields = self._parse_event(message)
        if event == "MEDIA_START":
            return self._start(fields)
        if event.isascii() and event.replace("_", "").isupper():  # DTMF_END, MEDIA_XOFF, STATUS … concern senders
            return []
        raise ProtocolViolation("a text message must be a chan_websocket event")

    def _parse_event(self, message: str) -> tuple[str, dict[str, Any]]:
        if message.lstrip().startswith("{"):
            fields = parse_object(message)
            self._json = True
            return get_field(fields, "event"), fields
        event, *pairs = message.split() or [""]
        return event, dict(pair.split(":", 1) for pair in pairs if ":" in pair)

    def _start(self, fields: dict[str, Any]) -> list[Action]:
        if self._codec:
            raise ProtocolViolation("repeated MEDIA_START; send it once per connection")
        codec = get_field(fields, "format")
        if codec not in CODECS:
            raise ProtocolViolation(
                f"unsupported codec; use one of {', '.join(CODECS)} in the dial string, e.g. c(slin16)"
            )
        self._codec, rate_hz = CODECS[codec]
        named = (self._parameters.get("call"), fields.get("connection_id"), fields.get("channel_id"))
        name = str(next(filter(None, named), self.name))
        labels = read_labels(self._parameters, fields.get("channel_variables"), fields)
        return [OpenStream(name, rate_hz, (to_party(self._parameters.get("party")),), leg=True, labels=labels)]

    def _receive_audio(self, data: bytes) -> list[Action]:
        actions: list[Action] = []
        if self._codec == "slin" and len(data) % SAMPLE_BYTES:
            actions.append(Omission("media must consist of whole 2-byte samples"))
            data = data[: len(data) // SAMPLE_BYTES * SAMPLE_BYTES]
        samples = self._decode(data)
        start, self._frames = self._frames, self._frames + len(samples)
        return [*actions, AudioChunk(0, start, samples)] if len(samples) else actions

    def _decode(self, data: bytes) -> Samples:
        if not self._codec:
            raise ProtocolViolation("media before MEDIA_START")
        if self._codec != "slin":
            return g711.decode(data, self._codec)
        return decode_mono(data)

    def _error_messages(
        self,
        reason: RejectReason,  # noqa: ARG002 - its commands carry neither
        message: str,  # noqa: ARG002
    ) -> Sequence[Action]:
        return [SendMessage('{"command": "HANGUP"}' if self._json else "HANGUP")]
