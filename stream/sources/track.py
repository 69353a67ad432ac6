"""Sound that others put in: one track, as a connection brings it.

Whoever holds the connection calls `put` for every piece and `end` at its end; pieces are joined into blocks of
`BLOCK_S`, since 200 tracks of 50 pieces a second each would cost more than the models. A block is dated by its last
piece's arrival, so that joining shows in the latencies. Nothing is lost here: a connection that brings more than
`MOST_S` of sound that nobody has heard yet waits in `room`, and so does its peer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import numpy as np

from stream.types import SAMPLE_RATE_HZ, AudioFormat, Block, Samples

BLOCK_S = 0.256
"""Eight frames of the speech detector."""

MOST_S = 10.0
"""Sound that may wait to be heard."""


class TrackSource:
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
        self._block_frames = self._most_frames = 0
        self._tuned = asyncio.Event()
        self._pieces: list[Samples] = []
        self._pieces_start = self._pieces_frames = 0
        self._blocks: deque[Block] = deque()
        self._waiting_frames = 0
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
        self._block_frames, self._most_frames = round(BLOCK_S * rate_hz), round(MOST_S * rate_hz)
        self._tuned.set()

    @property
    def is_behind(self) -> bool:
        """Whether sound waits to be heard: then it is we who are slow, not whoever brings it."""
        return bool(self._blocks)

    def put(self, start_frame: int, samples: Samples) -> None:
        """Take mono samples (n,) that begin at `start_frame`; a jump forwards is a gap, what lies behind is dropped."""
        late = self.end_frame - start_frame
        if late > 0:
            samples, start_frame = samples[late:], self.end_frame
        if self._ended or not len(samples):
            return
        if start_frame != self.end_frame:
            self._join()
        if not self._pieces:
            self._pieces_start = start_frame
        self._pieces.append(samples)
        self._pieces_frames += len(samples)
        self.end_frame = start_frame + len(samples)
        self.heard_s = time.monotonic()
        if self._pieces_frames >= self._block_frames:
            self._join()

    def end(self) -> None:
        """No more sound."""
        if not self._ended:
            self._join()
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
            self._blocks.clear()

    def _join(self) -> None:
        if not self._pieces:
            return
        samples = np.concatenate(self._pieces)[:, None]
        self._blocks.append(Block(self.id, self._pieces_start, samples, captured_s=self.heard_s))
        self._waiting_frames += len(samples)
        self._pieces, self._pieces_frames = [], 0
        if self._waiting_frames > self._most_frames:
            self._room.clear()
        self._changed.set()

    async def _give(self) -> AsyncGenerator[Block]:
        while True:
            while not self._blocks:
                if self._ended:
                    return
                self._changed.clear()
                await self._changed.wait()
            block = self._blocks.popleft()
            yield block
            self._waiting_frames -= len(block.samples)
            if self._waiting_frames <= self._most_frames:
                self._room.set()
