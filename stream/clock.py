"""Conversion of sample indices to seconds and to wall time, in one place.

Internal time is an integer sample index. Wall time is an anchor, taken once when a stream starts, plus the sample
count; adjusting the system clock in mid-stream therefore never shifts events.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from stream.types import SAMPLE_RATE_HZ


def steady_s() -> float:
    """Return a monotonic time in seconds that includes suspend, where the system has such a clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def seconds(samples: int) -> float:
    """Convert samples to seconds, rounded to microseconds."""
    return round(samples / SAMPLE_RATE_HZ, 6)


def samples(duration_s: float) -> int:
    """Convert seconds to the nearest sample."""
    return round(duration_s * SAMPLE_RATE_HZ)


def milliseconds(count: int) -> int:
    """Convert samples to the nearest millisecond."""
    return round(count * 1000 / SAMPLE_RATE_HZ)


@dataclass(frozen=True, slots=True)
class SampleClock:
    """Wall clock of a stream: `anchor` is the time of sample 0."""

    anchor: datetime

    @classmethod
    def starting(cls, wall_s: float) -> SampleClock:
        """Return a clock whose sample 0 is at the POSIX time `wall_s`."""
        return cls(datetime.fromtimestamp(wall_s, UTC))

    def wall(self, sample: int) -> datetime:
        """Return the UTC time of a sample."""
        return self.anchor + timedelta(microseconds=sample * 1_000_000 // SAMPLE_RATE_HZ)

    def shifted(self, shift_s: float) -> SampleClock:
        """Return a clock that is later by `shift_s`."""
        return SampleClock(self.anchor + timedelta(seconds=shift_s))


class ClockDrift:
    """How far the clock of a live source has run away from the system's, by the arrival of its audio.

    Audio is never early: the smallest delay of a span is that of an undisturbed path, and its change is drift. Audio
    that arrives sooner than before was recorded sooner, which needs no span.
    """

    SPAN_S = 60.0
    MIN_SHIFT_S = 0.02
    """A smaller difference is left alone."""

    def __init__(self, origin_s: float) -> None:
        self._origin_s = origin_s  # of sample 0, by `steady_s`
        self._span_start_s = origin_s
        self._previous_s = self._current_s = float("inf")
        self.shift_s = 0.0
        """Sum of the corrections."""

    def mark(self, now_s: float, end_sample: int) -> float:
        """Record that audio up to `end_sample` was there at `now_s`; returns by how much the clock is to be shifted."""
        if now_s - self._span_start_s > self.SPAN_S:
            self._span_start_s, self._previous_s, self._current_s = now_s, self._current_s, float("inf")
        self._current_s = min(self._current_s, now_s - end_sample / SAMPLE_RATE_HZ)
        earliest_s = min(self._previous_s, self._current_s)
        shift_s = earliest_s - self._origin_s
        is_whole_span = self._previous_s != float("inf")
        if abs(shift_s) < self.MIN_SHIFT_S or (shift_s > 0 and not is_whole_span):
            return 0.0
        self._origin_s = earliest_s
        self.shift_s += shift_s
        return shift_s


class ArrivalLog:
    """Capture times of samples, from which the latency of events is computed.

    The last sample of a block was captured when the block arrived. With `paced` audio the other samples were captured
    earlier by their distance; otherwise (a file) the whole block was available at once. Keeps the last `capacity`
    arrivals; older samples get the time of the oldest arrival kept.
    """

    __slots__ = ("_ends", "_paced", "_times")

    def __init__(self, *, paced: bool, capacity: int = 2048) -> None:
        self._paced = paced
        self._ends: deque[int] = deque(maxlen=capacity)
        self._times: deque[float] = deque(maxlen=capacity)

    def mark(self, end_sample: int, now_s: float) -> None:
        """Record that all samples before `end_sample` are available at the monotonic time `now_s`."""
        self._ends.append(end_sample)
        self._times.append(now_s)

    def captured_s(self, end_sample: int) -> float | None:
        """Return the monotonic time at which the sample before `end_sample` was captured, or None if not yet."""
        place = bisect_left(self._ends, end_sample)
        if place == len(self._ends):
            return None
        early_s = (self._ends[place] - end_sample) / SAMPLE_RATE_HZ if self._paced else 0.0
        return self._times[place] - early_s
