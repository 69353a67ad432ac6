"""The emotions of a whole stream in a bounded number of points (pure)."""

from __future__ import annotations

MAX_POINTS = 32


class Overview:
    """Every n-th emotion as (label, confidence in percent); n doubles whenever there are too many."""

    def __init__(self) -> None:
        self._points: list[tuple[str, int]] = []
        self._stride = 1
        self._count = 0

    def add(self, label: str, confidence: float) -> None:
        """Add one emotion."""
        if self._count % self._stride == 0:
            if len(self._points) == MAX_POINTS:
                self._points, self._stride = self._points[::2], 2 * self._stride
            if self._count % self._stride == 0:
                self._points.append((label, round(100 * confidence)))
        self._count += 1

    @property
    def points(self) -> tuple[tuple[str, int], ...]:
        """The points, the oldest first."""
        return tuple(self._points)
