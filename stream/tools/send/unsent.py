"""Audio that has not been sent yet, bounded in time (used by one event loop)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from stream.types import Samples

MAX_UNSENT_S = 60.0
"""Audio that waits while there is no connection: 2 MB a minute and channel at 16 kHz, six at 48 kHz."""


class UnsentAudio:
    """Chunks of 16-bit PCM in order; beyond `MAX_UNSENT_S` live audio loses the oldest, other audio waits."""

    def __init__(self, *, rate_hz: int, live: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = round(MAX_UNSENT_S * rate_hz)
        self._rate_hz, self._live, self._clock = rate_hz, live, clock
        self._chunks: deque[tuple[bytes, int, float]] = deque()  # with the time at which the first frame was recorded
        self._frames = 0
        self._dropped = self._dropped_told = 0
        self._is_closed = False
        self._changed = asyncio.Condition()

    @property
    def age_s(self) -> float:
        """How long ago the oldest audio was recorded; 0 if there is none, or it waits for the connection."""
        return max(0.0, self._clock() - self._chunks[0][2]) if self._live and self._chunks else 0.0

    def take_dropped_s(self) -> float:
        """Return seconds of audio that were dropped since the last call."""
        dropped, self._dropped_told = self._dropped - self._dropped_told, self._dropped
        return dropped / self._rate_hz

    async def put(self, samples: Samples) -> None:
        """Add samples (frames, channels) in [-1, 1]; waits for room unless the audio is live."""
        data = np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype("<i2").tobytes()
        async with self._changed:
            if not self._live:
                await self._changed.wait_for(lambda: self._frames < self._capacity)
            self._chunks.append((data, len(samples), self._clock() - len(samples) / self._rate_hz))
            self._frames += len(samples)
            while self._live and self._frames > self._capacity and len(self._chunks) > 1:
                _, frames, _ = self._chunks.popleft()
                self._frames -= frames
                self._dropped += frames
            self._changed.notify_all()

    async def first(self) -> tuple[bytes, float] | None:
        """Return the oldest chunk, and its length in seconds, once there is one; None after the last.

        It stays until `remove_first`.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._chunks or self._is_closed)
            if not self._chunks:
                return None
            data, frames, _ = self._chunks[0]
            return data, frames / self._rate_hz

    async def remove_first(self, data: bytes) -> None:
        """Remove a chunk that was sent, unless it was dropped meanwhile."""
        async with self._changed:
            if self._chunks and self._chunks[0][0] is data:
                _, frames, _ = self._chunks.popleft()
                self._frames -= frames
                self._changed.notify_all()

    async def close(self) -> None:
        """Accept no more."""
        async with self._changed:
            self._is_closed = True
            self._changed.notify_all()
