"""A bound on how often something happens: so many at once, and so many a second on average (pure)."""

from __future__ import annotations

from collections.abc import Callable


class LeakyBucket:
    """Holds `capacity`, and loses `per_s` a second; `clock` gives seconds that never go back."""

    def __init__(self, *, capacity: float, per_s: float, clock: Callable[[], float]) -> None:
        self._capacity, self._per_s, self._clock = capacity, per_s, clock
        self._level, self._counted_s = 0.0, clock()

    def add(self) -> None:
        """Count one more."""
        now_s = self._clock()
        self._level = max(0.0, self._level - self._per_s * (now_s - self._counted_s)) + 1
        self._counted_s = now_s

    @property
    def overflows(self) -> bool:
        """Whether it holds more than its capacity."""
        return self._level > self._capacity
