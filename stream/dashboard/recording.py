"""The events that the report of a card is made of, compressed in memory for as long as the card is shown."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

from stream.events import AlertEvent, CallEvent, EmotionEvent, Event, StreamEvent, TurnEvent, read_event, to_json

MAX_BYTES = 2_000_000
"""Of one card, compressed: about ten hours of a call. Later emotions are left out."""

LEVEL, WINDOW_BITS, MEMORY_LEVEL = 6, 13, 6
"""Settings of zlib: 64 kB of memory per live card."""


class Recording:
    """The events of one session of a card so far. It takes no memory before the first."""

    def __init__(self) -> None:
        self._packed = bytearray()
        self._packer: Any = None

    def add(self, event: Event) -> None:
        """Add an event if a report needs it: rolling figures of a call, and decisions about speakers, are left out."""
        is_needed = isinstance(event, StreamEvent | TurnEvent | AlertEvent | EmotionEvent)
        is_final = isinstance(event, CallEvent) and event.phase == "final"
        if not (is_needed or is_final) or (isinstance(event, EmotionEvent) and len(self._packed) > MAX_BYTES):
            return
        if self._packer is None:
            self._packer = zlib.compressobj(LEVEL, wbits=WINDOW_BITS, memLevel=MEMORY_LEVEL)
        self._packed += self._packer.compress(f"{to_json(event)}\n".encode())

    def packed(self) -> bytes:
        """Return what was added so far; more can be added."""
        return bytes(self._packed) + (self._packer.copy().flush() if self._packer is not None else b"")


def unpack(packed: bytes) -> Iterable[Event]:
    """Return the events of a recording. Raises `ValueError` or `zlib.error` if they cannot be read."""
    return [read_event(line) for line in zlib.decompress(packed).decode().splitlines()] if packed else []
