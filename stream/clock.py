"""The one place where a sample index becomes seconds, and seconds become a time of day.

Inside, time is an integer sample index. Wall time is an anchor taken once, when a stream begins, plus the sample count;
a clock that is set back or forth in mid-stream therefore never makes events jump.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from stream.types import SAMPLE_RATE_HZ


def steady_s() -> float:
    """A clock that nobody sets, and that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def seconds(samples: int) -> float:
    """Samples to seconds, to the microsecond."""
    return round(samples / SAMPLE_RATE_HZ, 6)


def samples(duration_s: float) -> int:
    """Seconds to the nearest whole sample."""
    return round(duration_s * SAMPLE_RATE_HZ)


def milliseconds(count: int) -> int:
    """Samples to the nearest millisecond."""
    return round(count * 1000 / SAMPLE_RATE_HZ)


@dataclass(frozen=True, slots=True)
class SampleClock:
    """Sample 0 of a stream was heard at `anchor`."""

    anchor: datetime

    @classmethod
    def starting(cls, wall_s: float) -> SampleClock:
        """A clock whose sample 0 is at the POSIX time `wall_s`."""
        return cls(datetime.fromtimestamp(wall_s, UTC))

    def wall(self, sample: int) -> datetime:
        """The UTC time of a sample."""
        return self.anchor + timedelta(microseconds=sample * 1_000_000 // SAMPLE_RATE_HZ)


class ArrivalLog:
    """When samples were captured, to tell how late an answer about them is.

    A block that arrives at `now_s` was captured just then at its last sample. If the sound is `paced`, its other
    samples were captured earlier by their distance; if not (a file), all of them were there together. Holds the last
    `capacity` arrivals; a sample older than these answers with the oldest one kept.
    """

    __slots__ = ("_ends", "_paced", "_times")

    def __init__(self, *, paced: bool, capacity: int = 2048) -> None:
        self._paced = paced
        self._ends: deque[int] = deque(maxlen=capacity)
        self._times: deque[float] = deque(maxlen=capacity)

    def mark(self, end_sample: int, now_s: float) -> None:
        """All samples before `end_sample` are there at the monotonic time `now_s`."""
        self._ends.append(end_sample)
        self._times.append(now_s)

    def captured_s(self, end_sample: int) -> float | None:
        """The monotonic time at which the sample before `end_sample` was captured; None if it was not yet."""
        place = bisect_left(self._ends, end_sample)
        if place == len(self._ends):
            return None
        early_s = (self._ends[place] - end_sample) / SAMPLE_RATE_HZ if self._paced else 0.0
        return self._times[place] - early_s
