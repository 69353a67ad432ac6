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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from stream.audio.pcm import RAW_SAMPLE_BYTES, decode, require_finite
from stream.audio.pcm_check import PcmCheck
from stream.clock import steady_s
from stream.errors import AudioFormatError, SourceError, SourceNotFound
from stream.settings import SourceSettings
from stream.sources.decoder_process import ProcessDecoder
from stream.sources.decoding import require_rate
from stream.sources.pace import SETTLE_S, WriterPace
from stream.sources.sniffing import is_container, is_undecided, wav_format
from stream.types import AudioFormat, Block, Interruption, Samples

MAX_READ_S = 1.0
"""Maximum audio per read; smaller chunks of a live writer are passed on immediately."""

MAX_QUEUED_PIECES = 2
"""Maximum number of pieces that are read but not processed yet."""

STALL_TIMEOUT_S = 1.0
"""Pause of a live writer that is reported, if its chunks are not longer than a third of it."""

NAME = "standard input"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Samples (frames, channels) as they arrived; the reader waited for them for `waited_s`."""

    samples: Samples = field(repr=False)
    arrived_s: float
    waited_s: float
    lost_frames: int = 0


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
        self._format: AudioFormat | None = None
        self._opened: asyncio.Event = asyncio.Event()
        self._pieces: asyncio.Queue[_Piece | SourceError | None] = asyncio.Queue()
        self._capacity = threading.Semaphore(MAX_QUEUED_PIECES)
        self._decoder: ProcessDecoder | None = None
        self._stopped = self._closed = False

    @property
    def format(self) -> AudioFormat:
        """Sample rate and channel count: those of the settings until a header says otherwise."""
        return self._format or AudioFormat(rate_hz=self._settings.rate_hz, channels=self._settings.pcm_channels)

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
            async with aclosing(self._read()) as blocks:
                yield blocks
        finally:
            self._closed = True
            self._capacity.release()  # the thread may wait for it
            if self._decoder is not None:
                self._decoder.stop()

    def _run_reader(self, stdin: BinaryIO | None, loop: asyncio.AbstractEventLoop) -> None:
        """Read to the end, at most `MAX_QUEUED_PIECES` ahead; runs on the thread."""

        def post(function: Callable[..., Any], *arguments: Any) -> None:
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(function, *arguments)

        def deliver(piece: _Piece) -> bool:
            self._capacity.acquire()
            post(self._pieces.put_nowait, piece)
            return not self._closed

        end: SourceError | None = None
        try:
            if stdin is None:
                stdin = Path(self._settings.target).open("rb")  # noqa: SIM115 - waits for a writer; closed by the end
            _Reader(stdin, self).run(deliver, lambda: post(self._opened.set))
        except SourceError as error:
            end = error
        except OSError as error:
            end = SourceNotFound(f"cannot read {self._settings.target or NAME!r} ({error.strerror}); check the writer")
        except ValueError:  # the file was closed
            pass
        finally:
            post(self._pieces.put_nowait, end)
            post(self._opened.set)

    async def _next(self, timeout_s: float) -> _Piece | SourceError | None:
        """Return the next piece. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            piece = await self._pieces.get()
        self._capacity.release()
        return piece

    async def _read(self) -> AsyncGenerator[Block | Interruption]:
        pace, check = (
            WriterPace(),
            PcmCheck(rate_hz=self.format.rate_hz, pcm_format=self._settings.pcm_format, channels=self.format.channels),
        )
        position, longest_s, rate_hz = 0, 0.0, self.format.rate_hz
        is_stalled = False
        while True:
            try:
                piece = await self._next(max(STALL_TIMEOUT_S, 3 * longest_s))
            except TimeoutError:
                if not is_stalled and position and (self.live or pace.keeps_to_the_clock):
                    is_stalled = True
                    yield Interruption(self.id, "stalled", "the writer of the pipe pauses")
                continue
            if not isinstance(piece, _Piece):
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
            for one in held:
                position += one.lost_frames
                end = position + len(one.samples)
                longest_s = max(longest_s, len(one.samples) / rate_hz)
                pace.mark(one.arrived_s, end / rate_hz, waited_s=one.waited_s)
                if self._format is None:
                    check.push(one.samples)
                self._warn(check, pace)
                require_finite(one.samples, start_frame=position, rate_hz=rate_hz, name=NAME)
                captured_s = time.monotonic() - (self._clock() - one.arrived_s) if self.live else None
                yield Block(self.id, position, one.samples, captured_s)
                position = end

    async def _settle(self, first: _Piece) -> list[_Piece]:
        """Return what arrives in the `SETTLE_S` after the end of a pause."""
        found: list[_Piece] = []
        while (left_s := SETTLE_S - (self._clock() - first.arrived_s)) > 0:
            try:
                piece = await self._next(left_s)
            except TimeoutError:
                break
            if not isinstance(piece, _Piece):
                self._pieces.put_nowait(piece)
                break
            found.append(piece)
        return found

    def _warn(self, check: PcmCheck, pace: WriterPace) -> None:
        """Log what cannot be right."""
        if notice := check.take_notice():
            log.warning("%s: %s %s", self.id, NAME, notice)
        if self._format is None and (ratio := pace.take_ratio()):
            log.warning(
                "%s: audio arrives %.2g times as fast as %d Hz and %d channel(s) say; check --rate and --pcm-channels",
                self.id,
                ratio,
                self.format.rate_hz,
                self.format.channels,
            )


