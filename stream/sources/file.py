"""A recording: WAV, FLAC, OGG or MP3, of any sample rate and channel count, read with libsndfile.

Files are lossless: the reader may take as long as it needs. A file is read in a thread, in blocks of a second, or with
`realtime` in blocks of 32 ms, each delivered at the time of its last sample. A truncated file is processed as far as it
goes, with a warning. A file with less than `MIN_FILE_S` of audio, or with samples that are not finite, is rejected.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path

import soundfile

from stream.audio.pcm import require_finite
from stream.errors import AudioFormatError, SourceNotFound
from stream.settings import SourceSettings
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
        self.id = settings.id or Path(settings.target).stem or "file"
        self.channels = settings.channels
        self.paced = settings.realtime
        self._path = Path(settings.target)
        self._block_frames = block_frames
        self._format: AudioFormat | None = None
        self._stopped = asyncio.Event()

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
        file = await asyncio.to_thread(self._open)
        thread = ThreadPoolExecutor(1, thread_name_prefix=f"tonewatch-{self.id}")
        try:
            async with aclosing(self._read(file, thread)) as blocks:
                yield blocks
        finally:
            thread.submit(file.close)  # after a read that a cancelled run has left behind, which still needs the file
            thread.shutdown(wait=False)

    def _open(self) -> soundfile.SoundFile:
        path = self._path
        if not path.exists():
            raise SourceNotFound(f"no such file {str(path)!r}; name a recording, `microphone`, or `-` for raw PCM")
        if path.is_dir():
            raise SourceNotFound(f"{str(path)!r} is a folder; name a recording in it")
        try:
            file = soundfile.SoundFile(path)
        except soundfile.LibsndfileError as error:
            why = error.error_string.strip().rstrip(".")
            raise AudioFormatError(f"cannot read audio from {str(path)!r} ({why}); use WAV, FLAC, OGG or MP3") from None
        if file.frames < MIN_FILE_S * file.samplerate:
            length_ms = 1000 * file.frames / file.samplerate
            file.close()
            raise AudioFormatError(
                f"{str(path)!r} contains {length_ms:.0f} ms of audio; at least {1000 * MIN_FILE_S:.0f} ms needed"
            )
        if "should be" in file.extra_info:
            log.warning("%s is truncated; processing what it contains", path)
        self._format = AudioFormat(rate_hz=file.samplerate, channels=file.channels)
        return file

    async def _read(self, file: soundfile.SoundFile, thread: ThreadPoolExecutor) -> AsyncGenerator[Block]:
        loop = asyncio.get_running_loop()
        frames = self._block_frames or round(file.samplerate * (REALTIME_BLOCK_S if self.paced else 1.0))
        read = partial(file.read, frames, dtype="float32", always_2d=True)
        start_s, position = loop.time(), 0
        while not self._stopped.is_set():
            try:
                samples = await loop.run_in_executor(thread, read)
            except soundfile.LibsndfileError as error:
                at_s = position / file.samplerate
                raise AudioFormatError(
                    f"{str(self._path)!r} is damaged after {at_s:.1f} s ({error.error_string}); repair or replace it"
                ) from None
            if not len(samples):
                return
            require_finite(samples, start_frame=position, rate_hz=file.samplerate, name=str(self._path))
            end = position + len(samples)
            if self.paced and await self._stops_before(start_s + end / file.samplerate):
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
