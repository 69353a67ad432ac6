"""The owner's side of a microphone's process (`recorder`): starts it, reads what it gives, ends it.

The process cannot outlive its owner, however that ends: its standard input is a pipe that only the owner holds open.
One that does not end when it is asked to is killed. An owner that does not read for a while loses nothing: the pipe
fills up and the process keeps the last `recorder.RING_S` of sound.
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
from stream.sources.recorder import HEADER, LINGER_S, CaptureBlock, CaptureRequest
from stream.types import AudioFormat

OPENING_S = 10.0
"""How long a device may take to open: a broken one may take for ever."""

WAITING = 64
"""Pieces that may wait to be taken before the pipe is left alone."""


class MicrophoneProcess(asyncio.Protocol):
    """One recording process; `wake` is called whenever there is something new to see."""

    def __init__(self, *, process: subprocess.Popen[bytes], wake: Callable[[], None]) -> None:
        self._process = process
        self._wake = wake
        self._opened: asyncio.Future[AudioFormat] = asyncio.get_running_loop().create_future()
        self._pipe: asyncio.ReadTransport | None = None
        self._bytes = bytearray()
        self._pieces: deque[CaptureBlock] = deque()
        self.newest: CaptureBlock | None = None
        self.finished = False

    @classmethod
    async def open(cls, wish: CaptureRequest, wake: Callable[[], None]) -> Self:
        """Record a device. Raises `SourceNotFound`, `PortAudioMissing` or `DeviceLost`, as the process says."""
        capture = cls(process=_start(wish), wake=wake)
        try:
            await asyncio.get_running_loop().connect_read_pipe(lambda: capture, capture._process.stdout)
            async with asyncio.timeout(OPENING_S):
                await capture._opened
        except TimeoutError:
            await capture.close()
            raise DeviceLost(f"the microphone did not open within {OPENING_S:g} s; unplug it and plug it in") from None
        except BaseException:
            await capture.close()
            raise
        return capture

    @property
    def format(self) -> AudioFormat:
        """Rate and channels of what comes."""
        return self._opened.result()

    @property
    def waiting(self) -> bool:
        """Whether there is a piece to take."""
        return bool(self._pieces)

    def take(self) -> CaptureBlock:
        """The next piece; there must be one `waiting`."""
        piece = self._pieces.popleft()
        if self._pipe is not None and len(self._pieces) < WAITING // 2:
            self._pipe.resume_reading()
        return piece

    def finish(self) -> None:
        """Ask the process to end; what it has recorded still comes, then `finished`."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def why(self) -> str:
        """Why the process has ended, after `finished`."""
        code = await self._exit_code()
        return "the device was taken away" if not code else f"the process that records it ended with code {code}"

    async def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._pipe is not None:
            self._pipe.close()
        self.finish()
        try:
            async with asyncio.timeout(2 * LINGER_S):
                await self._exit_code()
        except TimeoutError:
            self._process.kill()
            await self._exit_code()

    async def _exit_code(self) -> int:
        """What the process ended with; looked at again and again, for a thread that waits could be left behind."""
        while (code := self._process.poll()) is None:  # noqa: ASYNC110 - no event on all Pythons
            await asyncio.sleep(0.01)
        return code

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The pipe can be read."""
        assert isinstance(transport, asyncio.ReadTransport)  # noqa: S101 - `connect_read_pipe` says so
        self._pipe = transport

    def data_received(self, data: bytes) -> None:
        """Part of what the process writes."""
        self._bytes += data
        if not self._opened.done() and not self._begin():
            return
        while (piece := self._cut()) is not None:
            self._pieces.append(piece)
            self.newest = piece
        if self._pipe is not None and len(self._pieces) >= WAITING:
            self._pipe.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The process has ended."""
        self.finished = True
        if not self._opened.done():
            self._opened.set_exception(DeviceLost("the process that records the microphone ended before it began"))
        self._wake()

    def _begin(self) -> bool:
        """Read the first line, once it is there."""
        line, end, rest = self._bytes.partition(b"\n")
        if not end:
            return False
        self._bytes = rest
        told: dict[str, Any] = json.loads(line)
        if "opened" in told:
            self._opened.set_result(AudioFormat(**told["opened"]))
            return True
        refusal: type[SourceError] = getattr(errors, told["error"])
        self._opened.set_exception(refusal(told["message"]))
        return False

    def _cut(self) -> CaptureBlock | None:
        """The first whole piece of what has come."""
        if len(self._bytes) < HEADER.size:
            return None
        start, frames, overflows, heard_s = HEADER.unpack_from(self._bytes)
        channels = self.format.channels
        end = HEADER.size + 4 * frames * channels
        if len(self._bytes) < end:
            return None
        samples = np.frombuffer(bytes(self._bytes[HEADER.size : end]), np.float32).reshape(-1, channels)
        del self._bytes[:end]
        return CaptureBlock(start, samples, overflows, heard_s)


def _start(wish: CaptureRequest) -> subprocess.Popen[bytes]:
    """A process in a session of its own, so that Ctrl-C is its owner's to act on."""
    return subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-P", "-m", "stream.sources.recorder", wish.to_json()],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # it calculates nothing
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )
