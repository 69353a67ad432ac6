"""Decoding of recordings: one interface, whatever the container and the codec.

A decoder yields `Piece`s: samples, and the frames lost before them where the recording is damaged. WAV, FLAC, Ogg and
what else libsndfile reads are decoded here; MPEG audio and everything that needs FFmpeg in a process of its own
(`decoder_process`), so that a decoder's messages and crashes stay there.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

import numpy as np
import soundfile
import soxr

from stream.errors import AudioFormatError
from stream.sources.containers import ByteReader, Container, Run, parse
from stream.types import AudioFormat, Samples

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000
"""Sample rates that a recording can have; others are a damaged header."""

PROBE_FRAMES = 1_024
"""Step at which the end of damage is searched for …"""

MAX_PROBES = 256
"""… growing after half of these."""

OPUS_RATE_HZ = 48_000


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples (n, channels), and the number of frames that are missing before them."""

    samples: Samples = field(repr=False)
    lost_frames: int = 0


class Decoder(Protocol):
    """A recording that is being decoded. `truncated` is known at the end."""

    truncated: bool

    @property
    def format(self) -> AudioFormat:
        """Sample rate and channel count."""

    def read(self, frames: int) -> Piece | None:
        """Return up to `frames` frames, None at the end. Raises `AudioFormatError`."""

    def stop(self) -> None:
        """End a read that is waiting, from another thread."""

    def close(self) -> None:
        """Release the file."""


class NoAudio(AudioFormatError):
    """The parser finds no audio; another one may."""


