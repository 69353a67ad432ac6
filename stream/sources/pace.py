"""The pace of a live writer: its clock, its pauses, and a sample rate that cannot be right.

A writer of live audio has no clock but that of its arrival. The block with the smallest delay is the reference
(`CaptureClock`); after a pause the first `SETTLE_S` are looked at before the gap is measured, because a writer that was
held up may still deliver everything in a burst.
"""

from __future__ import annotations

from stream.sources.capture import CaptureClock

SETTLE_S = 0.25
"""Audio after a pause over which the smallest delay is measured."""

MAX_JITTER_S = 0.1
"""Difference of media time and clock that is left alone: blocks come in bursts."""

MAX_PACED_LEAD_S, MIN_PACED_S = 0.5, 2.0
"""A writer is live if its audio has kept to the clock up to this, for at least this long."""

MIN_MEASURED_S = 5.0
MIN_WAITING_SHARE = 0.2
"""Share of the time that the reader waited, from which the writer sets the pace."""

RATIO_TOLERANCE = 0.03
RATIOS = (1 / 6, 0.25, 1 / 3, 0.5, 1.5, 2.0, 2.756, 3.0, 4.0, 6.0)
"""Quotients of usual sample rates and channel counts."""


class WriterPace:
    """Clock of one writer, fed with the end of each block, in seconds of media time, and its arrival."""

    def __init__(self) -> None:
        self._clock = CaptureClock()
        self._origin_s: float | None = None
        self._started_s = 0.0
        self._waited_s = 0.0
        self._last_s = 0.0
        self._media_s = 0.0
        self._is_ratio_told = False

    def mark(self, now_s: float, end_s: float, *, waited_s: float) -> None:
        """Record that audio up to media time `end_s` arrived, for which the reader had waited."""
        if self._origin_s is None:
            self._started_s = now_s
            self._origin_s = now_s - end_s
        else:
            self._waited_s += waited_s
        self._last_s, self._media_s = now_s, end_s
        self._clock.mark(now_s, end_s)
        if now_s - self._started_s < SETTLE_S:
            self._origin_s = min(self._origin_s, now_s - end_s)

    @property
    def keeps_to_the_clock(self) -> bool:
        """Whether the writer has been live so far."""
        newest_s = self._clock.origin_s
        if self._origin_s is None or newest_s is None or self._media_s < MIN_PACED_S:
            return False
        return abs(newest_s - self._origin_s) < MAX_PACED_LEAD_S

    def missing_s(self, delays_s: list[float] | None = None) -> float:
        """Return how much audio is missing before the newest blocks: by their smallest delay, or that of 5 s."""
        newest_s = min(delays_s) if delays_s else self._clock.origin_s
        if newest_s is None or self._origin_s is None or newest_s - self._origin_s <= MAX_JITTER_S:
            return 0.0
        return newest_s - self._origin_s

    def restart(self) -> None:
        """Measure anew after a gap has been inserted; frame 0 keeps its time."""
        self._clock = CaptureClock()

    def take_ratio(self) -> float:
        """Return once how many times as fast as it should audio arrives, if that looks like a wrong rate; else 0."""
        elapsed_s = self._last_s - self._started_s
        if self._is_ratio_told or elapsed_s < MIN_MEASURED_S or self._waited_s < MIN_WAITING_SHARE * elapsed_s:
            return 0.0
        ratio = self._media_s / elapsed_s
        if not any(abs(ratio / one - 1) < RATIO_TOLERANCE for one in RATIOS):
            return 0.0
        self._is_ratio_told = True
        return ratio
