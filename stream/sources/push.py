"""Audio that a network connection pushes: one track.

The connection calls `put` for every chunk and `end` at the end. Chunks are joined into blocks of `BLOCK_S`, since 200
tracks of 50 chunks per second each would cost more than the models. A reader that falls behind gets up to `MAX_BLOCK_S`
at once, which takes hardly more time, so that it catches up. A block carries the arrival time of its last chunk, so
joining shows up in the latencies. No audio is lost: a connection that has pushed more than `MAX_BUFFERED_S`, or its
share of the node's memory, ahead of the reader waits in `wait_for_capacity`, and so does its peer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from stream.events import CallChange, Outcome
from stream.types import SAMPLE_RATE_HZ, AudioFormat, Block, Interruption, Samples

BLOCK_S = 0.256
"""Minimum length of a block of continuous audio: eight frames of the speech detector."""

MAX_BLOCK_S = 1.0
"""Length at which no more chunks are joined."""

MAX_BUFFERED_S = 10.0
"""Buffered audio above which the connection waits."""

SAMPLE_BYTES = 4
"""Size of a buffered sample."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Mono samples as they were put in, and their arrival time on the monotonic clock."""

    start_frame: int
    samples: Samples = field(repr=False)
    received_s: float


class PushSource:
    """One track. `on_stop` is called when the run stops the source, to notify the connection.

    With `rate_hz` 0 the rate is unknown; the connection then calls `set_rate` before the first audio. `max_buffered_s`
    returns how much audio of a sample rate may wait, which changes with the number of tracks.
    """

    live = True
    paced = True

    def __init__(
        self,
        *,
        source_id: str,
        channels: str,
        rate_hz: int,
        on_stop: Callable[[], None] | None = None,
        max_buffered_s: Callable[[int], float] = lambda _: MAX_BUFFERED_S,
    ) -> None:
        self.id, self.channels = source_id, channels
        self.rate_hz = 0
        self.started_s: float | None = None  # POSIX time of frame 0, if it is older than the stream
        self.end_frame = 0  # of the audio put in so far, gaps included
        self.received_s = 0.0  # arrival of the newest chunk, on the monotonic clock
        self._on_stop = on_stop
        self._max_buffered_s = max_buffered_s
        self._block_frames = self._max_block_frames = 0
        self._rate_known = asyncio.Event()
        self._chunks: deque[_Chunk | Interruption] = deque()
        self._buffered_frames = 0
        self._buffered_gaps = 0  # and interruptions
        self.interruption = ""  # "stalled" or "paused" while no audio comes
        self.is_on_hold = False  # audio is discarded until the call is retrieved
        self._retrieved = ""  # why, until the next audio
        self.labels: Mapping[str, str] = {}
        self.ending: tuple[str, Outcome] = ("the sound has ended", "finished")
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = False
        if rate_hz:
            self.set_rate(rate_hz)

    @property
    def format(self) -> AudioFormat:
        """Sample rate and channel count; a default rate while it is unknown."""
        return AudioFormat(rate_hz=self.rate_hz or SAMPLE_RATE_HZ, channels=1)

    @property
    def end_s(self) -> float:
        """Media time of the end of the audio put in so far, gaps included."""
        return self.end_frame / self.rate_hz if self.rate_hz else 0.0

    def set_rate(self, rate_hz: int) -> None:
        """Set the sample rate; call before the first `put`."""
        self.rate_hz = rate_hz
        self._block_frames, self._max_block_frames = round(BLOCK_S * rate_hz), round(MAX_BLOCK_S * rate_hz)
        self._rate_known.set()

    @property
    def is_ended(self) -> bool:
        """Whether the track was ended, by its connection or by the run."""
        return self._ended

    @property
    def is_behind(self) -> bool:
        """Whether a block waits for the reader: the node is slow then, not the peer."""
        return self._is_ready()

    def put(self, start_frame: int, samples: Samples) -> None:
        """Append mono samples of shape (n,) from `start_frame` on.

        A jump forwards is a gap; samples before the current end are dropped.
        """
        overlap = self.end_frame - start_frame
        if overlap > 0:
            samples, start_frame = samples[overlap:], self.end_frame
        if self._ended or not len(samples):
            return
        if self._chunks and start_frame != self.end_frame and isinstance(self._chunks[-1], _Chunk):
            self._buffered_gaps += 1
        self.end_frame, self.received_s = start_frame + len(samples), time.monotonic()
        self._chunks.append(_Chunk(start_frame, samples, self.received_s))
        self._buffered_frames += len(samples)
        if self._is_full():
            self._writable.clear()
        if self._is_ready():
            self._readable.set()

    def interrupt(self, state: str, reason: str) -> None:
        """Note, behind the audio put in so far, that no more comes (`stalled`, `paused`) or comes again (`resumed`)."""
        state_after = "" if state == "resumed" else state
        if self._ended or self.is_on_hold or state_after == self.interruption:
            return
        self.interruption = state_after
        if state == "resumed" and self._retrieved:
            self._append(Interruption(self.id, state, self._retrieved, call_change="retrieve"))
            self._retrieved = ""
        else:
            self._append(Interruption(self.id, state, reason))

    def hold(self, reason: str) -> None:
        """Discard audio until `retrieve`: what a party on hold says or hears is none of the call."""
        if self._ended or self.is_on_hold:
            return
        self.is_on_hold, self.interruption, self._retrieved = True, "paused", ""
        self._append(Interruption(self.id, "paused", reason, call_change="hold"))

    def retrieve(self, reason: str) -> None:
        """Take audio again: the next one ends the hold."""
        if self.is_on_hold:
            self.is_on_hold, self._retrieved = False, reason

    def describe(self, labels: Mapping[str, str], reason: str = "", change: CallChange | None = None) -> None:
        """Set what is known about the call, and how it changed."""
        self.labels = {**self.labels, **labels}
        if not self._ended:
            self._append(Interruption(self.id, "described", reason, labels=self.labels, call_change=change))

    def _append(self, interruption: Interruption) -> None:
        self._chunks.append(interruption)
        self._buffered_gaps += 1
        self._readable.set()

    def end(self, reason: str = "", outcome: Outcome = "finished") -> None:
        """End the track, for a `reason` if it is known; buffered audio is still read."""
        if not self._ended:
            self._ended = True
            self.ending = (reason or self.ending[0], outcome)
            self._rate_known.set()
            self._readable.set()
            self._writable.set()

    def stop(self) -> None:
        """End the track because the run stops, and notify the connection."""
        self.end("the node was stopped", "stopped")
        if self._on_stop is not None:
            self._on_stop()

    async def wait_for_capacity(self) -> None:
        """Wait until no more is buffered than may be."""
        await self._writable.wait()

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[AsyncIterator[Block | Interruption]]:
        """Yield an iterator over the blocks until `end` or `stop`."""
        try:
            await self._rate_known.wait()
            async with aclosing(self._read()) as blocks:
                yield blocks
        finally:
            self.end()
            self._chunks.clear()

    def _is_full(self) -> bool:
        return self._buffered_frames > self._max_buffered_s(self.rate_hz) * self.rate_hz

    def _is_ready(self) -> bool:
        """Whether the next block is complete: long enough, followed by a gap, or the last one."""
        is_complete = self._buffered_frames >= self._block_frames or self._buffered_gaps > 0 or self._ended
        return bool(self._chunks) and is_complete

    def _join(self) -> Block | Interruption:
        """Join buffered chunks up to the next gap, interruption or `MAX_BLOCK_S`."""
        newest = self._chunks.popleft()
        if isinstance(newest, Interruption):
            self._buffered_gaps -= 1
            return newest
        start_frame, end_frame, parts = newest.start_frame, newest.start_frame + len(newest.samples), [newest.samples]
        while self._chunks and end_frame - start_frame < self._max_block_frames:
            following = self._chunks[0]
            if isinstance(following, Interruption) or following.start_frame != end_frame:
                break
            newest = following
            self._chunks.popleft()
            parts.append(newest.samples)
            end_frame += len(newest.samples)
        if self._chunks and isinstance(self._chunks[0], _Chunk) and self._chunks[0].start_frame != end_frame:
            self._buffered_gaps -= 1
        self._buffered_frames -= end_frame - start_frame
        return Block(self.id, start_frame, np.concatenate(parts)[:, None], captured_s=newest.received_s)

    async def _read(self) -> AsyncGenerator[Block | Interruption]:
        while True:
            while not self._is_ready():
                if self._ended:
                    return
                self._readable.clear()
                await self._readable.wait()
            yield self._join()
            if not self._is_full():
                self._writable.set()
