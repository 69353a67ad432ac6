"""Preallocated ring buffer of frames, lock-free for one writer thread and one reader thread.

It owns `capacity` frames of float32 and two counters that only grow. The writer *reserves* frames (adds to
`_reserved`), copies, then *commits* them (sets `_committed`). The reader copies out and then checks `_reserved` again:
if the writer has meanwhile started to overwrite the frames copied, the copy is torn and is rejected. The committed
counter alone would miss a writer in the middle of a copy.

The counters are Python ints; loading or storing an attribute is atomic under the GIL, which orders them. Reading frames
not written yet raises `ValueError` (a bug); reading frames that were overwritten raises `RingOverrun`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from stream.errors import RingOverrun
from stream.types import Samples

if TYPE_CHECKING:
    from typing_extensions import Buffer


@dataclass(frozen=True, slots=True)
class RingStatistics:
    """Frames written since the start, and the capacity in frames."""

    written: int
    capacity: int


class Ring:
    """The last `capacity` frames of a stream, addressed by absolute index."""

    def __init__(self, *, capacity: int, channels: int = 1) -> None:
        # Bytes, because a copy between memoryviews keeps the GIL. NumPy releases it for more than 500 values, and
        # reacquiring it from busy worker threads takes a hundred times as long as the copy.
        self._bytes = _bytes(np.zeros((capacity, channels), np.float32))
        self._width = 4 * channels
        self._capacity = capacity
        self._reserved = 0
        self._committed = 0

    @property
    def committed(self) -> int:
        """Frames written so far, which is the index of the next one."""
        return self._committed

    @property
    def oldest(self) -> int:
        """Index of the first frame that can still be read."""
        return max(0, self._reserved - self._capacity)

    def write(self, samples: Samples) -> None:
        """Append frames of shape (n, channels) without waiting; of more than `capacity` frames the last are kept."""
        count = len(samples)
        self._reserved += count
        kept = min(count, self._capacity)
        if kept:
            source = _bytes(np.ascontiguousarray(samples[-kept:], np.float32))
            place = (self._reserved - kept) % self._capacity * self._width
            head = min(len(source), len(self._bytes) - place)
            self._bytes[place : place + head] = source[:head]
            self._bytes[: len(source) - head] = source[head:]
        self._committed = self._reserved

    def skip(self, count: int) -> None:
        """Advance over lost frames; their slots keep old audio and must not be read."""
        self._reserved += count
        self._committed = self._reserved

    def read(self, start: int, length: int) -> Samples:
        """Copy the frames `start` to `start + length`, shape (length, channels).

        Raises `RingOverrun` if they were overwritten before or during the copy.
        """
        if start < 0 or length < 0 or start + length > self._committed:
            raise ValueError(f"invalid frames {start} to {start + length}; {self._committed} are written")
        copy = np.empty((length, self._width // 4), np.float32)
        if length:
            target = _bytes(copy)
            place = start % self._capacity * self._width
            head = min(len(target), len(self._bytes) - place)
            target[:head] = self._bytes[place : place + head]
            target[head:] = self._bytes[: len(target) - head]
        if start < self._reserved - self._capacity:
            raise RingOverrun(f"frame {start} was overwritten; the oldest frame is {self.oldest}")
        return copy

    def statistics(self) -> RingStatistics:
        """Return the current counts."""
        return RingStatistics(written=self._committed, capacity=self._capacity)


def _bytes(frames: Samples) -> memoryview:
    """View the memory of a non-empty array as bytes."""
    return memoryview(cast("Buffer", frames)).cast("B")