class _Part(io.RawIOBase):
    """The bytes of one run as a file."""

    def __init__(self, reader: ByteReader, parts: Sequence[bytes | tuple[int, int]]) -> None:
        self._reader = reader
        self._parts = [(part, len(part) if isinstance(part, bytes) else part[1] - part[0]) for part in parts]
        self._size = sum(length for _, length in self._parts)
        self._ends = np.cumsum([length for _, length in self._parts])
        self._place = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, min(self._size, base + offset))
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` as far as the bytes go."""
        done, wanted = 0, min(len(buffer), self._size - self._place)
        while done < wanted:
            number = int(np.searchsorted(self._ends, self._place, side="right"))
            part, length = self._parts[number]
            offset = self._place - (int(self._ends[number]) - length)
            take = min(wanted - done, length - offset)
            data = part[offset : offset + take] if isinstance(part, bytes) else self._reader.get(part[0] + offset, take)
            if len(data) < take:
                break  # the file became shorter
            buffer[done : done + take] = data
            done += take
            self._place += take
        return done


class RunReader:
    """Reads one run with libsndfile, and goes on behind damage that libsndfile stops at."""

    def __init__(self, reader: ByteReader, run: Run) -> None:
        self._reader, self._run = reader, run
        self._file = soundfile.SoundFile(_Part(reader, run.parts))
        self._position = 0
        self._met_damage = False  # then libsndfile goes on elsewhere than at `_position`
        self.format = AudioFormat(rate_hz=self._file.samplerate, channels=self._file.channels)
        self.frames: int = self._file.frames
        self.announces_more = "should be" in self._file.extra_info
        self.truncated = False

    @property
    def start_frame(self) -> int | None:
        """The frame at which the run starts, counted from the start of its link, if an end is given."""
        if self._run.end_frame is None:
            return None
        if self._file.subtype != "OPUS":
            return self._run.end_frame - self.frames
        first = self._run.parts[0]
        header = first if isinstance(first, bytes) else self._reader.get(first[0], 64)
        place = header.find(b"OpusHead")
        end = (self._run.end_frame - int.from_bytes(header[place + 10 : place + 12], "little")) * self.format.rate_hz
        return end // OPUS_RATE_HZ - self.frames

    def read(self, frames: int) -> Piece | None:
        """Return up to `frames` frames, None at the end."""
        frames = min(frames, self.frames - self._position)
        if frames <= 0:
            return None
        try:
            if self._met_damage:
                self._reopen(self._position)
            samples = self._read(frames)
        except soundfile.LibsndfileError:
            return self._read_around_damage(frames)
        if not len(samples):
            self.truncated = not self._file.subtype.startswith("MPEG")  # whose headers need not give the length
            return None
        return self._advanced(samples)

    def close(self) -> None:
        """Close the run."""
        self._file.close()

    def _read(self, frames: int) -> Samples:
        samples: Samples = self._file.read(frames, dtype="float32", always_2d=True)
        return samples

    def _advanced(self, samples: Samples, *, lost_frames: int = 0) -> Piece:
        self._position += lost_frames + len(samples)
        return Piece(samples, lost_frames)

    def _read_around_damage(self, frames: int) -> Piece | None:
        """Return what is left before the damage, or the first audio behind it; None if there is none."""
        whole: list[Samples] = []
        try:
            self._reopen(self._position)
            while sum(map(len, whole)) < frames and len(part := self._read(PROBE_FRAMES)):
                whole.append(part)
        except soundfile.LibsndfileError:
            self._met_damage = True
        if whole:
            return self._advanced(np.concatenate(whole))
        step, lost = PROBE_FRAMES, PROBE_FRAMES
        for number in range(MAX_PROBES):
            if self._position + lost >= self.frames:
                break
            try:
                self._reopen(self._position + lost)
                if len(samples := self._read(PROBE_FRAMES)):
                    return self._advanced(samples, lost_frames=lost)
            except soundfile.LibsndfileError:
                pass
            step += step // 16 if number > MAX_PROBES // 2 else 0
            lost += step
        self.truncated = True
        return None

    def _reopen(self, position: int) -> None:
        """Start afresh at a frame: a decoder that met damage is not usable any more."""
        self._file.close()
        self._file = soundfile.SoundFile(_Part(self._reader, self._run.parts))
        self._file.seek(position)
        self._met_damage = False


class SoundfileDecoder:
    """Decodes the runs of a container one after the other. Raises `NoAudio`, or `LibsndfileError`."""

    def __init__(self, file: BinaryIO, *, name: str, parser: Callable[[ByteReader], Container] = parse) -> None:
        self._reader, self._name, self._file = ByteReader(file), name, file
        container = parser(self._reader)
        if container.rate_hz is not None:
            require_rate(container.rate_hz, name)
        self.truncated = container.truncated
        self._runs = list(container.runs)
        self._link = self._runs[0].link if self._runs else 0
        self._position = 0  # within the link
        self._pending_lost = 0  # to be reported with the next samples
        self._current: RunReader | None = None
        self._open_next()
        if self._current is None:
            raise NoAudio(f"there is no audio in {name!r}; name another recording")
        self.format: AudioFormat = self._current.format
        require_rate(self.format.rate_hz, name)

    def read(self, frames: int) -> Piece | None:
        """Return up to `frames` frames of any run, None at the end."""
        while self._current is not None:
            piece = self._current.read(frames)
            if piece is not None:
                self._position += piece.lost_frames + len(piece.samples)
                return self._converted(piece)
            self.truncated |= self._current.truncated or self._current.announces_more
            self._current.close()
            self._open_next()
        return None

    def stop(self) -> None:
        """Do nothing: a read ends by itself."""

    def close(self) -> None:
        """Close the file."""
        if self._current is not None:
            self._current.close()
        self._file.close()

    def _open_next(self) -> None:
        """Open the next run that can be decoded; what is missing before it is reported with its first samples."""
        self._current = None
        error: Exception | None = None
        while self._runs and self._current is None:
            run = self._runs.pop(0)
            try:
                self._current = RunReader(self._reader, run)
            except soundfile.LibsndfileError as failure:
                error = failure
                continue
            if run.link != self._link:
                self._link, self._position = run.link, 0
            start = self._current.start_frame
            lost = run.lost_frames if start is None else max(0, start - self._position)
            self._pending_lost = lost
            self._position += lost
        if error is not None and self._current is None and not hasattr(self, "format"):
            raise error

    def _converted(self, piece: Piece) -> Piece:
        """Return a piece in the format of the first run, with what was lost before its run."""
        assert self._current is not None  # noqa: S101 - called with the run's own pieces
        lost, samples, given = piece.lost_frames + self._pending_lost, piece.samples, self._current.format
        self._pending_lost = 0
        if given.channels != self.format.channels:
            samples = np.repeat(samples.mean(axis=1, keepdims=True), self.format.channels, axis=1)
        if given.rate_hz != self.format.rate_hz:
            samples = np.asarray(soxr.resample(samples, given.rate_hz, self.format.rate_hz), np.float32)
        return Piece(samples, lost)


def require_rate(rate_hz: int, name: str) -> None:
    """Check a header's sample rate. Raises `AudioFormatError`."""
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioFormatError(
            f"{name!r} claims a sample rate of {rate_hz} Hz; its header is damaged, record it again or repair it"
        )
