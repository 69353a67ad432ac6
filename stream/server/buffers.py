"""The memory that audio may take while it waits for processing, shared among the tracks of all connections (pure)."""

from __future__ import annotations

from stream.sources.push import MAX_BUFFERED_S, SAMPLE_BYTES

MIN_BUFFERED_S = 1.0
"""What a track may hold however many there are: the length of the longest block."""


class BufferBudget:
    """Bytes for the audio of all tracks; each track has an equal share, up to `MAX_BUFFERED_S`."""

    def __init__(self, *, max_bytes: float) -> None:
        self._max_bytes = max_bytes
        self.tracks = 0

    def max_buffered_s(self, rate_hz: int) -> float:
        """Return how much audio of this sample rate a track may hold."""
        share_s = self._max_bytes / max(1, self.tracks) / (SAMPLE_BYTES * rate_hz)
        return min(MAX_BUFFERED_S, max(MIN_BUFFERED_S, share_s))
