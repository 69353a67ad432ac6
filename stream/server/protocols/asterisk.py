"""Asterisk's WebSocket channel, chan_websocket (pure).

Text messages are events, in plain form (`MEDIA_START connection_id:… format:ulaw optimal_frame_size:160`) or as JSON
(`{"event": "MEDIA_START", "format": "ulaw", …}`); binary ones are bare media in the codec that MEDIA_START named. A
connection is one party's track of a call. Which call, and which party, the dial string says: `v(call=ID,party=agent)`
puts them into the address; without them the connection's id is the call, and the first to come is the customer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stream.audio import g711
from stream.audio.pcm import decode
from stream.events import Party
from stream.server.protocols.base import (
    Action,
    AudioChunk,
    ConnectionProtocol,
    OpenStream,
    ProtocolViolation,
    RejectReason,
    SendMessage,
    get,
    parse,
)
from stream.types import Samples

CODECS: dict[str, tuple[str, int]] = {
    "ulaw": ("mulaw", 8_000),
    "alaw": ("alaw", 8_000),
    "slin": ("slin", 8_000),
    **{f"slin{khz}": ("slin", rate) for khz, rate in ((12, 12_000), (16, 16_000), (24, 24_000), (32, 32_000))},
    **{f"slin{khz}": ("slin", rate) for khz, rate in ((44, 44_100), (48, 48_000), (96, 96_000), (192, 192_000))},
}
"""Asterisk's names of the codecs that need no decoder of their own."""


class AsteriskProtocol(ConnectionProtocol):
    """One channel's connection; `call` and `party` come from its address."""

    name = "asterisk"

    def __init__(self, *, call: str = "", party: Party | None = None) -> None:
        super().__init__()
        self._call, self._party = call, party
        self._codec = ""
        self._frames = 0
        self._json = False

    def _receive(self, message: str | bytes) -> list[Action]:
        if isinstance(message, bytes):
            samples = self._decode(message)
            start, self._frames = self._frames, self._frames + len(samples)
            return [AudioChunk(0, start, samples)] if len(samples) else []
        event, fields = self._event(message)
        if event == "MEDIA_START":
            return self._start(fields)
        if event.isascii() and event.replace("_", "").isupper():  # DTMF_END, MEDIA_XOFF, STATUS … concern senders
            return []
        raise ProtocolViolation("a text message must be an event of chan_websocket")

    def _event(self, message: str) -> tuple[str, dict[str, Any]]:
        if message.lstrip().startswith("{"):
            fields = parse(message)
            self._json = True
            return get(fields, "event"), fields
        event, *pairs = message.split() or [""]
        return event, dict(pair.split(":", 1) for pair in pairs if ":" in pair)

    def _start(self, fields: dict[str, Any]) -> list[Action]:
        if self._codec:
            raise ProtocolViolation("a second MEDIA_START came")
        codec = get(fields, "format")
        if codec not in CODECS:
            raise ProtocolViolation(
                f"the codec must be one of {', '.join(CODECS)}; set it in the dial string, e.g. c(slin16)"
            )
        self._codec, rate_hz = CODECS[codec]
        name = self._call or str(fields.get("connection_id") or fields.get("channel_id") or "asterisk")
        return [OpenStream(name, rate_hz, (self._party,), leg=True)]

    def _decode(self, data: bytes) -> Samples:
        if not self._codec:
            raise ProtocolViolation("media came before MEDIA_START")
        if self._codec != "slin":
            return g711.decode(data, self._codec)
        if len(data) % 2:
            raise ProtocolViolation("the media is not of whole samples")
        return np.ascontiguousarray(decode(data, pcm_format="s16le", channels=1)[:, 0])

    def _last_words(self, fault: RejectReason, message: str) -> Sequence[Action]:  # noqa: ARG002 - its commands carry none
        return [SendMessage('{"command": "HANGUP"}' if self._json else "HANGUP")]
