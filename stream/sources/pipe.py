"""Raw PCM on standard input: s16le or f32le, interleaved, at the rate and channels the settings say.

A pipe is lossless: when the rooms behind are busy nothing is read, and the writer waits. A thread reads, because
standard input may be a pipe, a file or a socket, and only a thread can wait on all three; it is a daemon, so that a
writer who never writes again cannot keep the process alive. What is left of a frame at the end is dropped, with a
warning.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import BinaryIO

from stream.audio.pcm import SAMPLE_BYTES, checked, decode
from stream.errors import AudioFormatError, SourceNotFound
from stream.settings import SourceSettings
from stream.types import AudioFormat, Block

READ_S = 1.0
"""At most this much sound is read at once; a live writer's smaller pieces are passed on as they come."""

log = logging.getLogger(__name__)


class PipeSource:
    """Standard input, or any other binary stream."""

    live = False
    paced = False

    def __init__(self, *, settings: SourceSettings, stdin: BinaryIO | None = None) -> None:
        self.id = settings.id or "pipe"
        self.channels = settings.channels
        self.format = AudioFormat(rate_hz=settings.rate_hz, channels=settings.pcm_channels)
        self._pcm_format = settings.pcm_format
        self._frame_bytes = SAMPLE_BYTES[settings.pcm_format] * settings.pcm_channels
        self._stdin = stdin
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = threading.Semaphore(2)  # pieces read but not yet heard
        self._stopped = self._deaf = False

    def stop(self) -> None:
        """End as if the writer had closed the pipe; what was read is still given."""
        self._stopped = True
        self._pieces.put_nowait(None)

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[AsyncIterator[Block]]:
        """Give blocks as they are written. Raises `SourceNotFound` at a terminal, `AudioFormatError` for bad sound."""
        stdin = self._stdin or sys.stdin.buffer
        if stdin.isatty():
            raise SourceNotFound(
                "standard input is a terminal; pipe raw PCM into it, "
                "e.g. `ffmpeg -i FILE -f s16le -ar 16000 -ac 1 - | tonewatch run -`"
            )
        arguments = (stdin, asyncio.get_running_loop())
        threading.Thread(target=self._fetch, args=arguments, name="tonewatch-pipe", daemon=True).start()
        try:
            async with aclosing(self._read()) as blocks:
                yield blocks
        finally:
            self._deaf = True
            self._room.release()  # the thread may wait for it

    def _fetch(self, stdin: BinaryIO, loop: asyncio.AbstractEventLoop) -> None:
        """The thread: read pieces until the end, never more than the room behind can hold."""
        most = round(READ_S * self.format.rate_hz) * self._frame_bytes
        unbuffered = getattr(stdin, "raw", stdin)  # a buffer's lock, held while it waits, would break the exit
        read = getattr(unbuffered, "read1", unbuffered.read)
        try:
            while piece := read(most):
                self._room.acquire()
                if self._deaf:
                    return
                loop.call_soon_threadsafe(self._pieces.put_nowait, piece)
            loop.call_soon_threadsafe(self._pieces.put_nowait, None)
        except (RuntimeError, ValueError):  # the loop, or the file, was closed: nobody listens any more
            return

    async def _read(self) -> AsyncGenerator[Block]:
        rest, position = b"", 0
        while (piece := await self._pieces.get()) is not None:
            self._room.release()
            data = rest + piece
            whole = len(data) - len(data) % self._frame_bytes
            rest = data[whole:]
            if not whole:
                continue
            samples = decode(data[:whole], pcm_format=self._pcm_format, channels=self.format.channels)
            checked(samples, start_frame=position, rate_hz=self.format.rate_hz, name="standard input")
            yield Block(self.id, position, samples)
            position += len(samples)
        if rest:
            log.warning("standard input ended within a frame; its last %d byte(s) are dropped", len(rest))
        if self._stopped:
            return
        if not position and not rest:
            raise AudioFormatError("standard input held no sound; check what writes to it")
        if not position:
            raise AudioFormatError(
                f"standard input held less than a frame ({self._frame_bytes} bytes); check --pcm-format, --pcm-channels"
            )
