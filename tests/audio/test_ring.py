"""Ring buffer: any blocks form one recording, and a torn read is never returned."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.audio.ring import Ring
from stream.errors import RingOverrun


def counting(start: int, length: int, channels: int = 1) -> np.ndarray:
    return np.repeat(np.arange(start, start + length, dtype=np.float32)[:, None], channels, axis=1)


@given(sizes=st.lists(st.integers(0, 70), max_size=30), capacity=st.integers(1, 50), channels=st.integers(1, 3))
def test_any_blocks_leave_the_last_frames(sizes: list[int], capacity: int, channels: int) -> None:
    ring = Ring(capacity=capacity, channels=channels)
    for size in sizes:
        ring.write(counting(ring.committed, size, channels))
    assert ring.committed == sum(sizes) == ring.statistics().written
    kept = ring.committed - ring.oldest
    assert kept == min(ring.committed, capacity)
    assert np.array_equal(ring.read(ring.oldest, kept), counting(ring.oldest, kept, channels))


def test_reading_overwritten_frames_raises() -> None:
    ring = Ring(capacity=10)
    ring.write(counting(0, 15))
    with pytest.raises(RingOverrun, match="oldest frame is 5"):
        ring.read(4, 3)


@pytest.mark.parametrize(("start", "length"), [(0, 6), (5, 1), (-1, 2)])
def test_reading_frames_not_written_raises(start: int, length: int) -> None:
    ring = Ring(capacity=10)
    ring.write(counting(0, 5))
    with pytest.raises(ValueError, match="5 are written"):
        ring.read(start, length)


def test_a_read_torn_by_a_write_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer overwrites frames between the copy and the second check."""
    ring = Ring(capacity=10)
    ring.write(counting(0, 10))
    held = ring._bytes

    class Overtaken:
        def __len__(self) -> int:
            return len(held)

        def __getitem__(self, part: slice) -> bytes:
            copied = bytes(held[part])
            monkeypatch.setattr(ring, "_bytes", held)
            ring.write(counting(10, 1))
            return copied

    monkeypatch.setattr(ring, "_bytes", Overtaken())
    with pytest.raises(RingOverrun):
        ring.read(0, 5)


def test_a_writer_in_the_middle_of_a_copy_is_detected() -> None:
    """Frames are reserved but not committed: with one counter this read would look valid."""
    ring = Ring(capacity=10)
    ring.write(counting(0, 10))
    ring._reserved += 3
    with pytest.raises(RingOverrun):
        ring.read(0, 5)
    assert len(ring.read(3, 5)) == 5


def test_two_threads_never_see_a_torn_frame() -> None:
    ring, blocks = Ring(capacity=512, channels=2), 4_000
    done, was_read = threading.Event(), threading.Event()

    def write() -> None:
        written = 0
        while written < blocks or not (was_read.is_set() or written > 100 * blocks):  # on a busy machine, too
            ring.write(counting(ring.committed, 37, 2))
            written += 1
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        start = max(0, ring.committed - 500)
        length = min(400, ring.committed - start)
        try:
            found = ring.read(start, length)
        except RingOverrun:
            continue
        assert np.array_equal(found, counting(start, length, 2))
        was_read.set()
    writer.join()
    assert was_read.is_set()
