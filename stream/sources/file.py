"""A recording: WAV, FLAC, OGG or MP3, of any rate and channel count, by libsndfile.

A file is lossless: whoever reads it is waited for. It is read in a thread, in blocks of a second, or with `realtime` in
blocks of 32 ms, each given when its last sample would have been heard. A file that was cut short is heard as far as it
goes, with a warning; one that holds no sound, less than `LEAST_S`, or samples that are not numbers is refused.
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

from stream.audio.pcm import checked
from stream.errors import AudioFormatError, SourceNotFound
from stream.settings import SourceSettings
from stream.types import AudioFormat, Block

LEAST_S = 0.1
"""A shorter file holds nothing a model could judge."""

PACED_S = 0.032
"""A block of a file in real time, like a microphone's."""

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
        """Rate and channels, once opened."""
        if self._format is None:
            raise RuntimeError("a source has a format only while it is open")
        return self._format

    def stop(self) -> None:
        """End as if the file had ended."""
        self._stopped.set()

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[AsyncIterator[Block]]:
        """Open the file and give its blocks. Raises `SourceNotFound` or `AudioFormatError`."""
        file = await asyncio.to_thread(self._open)
        thread = ThreadPoolExecutor(1, thread_name_prefix=f"tonewatch-{self.id}")
        try:
            async with aclosing(self._read(file, thread)) as blocks:
                yield blocks
        finally:
            thread.submit(file.close)  # behind a read that a cancelled run has left going: it must not lose its file
            thread.shutdown(wait=False)

    def _open(self) -> soundfile.SoundFile:
        path = self._path
        if not path.exists():
            raise SourceNotFound(f"there is no file {path}; name a recording, `microphone`, or `-` for raw PCM")
        if path.is_dir():
            raise SourceNotFound(f"{path} is a folder; name a recording in it")
        try:
            file = soundfile.SoundFile(path)
        except soundfile.LibsndfileError as error:
            raise AudioFormatError(
                f"{path} cannot be read as sound ({error.error_string.strip().rstrip('.')}); WAV, FLAC, OGG and MP3 can"
            ) from None
        if file.frames < LEAST_S * file.samplerate:
            held_ms = 1000 * file.frames / file.samplerate
            file.close()
            raise AudioFormatError(
                f"{path} holds {held_ms:.0f} ms of sound; at least {1000 * LEAST_S:.0f} ms are needed"
            )
        if "should be" in file.extra_info:
            log.warning("%s was cut short: it promises more sound than it holds; what is there is heard", path)
        self._format = AudioFormat(rate_hz=file.samplerate, channels=file.channels)
        return file

    async def _read(self, file: soundfile.SoundFile, thread: ThreadPoolExecutor) -> AsyncGenerator[Block]:
        loop = asyncio.get_running_loop()
        frames = self._block_frames or round(file.samplerate * (PACED_S if self.paced else 1.0))
        read = partial(file.read, frames, dtype="float32", always_2d=True)
        began_s, position = loop.time(), 0
        while not self._stopped.is_set():
            try:
                samples = await loop.run_in_executor(thread, read)
            except soundfile.LibsndfileError as error:
                at_s = position / file.samplerate
                raise AudioFormatError(f"{self._path} is damaged after {at_s:.1f} s ({error.error_string})") from None
            if not len(samples):
                return
            checked(samples, start_frame=position, rate_hz=file.samplerate, name=str(self._path))
            end = position + len(samples)
            if self.paced and await self._stops_before(began_s + end / file.samplerate):
                return
            yield Block(self.id, position, samples)
            position = end

    async def _stops_before(self, moment_s: float) -> bool:
        """Wait for a moment of the loop's clock; True if the source is stopped first."""
        try:
            async with asyncio.timeout_at(moment_s):
                await self._stopped.wait()
        except TimeoutError:
            return False
        return True
