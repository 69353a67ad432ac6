"""Raw PCM on standard input: s16le or f32le, interleaved, with the sample rate and channel count of the settings.

A pipe is lossless: while processing is busy nothing is read, and the writer waits. A thread reads, because standard
input may be a pipe, a file or a socket, and only a thread can wait on all three; it is a daemon thread, so that a
silent writer cannot keep the process alive. An incomplete frame at the end is dropped, with a warning.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import BinaryIO

from stream.audio.pcm import SAMPLE_BYTES, decode, require_finite
from stream.errors import AudioFormatError, SourceNotFound
from stream.settings import SourceSettings
from stream.types import AudioFormat, Block

MAX_READ_S = 1.0
"""Maximum audio per read; smaller chunks of a live writer are passed on immediately."""

MAX_QUEUED_CHUNKS = 2
"""Maximum number of chunks that are read but not processed yet."""

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
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._capacity = threading.Semaphore(MAX_QUEUED_CHUNKS)
        self._stopped = self._closed = False

    def stop(self) -> None:
        """Stop, as if the writer had closed the pipe; audio that was read is still delivered."""
        self._stopped = True
        self._chunks.put_nowait(None)

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[AsyncIterator[Block]]:
        """Yield an iterator over the blocks.

        Raises `SourceNotFound` for a terminal, `AudioFormatError` for missing or invalid audio.
        """
        stdin = self._stdin or sys.stdin.buffer
        if stdin.isatty():
            raise SourceNotFound(
                "standard input is a terminal; pipe raw PCM into it, "
                "e.g. `ffmpeg -i FILE -f s16le -ar 16000 -ac 1 - | tonewatch run -`"
            )
        arguments = (stdin, asyncio.get_running_loop())
        threading.Thread(target=self._read_input, args=arguments, name="tonewatch-pipe", daemon=True).start()
        try:
            async with aclosing(self._read()) as blocks:
                yield blocks
        finally:
            self._closed = True
            self._capacity.release()  # the thread may wait for it

    def _read_input(self, stdin: BinaryIO, loop: asyncio.AbstractEventLoop) -> None:
        """Read chunks until the end, at most `MAX_QUEUED_CHUNKS` ahead; runs on the thread."""
        max_bytes = round(MAX_READ_S * self.format.rate_hz) * self._frame_bytes
        # unbuffered: a buffered reader holds a lock while it waits, which would break the exit
        unbuffered = getattr(stdin, "raw", stdin)
        read = getattr(unbuffered, "read1", unbuffered.read)
        try:
            while chunk := read(max_bytes):
                self._capacity.acquire()
                if self._closed:
                    return
                loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)
            loop.call_soon_threadsafe(self._chunks.put_nowait, None)
        except (RuntimeError, ValueError):  # the loop or the file was closed
            return

    async def _read(self) -> AsyncGenerator[Block]:
        remainder, position = b"", 0
        while (chunk := await self._chunks.get()) is not None:
            self._capacity.release()
            data = remainder + chunk
            whole = len(data) - len(data) % self._frame_bytes
            remainder = data[whole:]
            if not whole:
                continue
            samples = decode(data[:whole], pcm_format=self._pcm_format, channels=self.format.channels)
            require_finite(samples, start_frame=position, rate_hz=self.format.rate_hz, name="standard input")
            yield Block(self.id, position, samples)
            position += len(samples)
        if remainder:
            log.warning("standard input ended within a frame; %d byte(s) dropped", len(remainder))
        if self._stopped:
            return
        if not position and not remainder:
            raise AudioFormatError("no audio on standard input; check the writing program")
        if not position:
            raise AudioFormatError(
                f"less than a frame ({self._frame_bytes} bytes) on standard input; check --pcm-format, --pcm-channels"
            )
