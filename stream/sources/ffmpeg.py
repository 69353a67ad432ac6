"""Decoding with FFmpeg, by PyAV (extra `network`): M4A, AAC, WebM, WMA, video containers and what else it reads.

Only the first audio stream is decoded. A container may name other files or addresses; none is opened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from stream.errors import AudioFormatError
from stream.sources.decoding import Piece, require_rate
from stream.types import AudioFormat, Samples

MAX_JITTER_S = 0.05
"""Differences of time stamps up to this are rounding; longer ones are lost audio."""

MAX_DELAY_S = 0.25
"""Time stamp of the first frame up to which an encoder was late; a later one is lost audio."""

MEASURED_FORMATS = frozenset({"matroska", "webm", "asf", "flv"})
"""Containers whose own header gives the duration; that of others is guessed from the size."""

MICROSECONDS = 1_000_000

MIN_TRUNCATED_S = 1.0
"""Missing audio at the end from which a recording counts as truncated: durations in headers are rounded."""


def is_available() -> bool:
    """Return whether PyAV is installed."""
    try:
        import av  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True


class FfmpegDecoder:
    """Decodes the first audio stream of a file, which need not be seekable. Raises `AudioFormatError`."""

    def __init__(self, file: BinaryIO, *, name: str) -> None:
        try:
            import av  # noqa: PLC0415 - an extra
        except ImportError:
            raise AudioFormatError(
                f"cannot read audio from {name!r}; for M4A, AAC, WebM, WMA or video install `tonewatch[network]`, or "
                "pipe it: `ffmpeg -i FILE -f wav - | tonewatch run -`"
            ) from None
        self._error: type[Exception] = av.error.FFmpegError
        self._name = name
        self.truncated = False
        try:
            self._container = av.open(file, mode="r", options={"protocol_whitelist": "none"}, metadata_errors="ignore")
            if not self._container.streams.audio:
                raise AudioFormatError(f"there is no audio in {name!r}; name another recording")
            stream = self._container.streams.audio[0]
            if stream.codec_context is None:
                raise AudioFormatError(f"cannot read audio from {name!r} (unknown codec); convert it to WAV or FLAC")
            stream.codec_context.open(strict=False)
        except self._error as error:
            why = str(getattr(error, "strerror", "") or error).lower()
            raise AudioFormatError(f"cannot read audio from {name!r} ({why}); convert it to WAV or FLAC") from None
        self._stream, self._origin_s = stream, float((stream.start_time or 0) * (stream.time_base or 0))
        require_rate(stream.rate, name)
        self.format = AudioFormat(rate_hz=stream.rate, channels=stream.channels)
        self._resampler = av.AudioResampler(format="flt", layout=stream.layout, rate=stream.rate)
        self._pieces = self._decode()
        self._buffer: deque[Piece] = deque()
        self._frame = 0

    def read(self, frames: int) -> Piece | None:
        """Return about `frames` frames, None at the end."""
        parts: list[Samples] = []
        lost = 0
        while sum(map(len, parts)) < frames:
            piece = self._buffer.popleft() if self._buffer else next(self._pieces, None)
            if piece is None:
                break
            if piece.lost_frames and parts:
                self._buffer.append(piece)
                break
            lost += piece.lost_frames
            parts.append(piece.samples)
        return Piece(np.concatenate(parts), lost) if parts else None

    def stop(self) -> None:
        """Do nothing: a read ends by itself."""

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _decode(self) -> Iterator[Piece]:
        for frame in self._frames():
            lost = 0
            if frame.pts is not None and frame.time_base is not None:
                time_s = float(frame.pts * frame.time_base)
                if not self._frame and 0 < time_s - self._origin_s <= MAX_DELAY_S:
                    self._origin_s = time_s
                ahead = round((time_s - self._origin_s) * self.format.rate_hz) - self._frame
                lost = ahead if ahead > MAX_JITTER_S * self.format.rate_hz else 0
            frame.pts = None  # the resampler would fill gaps
            for out in self._resampler.resample(frame):
                samples = np.ascontiguousarray(out.to_ndarray().reshape(-1, self.format.channels), np.float32)
                self._frame += lost + len(samples)
                yield Piece(samples, lost)
                lost = 0
        duration, time_base = self._stream.duration, self._stream.time_base
        announced_s = float(duration * time_base) if duration and time_base else 0.0
        if not duration and MEASURED_FORMATS & set(self._container.format.name.split(",")):
            announced_s = (self._container.duration or 0) / MICROSECONDS
        self.truncated |= announced_s - self._frame / self.format.rate_hz > MIN_TRUNCATED_S

    def _frames(self) -> Iterator[Any]:
        """Yield the frames that can be decoded."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except self._error:
                self.truncated = True
                return
            if packet is None:
                return
            try:
                yield from packet.decode()
            except self._error:
                continue  # damaged: the next frame's time stamp tells how much is lost
