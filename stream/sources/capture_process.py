"""The owner's side of a recording process (`recorder`, `network_recorder`): starts it, reads its output, ends it.

The process cannot outlive its owner, however the owner ends: its standard input is a pipe that only the owner holds
open. A process that does not end on request is killed. An owner that does not read for a while loses nothing: the pipe
fills up and the process keeps the last `recorder.RING_S` of audio.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from stream import errors
from stream.errors import DeviceLost, SourceError
from stream.sources.recorder import EXIT_TIMEOUT_S, HEADER, REQUEST_VARIABLE, CaptureBlock, CaptureRequest
from stream.types import AudioFormat

MAX_QUEUED_BLOCKS = 64
"""Number of queued blocks at which reading from the pipe pauses."""

EXIT_POLL_S = 0.01


class CaptureProcess(asyncio.Protocol):
    """One recording process; `wake` is called on every new block and at the end."""

    def __init__(self, *, process: subprocess.Popen[bytes], wake: Callable[[], None]) -> None:
        self._process = process
        self._wake = wake
        self._opened: asyncio.Future[AudioFormat] = asyncio.get_running_loop().create_future()
        self._pipe: asyncio.ReadTransport | None = None
        self._buffer = bytearray()
        self._queue: deque[CaptureBlock] = deque()
        self.newest: CaptureBlock | None = None
        self.ended = False

    @classmethod
    async def open(cls, request: CaptureRequest, wake: Callable[[], None]) -> Self:
        """Start recording. Raises `SourceNotFound`, `PortAudioMissing`, `AudioFormatError` or `DeviceLost`."""
        capture = cls(process=_start_process(request), wake=wake)
        try:
            await asyncio.get_running_loop().connect_read_pipe(lambda: capture, capture._process.stdout)
            async with asyncio.timeout(request.open_timeout_s):
                await capture._opened
        except TimeoutError:
            await capture.close()
            raise DeviceLost(request.open_timeout_message) from None
        except BaseException:
            await capture.close()
            raise
        return capture

    @property
    def format(self) -> AudioFormat:
        """Sample rate and channel count of the recorded audio."""
        return self._opened.result()

    @property
    def has_block(self) -> bool:
        """Whether a block is queued."""
        return bool(self._queue)

    def take_block(self) -> CaptureBlock:
        """Remove and return the oldest queued block. Raises `IndexError` if there is none."""
        block = self._queue.popleft()
        if self._pipe is not None and len(self._queue) < MAX_QUEUED_BLOCKS // 2:
            self._pipe.resume_reading()
        return block

    def request_end(self) -> None:
        """Ask the process to end; audio recorded so far still arrives, then `ended` is set."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def exit_code(self) -> int:
        """Wait for the exit of a process that has `ended`; returns its code."""
        return await self._exit_code()

    async def close(self) -> None:
        """End the process, by force if it does not end on request."""
        if self._pipe is not None:
            self._pipe.close()
        self.request_end()
        try:
            async with asyncio.timeout(2 * EXIT_TIMEOUT_S):
                await self._exit_code()
        except TimeoutError:
            self._process.kill()
            await self._exit_code()

    async def _exit_code(self) -> int:
        """Wait for the process by polling: a waiting thread could be left over."""
        while (code := self._process.poll()) is None:  # noqa: ASYNC110 - no event on all Pythons
            await asyncio.sleep(EXIT_POLL_S)
        return code

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport of the process's standard output."""
        assert isinstance(transport, asyncio.ReadTransport)  # noqa: S101 - guaranteed by `connect_read_pipe`
        self._pipe = transport

    def data_received(self, data: bytes) -> None:
        """Decode a part of the process's output."""
        self._buffer += data
        if not self._opened.done() and not self._read_first_line():
            return
        while (block := self._decode_block()) is not None:
            self._queue.append(block)
            self.newest = block
        if self._pipe is not None and len(self._queue) >= MAX_QUEUED_BLOCKS:
            self._pipe.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Mark the end of the process."""
        self.ended = True
        if not self._opened.done():
            self._opened.set_exception(DeviceLost("the recording process ended before it opened its source"))
        self._wake()

    def _read_first_line(self) -> bool:
        """Decode the first line once it is complete; returns whether the device is open."""
        line, end, rest = self._buffer.partition(b"\n")
        if not end:
            return False
        self._buffer = rest
        fields: dict[str, Any] = json.loads(line)
        if "opened" in fields:
            self._opened.set_result(AudioFormat(**fields["opened"]))
            return True
        error: type[SourceError] = getattr(errors, fields["error"])
        self._opened.set_exception(error(fields["message"]))
        return False

    def _decode_block(self) -> CaptureBlock | None:
        """Remove and return the first complete block of the buffer."""
        if len(self._buffer) < HEADER.size:
            return None
        start, frames, overflows, recorded_s = HEADER.unpack_from(self._buffer)
        channels = self.format.channels
        end = HEADER.size + 4 * frames * channels
        if len(self._buffer) < end:
            return None
        samples = np.frombuffer(bytes(self._buffer[HEADER.size : end]), np.float32).reshape(-1, channels)
        del self._buffer[:end]
        return CaptureBlock(start, samples, overflows, recorded_s)


def _start_process(request: CaptureRequest) -> subprocess.Popen[bytes]:
    """Start the recorder in a session of its own, so that Ctrl-C reaches only the owner."""
    return subprocess.Popen(  # noqa: S603 - the arguments are our own
        [sys.executable, "-P", "-m", request.program],
        env={
            **os.environ,
            "OPENBLAS_NUM_THREADS": "1",  # the recorder computes nothing
            REQUEST_VARIABLE: request.to_json(),  # may have a password, which other users could read in an argument
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )
