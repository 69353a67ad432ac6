"""Exotel's Stream and Voicebot applets (pure).

JSON messages: `connected`, `start`, `media` with base64 audio (16-bit PCM at 8, 16 or 24 kHz, or µ-law), `mark`,
`dtmf`, `clear`, and `stop` ([reference][1]). Numbers are sent as text, and the name of the encoding may be empty:
16-bit PCM then. Up to three parameters in the applet's URL arrive as `custom_parameters`.

[1]: https://developer.exotel.com/docs/agentstream/stream-voicebot-applet
"""

from __future__ import annotations

from typing import Any, ClassVar

from stream.server.protocols.media_stream import MediaStart, MediaStreamProtocol, get_object


class ExotelProtocol(MediaStreamProtocol):
    """State of one stream."""

    name = "exotel"
    encodings: ClassVar = {
        "audio/x-raw": "l16",
        "raw/slin": "l16",
        "base64": "l16",
        "audio/x-l16": "l16",
        "audio/L16": "l16",
        "audio/x-mulaw": "mulaw",
        "mulaw": "mulaw",
    }
    from_first_chunk = True
    ignored_events = frozenset(("connected", "mark", "dtmf", "clear", "error"))

    def _read_start(self, start: dict[str, Any], message: dict[str, Any]) -> MediaStart:
        media_format = get_object(start, "media_format")
        if start.get("tracks") is None:  # Voicebot: the caller only
            start["tracks"] = ["inbound"]
        return MediaStart(
            call=str(start.get("call_sid") or message.get("stream_sid") or ""),
            parameters=get_object(start, "custom_parameters"),
            media_format=media_format,
            rate_hz=media_format.get("sample_rate") or 8_000,
        )