def _delays_s(pieces: list[_Piece], position: int, rate_hz: int) -> list[float]:
    """Return how long after media time 0 each piece would have arrived without a gap, less its media time."""
    delays = []
    for piece in pieces:
        position += piece.lost_frames + len(piece.samples)
        delays.append(piece.arrived_s - position / rate_hz)
    return delays


class _Reader:
    """Reads one pipe on its thread."""

    def __init__(self, stdin: BinaryIO, source: PipeSource) -> None:
        # unbuffered: a buffered reader holds a lock while it waits, which would break the exit
        unbuffered = getattr(stdin, "raw", stdin)
        self._read: Callable[[int], bytes] = getattr(unbuffered, "read1", unbuffered.read)
        self._source = source
        self._waited_s = 0.0

    def run(self, deliver: Callable[[_Piece], bool], opened: Callable[[], None]) -> None:
        """Read to the end. `deliver` takes a piece and returns whether more is wanted. Raises `AudioFormatError`."""
        source, head, chunk = self._source, b"", b""
        while is_undecided(head) and (chunk := self._chunk(4_096)):
            head += chunk
        settings = source._settings  # noqa: SLF001 - one class in two halves, one for each thread
        if wav := wav_format(head):
            require_rate(wav.rate_hz, NAME)
            source._format = AudioFormat(wav.rate_hz, wav.channels)  # noqa: SLF001
            opened()
            self._read_pcm(head[wav.start :], wav.pcm_format, wav.channels, deliver, limit=wav.size)
        elif is_container(head):
            source._decoder = decoder = ProcessDecoder("-", name=NAME)  # noqa: SLF001
            threading.Thread(target=self._feed, args=(decoder, head), name="tonewatch-pipe-feed", daemon=True).start()
            source._format = decoder.format  # noqa: SLF001
            opened()
            self._read_decoded(decoder, deliver)
        else:
            opened()
            self._read_pcm(head, settings.pcm_format, settings.pcm_channels, deliver)

    def _chunk(self, max_bytes: int) -> bytes:
        """Read once, and note for how long that took."""
        start_s = self._source._clock()  # noqa: SLF001
        chunk = self._read(max_bytes)
        self._waited_s = self._source._clock() - start_s  # noqa: SLF001
        return chunk

    def _read_pcm(
        self, data: bytes, pcm_format: str, channels: int, deliver: Callable[[_Piece], bool], limit: int | None = None
    ) -> None:
        """Deliver raw samples that begin with `data`, `limit` bytes of them at most."""
        frame_bytes = RAW_SAMPLE_BYTES[pcm_format] * channels
        max_bytes = round(MAX_READ_S * self._source.format.rate_hz) * frame_bytes
        left, any_frame = limit if limit is not None else sys.maxsize, False
        chunk = data
        data = b""
        while chunk or not any_frame:
            data += chunk[:left]
            left -= min(left, len(chunk))
            whole = len(data) - len(data) % frame_bytes
            if whole:
                any_frame = True
                samples = decode(data[:whole], pcm_format=pcm_format, channels=channels)
                if not deliver(_Piece(samples, self._source._clock(), self._waited_s)):  # noqa: SLF001
                    return
                data = data[whole:]
            chunk = self._chunk(max_bytes)
            if not chunk:
                break
        if data:
            log.warning("%s ended within a frame; %d byte(s) dropped", NAME, len(data))
        if not any_frame and not data:
            raise AudioFormatError(f"no audio on {NAME}; check the writing program")
        if not any_frame:
            raise AudioFormatError(
                f"less than a frame ({frame_bytes} bytes) on {NAME}; check --pcm-format, --pcm-channels"
            )

    def _read_decoded(self, decoder: ProcessDecoder, deliver: Callable[[_Piece], bool]) -> None:
        """Deliver what the decoder makes of the pipe."""
        clock = self._source._clock  # noqa: SLF001
        try:
            while True:
                start_s = clock()
                if (piece := decoder.read(0)) is None:
                    break
                if not deliver(_Piece(piece.samples, clock(), clock() - start_s, piece.lost_frames)):
                    return
            if decoder.truncated:
                log.warning("%s is truncated; what it contains was processed", NAME)
        except AudioFormatError:
            if not self._source._closed:  # noqa: SLF001 - ended by us
                raise
        finally:
            decoder.close()

    def _feed(self, decoder: ProcessDecoder, head: bytes) -> None:
        """Pass the pipe on to the decoder; runs on a thread of its own."""
        feed = decoder.feed
        if feed is None:
            return
        with suppress(OSError, ValueError):  # the decoder has ended
            feed.write(head)
            feed.flush()
            while chunk := self._read(1 << 16):
                feed.write(chunk)
                feed.flush()
        with suppress(OSError, ValueError):
            feed.close()
