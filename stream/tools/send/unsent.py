"""Audio that has not been sent yet, bounded in time (used by one event loop)."""

from __future__ import annotations

import asyncio
from collections import deque

import numpy as np

from stream.types import Samples

MAX_UNSENT_S = 20.0
"""Audio that waits while there is no connection; a node accepts 30 s ahead of real time (`serve.max_ahead_s`)."""


class UnsentAudio:
    """Chunks of 16-bit PCM in order; beyond `MAX_UNSENT_S` live audio loses the oldest, other audio waits."""

    def __init__(self, *, rate_hz: int, live: bool) -> None:
        self._capacity = round(MAX_UNSENT_S * rate_hz)
        self._rate_hz, self._live = rate_hz, live
        self._chunks: deque[tuple[bytes, int]] = deque()
        self._frames = 0
        self._dropped = 0
        self._is_closed = False
        self._changed = asyncio.Condition()

    @property
    def dropped_s(self) -> float:
        """Seconds of audio that were dropped."""
        return self._dropped / self._rate_hz

    async def put(self, samples: Samples) -> None:
        """Add samples (frames, channels) in [-1, 1]; waits for room unless the audio is live."""
        data = np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype("<i2").tobytes()
        async with self._changed:
            if not self._live:
                await self._changed.wait_for(lambda: self._frames < self._capacity)
            self._chunks.append((data, len(samples)))
            self._frames += len(samples)
            while self._live and self._frames > self._capacity and len(self._chunks) > 1:
                _, frames = self._chunks.popleft()
                self._frames -= frames
                self._dropped += frames
            self._changed.notify_all()

    async def first(self) -> bytes | None:
        """Return the oldest chunk once there is one, None after the last; it stays until `remove_first`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._chunks or self._is_closed)
            return self._chunks[0][0] if self._chunks else None

    async def remove_first(self, data: bytes) -> None:
        """Remove a chunk that was sent, unless it was dropped meanwhile."""
        async with self._changed:
            if self._chunks and self._chunks[0][0] is data:
                _, frames = self._chunks.popleft()
                self._frames -= frames
                self._changed.notify_all()

    async def close(self) -> None:
        """Accept no more."""
        async with self._changed:
            self._is_closed = True
            self._changed.notify_all()
