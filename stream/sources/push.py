"""Sound that others put in: one track, as a connection brings it.

Whoever holds the connection calls `put` for every piece and `end` at its end; pieces are joined into blocks of
`BLOCK_S`, since 200 tracks of 50 pieces a second each would cost more than the models. A reader that is late gets up
to `LONGEST_S` at a time, for which it needs hardly more time: so it catches up. A block is dated by its last piece's
arrival, so that joining shows in the latencies. Nothing is lost here: a connection that brings more than `MOST_S` of
sound that nobody has heard yet waits in `room`, and so does its peer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from stream.types import SAMPLE_RATE_HZ, AudioFormat, Block, Samples

BLOCK_S = 0.256
"""Eight frames of the speech detector."""

LONGEST_S = 1.0
"""Sound that is given at a time, at most."""

MOST_S = 10.0
"""Sound that may wait to be heard."""


@dataclass(frozen=True, slots=True)
class _AudioChunk:
    """Sound as it was put in, and when."""

    start_frame: int
    samples: Samples = field(repr=False)
    heard_s: float


class PushSource:
    """One track. `on_stop` is called when the run stops it, for whoever holds the connection.

    A rate of 0 is not known yet: `tune` tells it, before any sound.
    """

    live = True
    paced = True

    def __init__(
        self, *, source_id: str, channels: str, rate_hz: int, on_stop: Callable[[], None] | None = None
    ) -> None:
        self.id, self.channels = source_id, channels
        self.rate_hz = 0
        self.end_frame = 0  # of what was put in so far
        self.heard_s = 0.0  # when sound came last, on the monotonic clock
        self._on_stop = on_stop
        self._block_frames = self._longest_frames = self._most_frames = 0
        self._tuned = asyncio.Event()
        self._pieces: deque[_AudioChunk] = deque()
        self._waiting_frames = 0
        self._jumps = 0  # among what waits
        self._changed = asyncio.Event()  # for the reader
        self._room = asyncio.Event()  # for the writer
        self._room.set()
        self._ended = False
        if rate_hz:
            self.tune(rate_hz)

    @property
    def format(self) -> AudioFormat:
        """Rate and channels, once the rate is known."""
        return AudioFormat(rate_hz=self.rate_hz or SAMPLE_RATE_HZ, channels=1)

    @property
    def reached_s(self) -> float:
        """How far the sound goes, gaps included."""
        return self.end_frame / self.rate_hz if self.rate_hz else 0.0

    def tune(self, rate_hz: int) -> None:
        """Sound comes at this rate."""
        self.rate_hz = rate_hz
        self._block_frames, self._longest_frames = round(BLOCK_S * rate_hz), round(LONGEST_S * rate_hz)
        self._most_frames = round(MOST_S * rate_hz)
        self._tuned.set()

    @property
    def is_behind(self) -> bool:
        """Whether sound waits to be heard: then it is we who are slow, not whoever brings it."""
        return self._is_ready()

    def put(self, start_frame: int, samples: Samples) -> None:
        """Take mono samples (n,) that begin at `start_frame`; a jump forwards is a gap, what lies behind is dropped."""
        late = self.end_frame - start_frame
        if late > 0:
            samples, start_frame = samples[late:], self.end_frame
        if self._ended or not len(samples):
            return
        self._jumps += bool(self._pieces) and start_frame != self.end_frame
        self.end_frame, self.heard_s = start_frame + len(samples), time.monotonic()
        self._pieces.append(_AudioChunk(start_frame, samples, self.heard_s))
        self._waiting_frames += len(samples)
        if self._waiting_frames > self._most_frames:
            self._room.clear()
        if self._is_ready():
            self._changed.set()

    def end(self) -> None:
        """No more sound."""
        if not self._ended:
            self._ended = True
            self._tuned.set()
            self._changed.set()
            self._room.set()

    def stop(self) -> None:
        """The run stops: end as if the sound had ended, and let the connection know."""
        self.end()
        if self._on_stop is not None:
            self._on_stop()

    async def room(self) -> None:
        """Wait until there is room for more."""
        await self._room.wait()

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[AsyncIterator[Block]]:
        """Give blocks as they come, until `end` or `stop`."""
        try:
            await self._tuned.wait()
            async with aclosing(self._give()) as blocks:
                yield blocks
        finally:
            self.end()
            self._pieces.clear()

    def _is_ready(self) -> bool:
        """Whether there is a block to give: one that is full, or will not grow any more."""
        return bool(self._pieces) and (self._waiting_frames >= self._block_frames or self._jumps > 0 or self._ended)

    def _join(self) -> Block:
        """What waits, as far as it is unbroken and not too long."""
        newest = self._pieces.popleft()
        start_frame, end_frame, parts = newest.start_frame, newest.start_frame + len(newest.samples), [newest.samples]
        while self._pieces and end_frame - start_frame < self._longest_frames:
            if self._pieces[0].start_frame != end_frame:
                break
            newest = self._pieces.popleft()
            parts.append(newest.samples)
            end_frame += len(newest.samples)
        self._jumps -= bool(self._pieces) and self._pieces[0].start_frame != end_frame
        self._waiting_frames -= end_frame - start_frame
        return Block(self.id, start_frame, np.concatenate(parts)[:, None], captured_s=newest.heard_s)

    async def _give(self) -> AsyncGenerator[Block]:
        while True:
            while not self._is_ready():
                if self._ended:
                    return
                self._changed.clear()
                await self._changed.wait()
            yield self._join()
            if self._waiting_frames <= self._most_frames:
                self._room.set()
