"""Memory that connections have used and that the C library keeps for later: it is given back to the system."""

from __future__ import annotations

import asyncio
import ctypes

INTERVAL_S = 10.0
"""Shortest time between two releases."""

ENDED_TRACKS = 20
"""Tracks that have to end before memory is released while others are open: a release holds up allocations."""


class MemoryRelease:
    """Gives free memory back after tracks have ended; glibc would keep the freed buffers of many calls."""

    def __init__(self) -> None:
        self._ended = 0  # since the last release
        self._released_s = 0.0
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; other C libraries need none

    def note_ended(self, tracks: int) -> None:
        """Note tracks that have ended."""
        self._ended += tracks

    def is_due(self, *, open_tracks: int, now_s: float) -> bool:
        """Whether memory is to be released at the monotonic time `now_s`."""
        enough = self._ended >= (ENDED_TRACKS if open_tracks else 1)
        return self._trim is not None and enough and now_s - self._released_s >= INTERVAL_S

    async def release(self, now_s: float) -> None:
        """Give memory back; takes some hundredths of a second, in a thread."""
        self._ended, self._released_s = 0, now_s
        if self._trim is not None:
            await asyncio.to_thread(self._trim, 0)
