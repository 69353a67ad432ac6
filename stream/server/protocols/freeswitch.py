"""FreeSWITCH's `uuid_audio_fork` (mod_audio_fork) and `uuid_audio_stream` (mod_audio_stream) (pure).

Both send an optional text, the command's metadata, then bare 16-bit PCM ([mod_audio_fork][1], [mod_audio_stream][2]).
Neither says which mix type and which sample rate the command has: the URL repeats them, `?mix=stereo&rate=8k`. Metadata
that is no JSON object is left out, with its labels.

[1]: https://github.com/drachtio/drachtio-freeswitch-modules/tree/main/modules/mod_audio_fork
[2]: https://github.com/amigniter/mod_audio_stream
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stream.server.protocols.base import Action, ProtocolViolation
from stream.server.protocols.linear import LinearProtocol


class FreeSwitchProtocol(LinearProtocol):
    """State of one stream."""

    name = "freeswitch"
    pace_hint = "put the command's mix type and rate into the URL: ?mix=stereo&rate=16k"

    def _receive_text(self, message: str) -> list[Action]:
        """Take metadata; a text that is no JSON object is somebody else's note."""
        try:
            return super()._receive_text(message)
        except ProtocolViolation:
            if message.lstrip().startswith("{"):
                raise
            return []

    def _call(self, parameters: Mapping[str, Any]) -> object:
        return parameters.get("uuid") or parameters.get("callid") or parameters.get("call_uuid")
