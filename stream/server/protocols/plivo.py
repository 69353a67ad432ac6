"""Plivo's audio streams (pure).

JSON messages: `start`, `media` with base64 audio (µ-law at 8 kHz, or 16-bit PCM at 8 or 16 kHz), `dtmf`,
`playedStream`, `clearedAudio` ([reference][1]). Plivo has no message at the end: it closes the connection. Timestamps
are those of the clock. `extra_headers` has the stream's `extraHeaders`, which serve as custom parameters; Plivo writes
them as `a=1;b=2`, `a=1,b=2` or `{"X-PH-a": "1"}`, and the URL's query is another place for them.

[1]: https://www.plivo.com/docs/voice-agents/audio-streaming/concepts/audio-streaming-reference
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from stream.server.protocols.media_stream import MediaStart, MediaStreamProtocol, get_object

MAX_HEADERS_CHARACTERS = 2_048
_HEADER = re.compile(r"[\s{\"']*(?:X-PH-)?([\w-]+)[\s\"']*[=:][\s\"']*([^\"'}]*)", re.IGNORECASE)


class PlivoProtocol(MediaStreamProtocol):
    """State of one audio stream; `parameters` come from the request URL."""

    name = "plivo"
    encodings: ClassVar = {"audio/x-l16": "l16", "audio/x-mulaw": "mulaw"}
    ignored_events = frozenset(("connected", "dtmf", "clearedAudio", "playedStream", "error"))
    from_first_chunk = True

    def _read_start(self, start: dict[str, Any], message: dict[str, Any]) -> MediaStart:
        media_format = get_object(start, "mediaFormat")
        return MediaStart(
            call=str(start.get("callId") or start.get("streamId") or ""),
            parameters=_read_headers(message.get("extra_headers")),
            media_format=media_format,
            rate_hz=media_format.get("sampleRate") or 8_000,
        )


def _read_headers(text: Any) -> dict[str, str]:
    """Return the extra headers in any of the ways in which they are written."""
    if not isinstance(text, str):
        return {}
    found = (_HEADER.match(pair) for pair in re.split(r"[;,]", text[:MAX_HEADERS_CHARACTERS]))
    return {match[1]: match[2].strip() for match in found if match is not None}
