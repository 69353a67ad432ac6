"""A recording: whatever libsndfile or FFmpeg reads, of any sample rate and channel count (`decoding`).

Files are lossless: the reader may take as long as it needs. A file is read in a thread, in blocks of a second, or with
`realtime` in blocks of 32 ms, each delivered at the time of its last sample. Damage in the middle is a gap; a truncated
file is processed as far as it goes; both with a warning. A file with less than `MIN_FILE_S` of audio, or with samples
that are not finite, is rejected.
"""

from __future__ import annotations

import asyncio
import logging
import stat
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import numpy as np
import soundfile

from stream.audio.pcm import require_finite
from stream.errors import AudioFormatError, SourceNotFound
from stream.events.text import printable
from stream.settings import SourceSettings
from stream.sources.decoder_process import PROBE_BYTES, ProcessDecoder
from stream.sources.decoding import Decoder, Piece, SoundfileDecoder
from stream.sources.mpeg import is_mpeg
from stream.types import AudioFormat, Block

MIN_FILE_S = 0.1
"""Minimum length of a file; a shorter one has nothing for a model to score."""

REALTIME_BLOCK_S = 0.032
"""Block length in real time, as from a microphone."""

log = logging.getLogger(__name__)


class FileSource:
    """One recording."""

    live = False

    def __init__(self, *, settings: SourceSettings, block_frames: int | None = None) -> None:
        self._path = Path(settings.target)
        self._name = _printable(settings.target)
        self.id = settings.id or _printable(self._path.stem) or "file"
        self.channels = settings.channels
        self.paced = settings.realtime
        self._block_frames = block_frames
        self._format: AudioFormat | None = None
        self._stopped = asyncio.Event()
        self._opening = threading.Lock()
        self._opened: Decoder | None = None  # by the thread, once it has read the first audio
        self._is_abandoned = False  # the run was cancelled while the thread opened the file

    @property
    def format(self) -> AudioFormat:
        """Sample rate and channel count, once opened."""
        if self._format is None:
            raise RuntimeError("a source has a format only while it is open")
        return self._format

    def stop(self) -> None:
        """Stop reading, as at the end of the file."""
        self._stopped.set()

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[AsyncIterator[Block]]:
        """Open the file and yield an iterator over its blocks. Raises `SourceNotFound` or `AudioFormatError`."""
        try:
            decoder, first = await asyncio.to_thread(self._open)
        except asyncio.CancelledError:  # the thread goes on: a decoder that is closed under it would crash the process
            with self._opening:
                self._is_abandoned = True
                if self._opened is not None:
                    self._opened.close()
            raise
        thread = ThreadPoolExecutor(1, thread_name_prefix=f"tonewatch-{self.id}")
        try:
            async with aclosing(self._read(decoder, first, thread)) as blocks:
                yield blocks
        finally:
            decoder.stop()
            thread.submit(
                decoder.close
            )  # after a read that a cancelled run has left behind, which still needs the file
            thread.shutdown(wait=False)

    def _open(self) -> tuple[Decoder, list[Piece]]:
        """Open the file; return its decoder and its first audio."""
        path = self._path
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError):
            raise SourceNotFound(
                f"no such file {self._name!r}; name a recording, `microphone`, or `-` for standard input"
            ) from None
        if stat.S_ISDIR(mode):
            raise SourceNotFound(f"{self._name!r} is a folder; name a recording in it")
        if not stat.S_ISREG(mode):
            raise SourceNotFound(f"{self._name!r} is not a regular file; read it with `tonewatch run - < FILE`")
        decoder = self._decoder()
        try:
            self._format = decoder.format
            first = self._first_pieces(decoder)
        except BaseException:
            decoder.close()
            raise
        with self._opening:
            self._opened = decoder
            if self._is_abandoned:
                decoder.close()
        return decoder, first

    def _first_pieces(self, decoder: Decoder) -> list[Piece]:
        """Return the first audio, at least `MIN_FILE_S`. Raises `AudioFormatError` if there is less."""
        found, frames, rate_hz = list[Piece](), 0, decoder.format.rate_hz
        while frames < MIN_FILE_S * rate_hz:
            if (piece := decoder.read(self._frames())) is None:
                raise AudioFormatError(
                    f"{self._name!r} contains {1000 * frames / rate_hz:.0f} ms of audio; at least "
                    f"{1000 * MIN_FILE_S:.0f} ms needed"
                )
            found.append(piece)
            frames += len(piece.samples)
        return found

    def _decoder(self) -> Decoder:
        """Return a decoder for the file. Raises `AudioFormatError` or `SourceNotFound`."""
        try:
            file = self._path.open("rb")
        except OSError as error:
            raise SourceNotFound(f"cannot open {self._name!r} ({error.strerror}); check its permissions") from None
        try:
            head = file.read(PROBE_BYTES)
            if head and not is_mpeg(head):
                return SoundfileDecoder(file, name=self._name)
        except soundfile.LibsndfileError:
            pass  # perhaps FFmpeg reads it
        except OSError as error:
            file.close()
            raise AudioFormatError(f"cannot read {self._name!r} ({error.strerror}); copy it elsewhere") from None
        except BaseException:
            file.close()
            raise
        file.close()
        if not head:
            raise AudioFormatError(f"{self._name!r} is empty; record it again")
        return ProcessDecoder(str(self._path), name=self._name)

    def _frames(self) -> int:
        """Return the length of a block."""
        return self._block_frames or round(self.format.rate_hz * (REALTIME_BLOCK_S if self.paced else 1.0))

    async def _read(self, decoder: Decoder, first: list[Piece], thread: ThreadPoolExecutor) -> AsyncGenerator[Block]:
        loop = asyncio.get_running_loop()
        frames, rate_hz = self._frames(), decoder.format.rate_hz
        start_s, position = loop.time(), 0
        while not self._stopped.is_set():
            piece = first.pop(0) if first else await loop.run_in_executor(thread, decoder.read, frames)
            if piece is None:
                if decoder.truncated:
                    log.warning("%s is truncated; what it contains was processed", self._name)
                return
            if piece.lost_frames:
                lost_s, at_s = piece.lost_frames / rate_hz, position / rate_hz
                log.warning("%s is damaged at %.1f s; %.2f s are lost", self._name, at_s, lost_s)
                position += piece.lost_frames
            require_finite(piece.samples, start_frame=position, rate_hz=rate_hz, name=self._name)
            for samples in np.split(piece.samples, range(frames, len(piece.samples), frames)):
                end = position + len(samples)
                if self._stopped.is_set() or (self.paced and await self._stops_before(start_s + end / rate_hz)):
                    return
                yield Block(self.id, position, samples)
                position = end

    async def _stops_before(self, moment_s: float) -> bool:
        """Wait until `moment_s` on the loop's clock; returns True if the source is stopped earlier."""
        try:
            async with asyncio.timeout_at(moment_s):
                await self._stopped.wait()
        except TimeoutError:
            return False
        return True


def _printable(name: str) -> str:
    """Return a file name as it can be shown, also one that is not UTF-8."""
    return printable(name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
