"""The verb `listen` of jambonz (pure).

One text message describes the call: `callSid`, `from`, `to`, `callerName`, `sampleRate`, `mixType`, and what the verb's
`metadata` has; then binary messages with 16-bit PCM, and `dtmf` events as text with `passDtmf` ([reference][1]).

[1]: https://docs.jambonz.org/verbs/verbs/listen
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stream.server.protocols.base import Action, ProtocolViolation
from stream.server.protocols.linear import LinearProtocol, read_rate


class JambonzProtocol(LinearProtocol):
    """State of one stream."""

    name = "jambonz"

    def _receive(self, message: str | bytes) -> list[Action]:
        if isinstance(message, bytes) and not self._channels:
            raise ProtocolViolation("audio before the message about the call")
        return super()._receive(message)

    def _rate_hz(self, parameters: Mapping[str, Any]) -> int:
        return read_rate(parameters.get("sampleRate", 8_000), name="sampleRate")

    def _mix(self, parameters: Mapping[str, Any]) -> str:
        return super()._mix({"mix": parameters.get("mixType", "mono")})

    def _call(self, parameters: Mapping[str, Any]) -> object:
        return parameters.get("callSid")
