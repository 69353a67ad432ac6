"""A preallocated ring of frames, written by one thread and read by another without locks.

Owns `capacity` frames of float32 and two counters that only grow. The writer *reserves* frames (adds to `_reserved`),
copies, then *commits* them (sets `_committed`). A reader copies out and then looks at `_reserved` again: if the writer
has meanwhile begun to overwrite what was copied, the copy is torn and is refused. With the committed counter alone a
reader would miss a writer who is in the middle of a copy.

The counters are Python ints; loading or storing an attribute is one step under the interpreter's lock, which orders
them. Refuses: reads of frames not written yet (`ValueError`: a bug), reads of frames overwritten (`RingOverrun`).
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
    """Frames written since the start, and how many the ring can hold."""

    written: int
    capacity: int


class Ring:
    """The last `capacity` frames of a stream, by absolute index."""

    def __init__(self, *, capacity: int, channels: int = 1) -> None:
        # Bytes, because a copy between memoryviews keeps the interpreter's lock. NumPy lets go of it for more than 500
        # values, and getting it back from busy worker threads takes a hundred times as long as the copy.
        self._bytes = _bytes(np.zeros((capacity, channels), np.float32))
        self._width = 4 * channels
        self._capacity = capacity
        self._reserved = 0
        self._committed = 0

    @property
    def committed(self) -> int:
        """Frames written so far: the index of the next one."""
        return self._committed

    @property
    def oldest(self) -> int:
        """The first frame that can still be read."""
        return max(0, self._reserved - self._capacity)

    def write(self, samples: Samples) -> None:
        """Append frames of shape (n, channels). Never waits; of more than the ring holds, the last are kept."""
        count = len(samples)
        self._reserved += count
        kept = min(count, self._capacity)
        if kept:
            sound = _bytes(np.ascontiguousarray(samples[-kept:], np.float32))
            place = (self._reserved - kept) % self._capacity * self._width
            head = min(len(sound), len(self._bytes) - place)
            self._bytes[place : place + head] = sound[:head]
            self._bytes[: len(sound) - head] = sound[head:]
        self._committed = self._reserved

    def skip(self, count: int) -> None:
        """Count frames that were lost: their places hold old sound and are for nobody to read."""
        self._reserved += count
        self._committed = self._reserved

    def read(self, start: int, length: int) -> Samples:
        """A copy of frames `start` to `start + length`, shape (length, channels).

        Raises `RingOverrun` when they were overwritten before or while they were copied.
        """
        if start < 0 or length < 0 or start + length > self._committed:
            raise ValueError(f"frames {start} to {start + length} of {self._committed} cannot be read")
        copy = np.empty((length, self._width // 4), np.float32)
        if length:
            sound = _bytes(copy)
            place = start % self._capacity * self._width
            head = min(len(sound), len(self._bytes) - place)
            sound[:head] = self._bytes[place : place + head]
            sound[head:] = self._bytes[: len(sound) - head]
        if start < self._reserved - self._capacity:
            raise RingOverrun(f"frames from {start} on were overwritten; the ring begins at {self.oldest}")
        return copy

    def statistics(self) -> RingStatistics:
        """Counts so far."""
        return RingStatistics(written=self._committed, capacity=self._capacity)


def _bytes(frames: Samples) -> memoryview:
    """The memory of an array that holds something."""
    return memoryview(cast("Buffer", frames)).cast("B")
