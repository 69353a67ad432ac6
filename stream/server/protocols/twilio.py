"""Twilio Media Streams, and Telnyx' variant of them (pure).

JSON messages: `connected`, `start`, then `media` with base64 µ-law at 8 kHz (Telnyx also has `PCMU`, `PCMA`, `L16`),
`mark` and `dtmf` in between, and `stop` ([Twilio][1], [Telnyx][2]). Messages after `connected` are numbered
consecutively from 1 (`sequenceNumber`). They are processed in that order; up to `MAX_REORDERED_MESSAGES` wait for a
missing one before it counts as lost. A call without a name is called by its `callSid`.

[1]: https://www.twilio.com/docs/voice/media-streams/websocket-messages
[2]: https://developers.telnyx.com/docs/voice/programmable-voice/media-streaming
"""

from __future__ import annotations

from typing import Any, ClassVar

from stream.server.protocols.base import Action, IsAuthorized, Omission, OpenStream, ProtocolViolation, to_int
from stream.server.protocols.media_stream import MediaStart, MediaStreamProtocol, get_object

MAX_REORDERED_MESSAGES = 32
"""Maximum number of messages that wait for a missing one."""


class TwilioProtocol(MediaStreamProtocol):
    """State of one media stream."""

    name = "twilio"
    encodings: ClassVar = {
        "audio/x-mulaw": "mulaw",
        "PCMU": "mulaw",
        "audio/x-alaw": "alaw",
        "PCMA": "alaw",
        "L16": "l16",
    }
    ignored_events = frozenset(("mark", "dtmf", "clear", "error"))

    def __init__(self, *, is_authorized: IsAuthorized | None = None) -> None:
        super().__init__(is_authorized=is_authorized)
        self._next: int | None = None
        self._reorder_buffer: dict[int, dict[str, Any]] = {}
        self._peer_closed = False

    def peer_closed(self) -> list[Action]:
        """Process the messages that were waiting for a missing one."""
        self._peer_closed = True  # missing messages cannot arrive any more
        try:
            return [] if self.closed else self._track_close(self._process_in_order())
        except ProtocolViolation:  # the client is gone
            return []

    def _receive(self, message: str | bytes) -> list[Action]:
        fields = self._parse(message)
        if fields["event"] == "connected":
            return []
        number = fields.get("sequenceNumber", fields.get("sequence_number"))
        if number is None:
            return self._process(fields["event"], fields)
        number = to_int(number, "sequenceNumber")
        if self._next is None:
            self._next = min(number, 1)
        if number < self._next:  # a duplicate, or a message that counts as lost
            return []
        self._reorder_buffer[number] = fields
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

    def _read_start(self, start: dict[str, Any], message: dict[str, Any]) -> MediaStart:
        media_format = get_object(start, "mediaFormat", "media_format")
        call = start.get("callSid") or start.get("call_control_id")
        return MediaStart(
            call=str(call or message.get("streamSid") or message.get("stream_id") or ""),
            parameters=get_object(start, "customParameters", "custom_parameters"),
            media_format=media_format,
            rate_hz=media_format.get("sampleRate", media_format.get("sample_rate", 8_000)),
            channels=media_format.get("channels", 1),
        )
