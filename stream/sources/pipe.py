"""Audio on standard input or in a named pipe: raw PCM of the settings' format, or a recording with a header.

A pipe that begins with a known container (WAV, FLAC, Ogg, MP3 …) is decoded, whatever the settings say. Otherwise it is
raw PCM; what looks wrong with its format is logged once.

A pipe is lossless: while processing is busy nothing is read, and the writer waits. A `live` one is not: windows that
wait too long give way to newer ones, and media time follows the clock, so that events have the right wall time whatever
the writer does. A pipe that has kept to the clock by itself is live in the latter respect (`WriterPace`): when the
writer pauses the stream is `stalled`, and what is missing becomes a gap. A piped file does not keep to the clock.

A thread reads, because standard input may be a pipe, a file or a socket, and only a thread can wait on all three; it is
a daemon thread, so that a silent writer cannot keep the process alive.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from stream.audio.pcm import require_finite
from stream.audio.pcm_check import PcmCheck
from stream.clock import steady_s
from stream.errors import SourceError, SourceNotFound
from stream.settings import SourceSettings
from stream.sources.pace import SETTLE_S, WriterPace
from stream.sources.pipe_reader import NAME, PipePiece, PipeReader
from stream.types import AudioFormat, Block, Interruption

MAX_QUEUED_PIECES = 2
"""Maximum number of pieces that are read but not processed yet."""

MAX_BUFFERED_S = 5.0
"""Audio that can wait in a pipe; if there is more at once, it is a file that is piped, unless it is said to be live."""

STALL_TIMEOUT_S = 1.0
"""Pause of a live writer that is reported, if its chunks are not longer than a third of it."""

log = logging.getLogger(__name__)


class PipeSource:
    """Standard input, a named pipe (`settings.target`), or any other binary stream."""

    def __init__(
        self, *, settings: SourceSettings, stdin: BinaryIO | None = None, clock: Callable[[], float] = steady_s
    ) -> None:
        self.id = settings.id or "pipe"
        self.channels = settings.channels
        self.live = self.paced = settings.live
        self._settings = settings
        self._stdin, self._clock = stdin, clock
        self._reader: PipeReader | None = None
        self._opened: asyncio.Event = asyncio.Event()
        self._pieces: asyncio.Queue[PipePiece | SourceError | None] = asyncio.Queue()
        self._capacity = threading.Semaphore(MAX_QUEUED_PIECES)
        self._stopped = self._closed = False
        self.started_s: float | None = None
        """POSIX time of frame 0, if the writer is live; None: that of the opening."""

    @property
    def format(self) -> AudioFormat:
        """Sample rate and channel count: those of the settings until a header says otherwise."""
        if self._reader is not None:
            return self._reader.format
        return AudioFormat(rate_hz=self._settings.rate_hz, channels=self._settings.pcm_channels)

    @property
    def _is_raw(self) -> bool:
        """Whether only the settings say what the samples are."""
        return self._reader is not None and not self._reader.has_header

    def stop(self) -> None:
        """Stop, as if the writer had closed the pipe; audio that was read is still delivered."""
        self._stopped = True
        self._opened.set()
        self._pieces.put_nowait(None)

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[AsyncIterator[Block | Interruption]]:
        """Yield an iterator over the blocks.

        Raises `SourceNotFound` for a terminal, `AudioFormatError` for missing or invalid audio.
        """
        stdin = self._stdin or (None if self._settings.target else sys.stdin.buffer)
        if stdin is not None and stdin.isatty():
            raise SourceNotFound(
                "standard input is a terminal; pipe raw PCM into it, "
                "e.g. `ffmpeg -i FILE -f s16le -ar 16000 -ac 1 - | tonewatch run -`"
            )
        arguments = (stdin, asyncio.get_running_loop())
        threading.Thread(target=self._run_reader, args=arguments, name="tonewatch-pipe", daemon=True).start()
        try:
            await self._opened.wait()
            first = await self._begin()
            async with aclosing(self._read(first)) as blocks:
                yield blocks
        finally:
            self._closed = True
            self._capacity.release()  # the thread may wait for it
            if self._reader is not None:
                self._reader.stop()

    def _run_reader(self, stdin: BinaryIO | None, loop: asyncio.AbstractEventLoop) -> None:
        """Read to the end, at most `MAX_QUEUED_PIECES` ahead; runs on the thread."""

        def post(function: Callable[..., Any], *arguments: Any) -> None:
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(function, *arguments)

        def deliver(piece: PipePiece) -> bool:
            self._capacity.acquire()
            post(self._pieces.put_nowait, piece)
            return not self._closed

        end: SourceError | None = None
        try:
            if stdin is None:
                stdin = Path(self._settings.target).open("rb")  # noqa: SIM115 - waits for a writer; closed by the end
            self._reader = PipeReader(stdin, settings=self._settings, clock=self._clock)
            self._reader.run(deliver, lambda: post(self._opened.set))
        except SourceError as error:
            end = error
        except OSError as error:
            end = SourceNotFound(f"cannot read {self._settings.target or NAME!r} ({error.strerror}); check the writer")
        except ValueError:  # the file was closed
            pass
        finally:
            post(self._pieces.put_nowait, end)
            post(self._opened.set)

    async def _next(self, timeout_s: float) -> PipePiece | SourceError | None:
        """Return the next piece. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            piece = await self._pieces.get()
        self._capacity.release()
        return piece

    async def _begin(self) -> list[PipePiece]:
        """Return the first audio, and find out when a live writer recorded it: the pipe had buffered some of it."""
        first = await self._pieces.get()
        self._capacity.release()
        if not isinstance(first, PipePiece):
            if first is not None and not self._stopped:
                raise first
            self._pieces.put_nowait(None)
            return []
        found = [first, *await self._settle(first, most_s=float("inf") if self.live else MAX_BUFFERED_S)]
        delays_s = _delays_s(found, 0, self.format.rate_hz)
        buffered_s = found[-1].arrived_s - delays_s[-1]
        if self.live or (self._pieces.empty() and buffered_s < MAX_BUFFERED_S):
            self.started_s = time.time() - (self._clock() - min(delays_s))
        return found

    async def _read(self, first: list[PipePiece]) -> AsyncGenerator[Block | Interruption]:
        pace, check = (
            WriterPace(),
            PcmCheck(rate_hz=self.format.rate_hz, pcm_format=self._settings.pcm_format, channels=self.format.channels),
        )
        position, longest_s, rate_hz = 0, 0.0, self.format.rate_hz
        is_stalled = False
        held = first
        while True:
            for one in held:
                position += one.lost_frames
                end = position + len(one.samples)
                longest_s = max(longest_s, len(one.samples) / rate_hz)
                pace.mark(one.arrived_s, end / rate_hz, waited_s=one.waited_s)
                if self._is_raw:
                    check.push(one.samples)
                self._warn(check, pace)
                require_finite(one.samples, start_frame=position, rate_hz=rate_hz, name=NAME)
                captured_s = time.monotonic() - (self._clock() - one.arrived_s) if self.live else None
                yield Block(self.id, position, one.samples, captured_s)
                position = end
            held = []
            try:
                piece = await self._next(max(STALL_TIMEOUT_S, 3 * longest_s))
            except TimeoutError:
                if not is_stalled and position and (self.live or pace.keeps_to_the_clock):
                    is_stalled = True
                    yield Interruption(self.id, "stalled", "the writer of the pipe pauses")
                continue
            if not isinstance(piece, PipePiece):
                if piece is not None and not self._stopped:
                    raise piece
                return
            held = [piece]
            if is_stalled:
                is_stalled = False
                held += await self._settle(piece)
                position += round(pace.missing_s(_delays_s(held, position, rate_hz)) * rate_hz)
                pace.restart()
                yield Interruption(self.id, "resumed", "the writer of the pipe goes on")
            elif self.live and (missing_s := pace.missing_s()):
                log.warning("%s: audio arrives late; %.1f s are missing", self.id, missing_s)
                position += round(missing_s * rate_hz)
                pace.restart()

    async def _settle(self, first: PipePiece, *, most_s: float = float("inf")) -> list[PipePiece]:
        """Return what arrives in the `SETTLE_S` after the beginning or the end of a pause, `most_s` of it."""
        found: list[PipePiece] = []
        most_frames = most_s * self.format.rate_hz
        while (left_s := SETTLE_S - (self._clock() - first.arrived_s)) > 0:
            if sum(len(piece.samples) for piece in found) >= most_frames:
                break
            try:
                piece = await self._next(left_s)
            except TimeoutError:
                break
            if not isinstance(piece, PipePiece):
                self._pieces.put_nowait(piece)
                break
            found.append(piece)
        return found

    def _warn(self, check: PcmCheck, pace: WriterPace) -> None:
        """Log what cannot be right."""
        if notice := check.take_notice():
            log.warning("%s: %s %s", self.id, NAME, notice)
        if self._is_raw and (ratio := pace.take_ratio()):
            log.warning(
                "%s: audio arrives %.2g times as fast as %d Hz and %d channel(s) say; check --rate and --pcm-channels",
                self.id,
                ratio,
                self.format.rate_hz,
                self.format.channels,
            )


def _delays_s(pieces: list[PipePiece], position: int, rate_hz: int) -> list[float]:
    """Return how long after media time 0 each piece would have arrived without a gap, less its media time."""
    delays = []
    for piece in pieces:
        position += piece.lost_frames + len(piece.samples)
        delays.append(piece.arrived_s - position / rate_hz)
    return delays
