"""Vonage's WebSocket endpoint, and Infobip's, which is alike (pure).

The first text message has `"event": "websocket:connected"`, the content type (`audio/l16;rate=16000`; 8 and 24 kHz as
well) and the headers of the NCCO's endpoint; then binary messages of 20 ms with 16-bit PCM, and `websocket:dtmf`,
`websocket:cleared` and `websocket:notify` as text ([reference][1]). A socket carries what its leg of the conversation
receives: with `party`, which the headers or the URL name, that is one party's track of a call (`canHear` in the NCCO
selects it), without it both parties mixed.

[1]: https://developer.vonage.com/en/voice/voice-api/guides/websockets
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stream.server.protocols.base import Action, ProtocolViolation, get_field
from stream.server.protocols.linear import LinearProtocol, read_rate

_CONTENT_TYPE = re.compile(r"audio/(?:l16|x-private-pcm-16);\s*rate=(\d{1,6})", re.IGNORECASE)


class VonageProtocol(LinearProtocol):
    """State of one socket."""

    name = "vonage"

    def _receive(self, message: str | bytes) -> list[Action]:
        if isinstance(message, bytes) and not self._channels:
            raise ProtocolViolation("audio before websocket:connected")
        return super()._receive(message)

    def _rate_hz(self, parameters: Mapping[str, Any]) -> int:
        if parameters.get("event") != "websocket:connected":
            raise ProtocolViolation("the first message must be websocket:connected")
        match = _CONTENT_TYPE.fullmatch(get_field(dict(parameters), "content-type").strip())
        if match is None:
            raise ProtocolViolation("content-type must be audio/l16;rate=16000")
        return read_rate(match[1], name="rate")

    def _mix(self, parameters: Mapping[str, Any]) -> str:
        return "mono" if parameters.get("party") in ("customer", "agent") else "mixed"

    def _call(self, parameters: Mapping[str, Any]) -> object:
        return parameters.get("call_uuid") or parameters.get("uuid") or parameters.get("conversation_uuid")
