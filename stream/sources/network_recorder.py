"""The program that plays one network stream in a process of its own; `capture_process` starts it.

It speaks to its owner as `recorder` does: a line of JSON, then blocks. Only the first audio stream is decoded. FFmpeg
may use the protocols of the address's scheme and no other, verifies certificates, and follows a few redirections.

A connection that ends is lost (exit code 0): the owner starts another process. A recording, whose length its server
tells, is played in real time and then finished (`FINISHED`).
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import numpy as np

from stream.clock import steady_s
from stream.errors import AudioFormatError, DeviceLost, SourceError, SourceNotFound
from stream.sources.network_request import PROTOCOLS, NetworkRequest
from stream.sources.recorder import (
    FINISHED,
    MAX_CHANNELS,
    REQUEST_VARIABLE,
    CaptureBlock,
    run_recorder,
    write_block,
    write_line,
)
from stream.types import AudioFormat

MAX_REDIRECTS = 4
MAX_RATE_HZ = 384_000

MAX_JITTER_S = 0.05
"""Differences of time stamps up to this are rounding; longer ones are lost audio."""

MAX_GAP_S = 60.0
"""A longer jump of time stamps is a new count, not a gap."""

MAX_BLOCK_S = 1.0
"""Longest frame of audio that a codec may have."""


def record(request: NetworkRequest, out: BinaryIO, closing: threading.Event) -> bool:
    """Play the stream to its end or until `closing`; returns whether it was a recording that is complete.

    Raises `SourceError` if it cannot be opened, `OSError` if `out` has no reader.
    """
    av = _load_av()
    try:
        container = av.open(
            request.target,
            mode="r",
            timeout=(request.connect_timeout_s, request.read_timeout_s),
            options=_options(request),
            metadata_errors="ignore",
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _open_error(request.shown, error) from None
    with container:
        stream = next(iter(container.streams.audio), None)
        rate_hz = getattr(stream, "rate", None) or 0  # none of a codec that FFmpeg does not know
        if not 0 < rate_hz <= MAX_RATE_HZ:
            raise AudioFormatError(f"{request.shown!r} has no audio; give another address")
        is_recording = _is_recording(container)
        player = _Player(av, container, stream, request)
        write_line(out, opened=asdict(player.format))
        started_s = steady_s()
        for start_frame, samples in player.pieces():
            end_s = (start_frame + len(samples)) / player.format.rate_hz
            if is_recording and (early_s := end_s - (steady_s() - started_s)) > 0:
                time.sleep(early_s)
            if closing.is_set():
                return False
            write_block(out, CaptureBlock(start_frame, samples, 0, steady_s()))
        return is_recording and not player.failed


class _Player:
    """Decodes the audio of an open container, in the format of its first opening."""

    def __init__(self, av: Any, container: Any, stream: Any, request: NetworkRequest) -> None:
        self._av, self._container, self._stream = av, container, stream
        channels = min(stream.channels, MAX_CHANNELS.get(request.channels, 8))
        self.format = request.format or AudioFormat(rate_hz=stream.rate, channels=channels)
        self._resampler: Any = None
        self._frame_format: tuple[str, str, int] | None = None  # for which the resampler is made
        self.failed = False

    def pieces(self) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
        """Yield start frames and samples (frames, channels), until the connection ends."""
        next_frame, expected_s = 0, None
        for frame in self._frames():
            if frame.pts is not None and frame.time_base is not None:
                start_s = float(frame.pts * frame.time_base)
                if expected_s is not None and MAX_JITTER_S < start_s - expected_s < MAX_GAP_S:
                    next_frame += round((start_s - expected_s) * self.format.rate_hz)
                expected_s = start_s + frame.samples / frame.sample_rate
            frame.pts = None  # the resampler would fill gaps
            try:
                resampled = self._resampled(frame)
            except (self._av.error.FFmpegError, ValueError):  # a format that cannot be: lost
                self._frame_format = self._resampler = None
                next_frame += round(frame.samples / frame.sample_rate * self.format.rate_hz)
                continue
            for samples in resampled:
                yield next_frame, samples
                next_frame += len(samples)
        for samples in self._drained():
            yield next_frame, samples
            next_frame += len(samples)

    def _resampled(self, frame: Any) -> list[np.ndarray[Any, Any]]:
        """Return a frame's samples in the format of the stream; that of its frames may change at any time.

        Raises `FFmpegError` or `ValueError` for a frame that cannot be resampled.
        """
        samples = []
        frame_format = (frame.format.name, frame.layout.name, frame.sample_rate)
        if frame_format != self._frame_format:
            samples = self._drained()
            channels = self.format.channels
            layout = {1: "mono", 2: "stereo"}.get(channels, f"{channels}c")
            self._resampler = self._av.AudioResampler(format="flt", layout=layout, rate=self.format.rate_hz)
            self._frame_format = frame_format
        return samples + [self._samples(resampled) for resampled in self._resampler.resample(frame)]

    def _drained(self) -> list[np.ndarray[Any, Any]]:
        """Return what the resampler still has."""
        if self._resampler is None:
            return []
        return [self._samples(resampled) for resampled in self._resampler.resample(None)]

    def _samples(self, resampled: Any) -> np.ndarray[Any, Any]:
        samples = np.ascontiguousarray(resampled.to_ndarray().reshape(-1, self.format.channels), np.float32)
        if not np.isfinite(samples).all():
            samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        return samples

    def _frames(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (self._av.error.FFmpegError, OSError):
                self.failed = True
                return
            if packet is None:
                return
            try:
                yield from packet.decode()
            except self._av.error.FFmpegError:
                continue  # damaged: the next frame's time stamp tells how much is lost


def _load_av() -> Any:
    try:
        import av  # noqa: PLC0415 - an extra
    except ImportError:
        raise SourceError(
            "network streams need PyAV; run `pip install '.[network]'` in a checkout of tonewatch, or pipe the stream: "
            "`ffmpeg -i ADDRESS -f s16le -ar 16000 -ac 1 - | tonewatch run - --live`"
        ) from None
    av.logging.set_level(None)
    return av


def _options(request: NetworkRequest) -> dict[str, str]:
    """Return FFmpeg's options: its protocols have time-outs of their own, in microseconds, which would win."""
    scheme = urlsplit(request.target).scheme.lower()
    read_us = str(round(request.read_timeout_s * 1e6))
    options = {"protocol_whitelist": PROTOCOLS[scheme], "rw_timeout": read_us, "timeout": read_us}
    if scheme in ("http", "https"):
        paths = ssl.get_default_verify_paths()
        options |= {"max_redirects": str(MAX_REDIRECTS), "user_agent": "tonewatch", "tls_verify": "1"}
        options |= {"ca_file": paths.cafile or paths.openssl_cafile}
    if scheme in ("rtsp", "rtsps"):
        options |= {"rtsp_transport": "tcp", "allowed_media_types": "audio"}
    return options


def _is_recording(container: Any) -> bool:
    """Whether the server tells a length: a live stream has none."""
    return bool(container.duration and container.duration > 0) and container.format.name != "rtsp"


def _open_error(shown: str, error: Exception) -> SourceError:
    """Return the error for an address that cannot be opened; FFmpeg's own text has the address with its password."""
    why = getattr(error, "strerror", "") or type(error).__name__
    name = type(error).__name__
    if name in ("HTTPNotFoundError", "HTTPUnauthorizedError", "HTTPForbiddenError", "InvalidDataError"):
        return SourceNotFound(f"cannot play {shown!r} ({why}); check the address and its credentials")
    return DeviceLost(f"cannot reach {shown!r} ({why}); check the address and the server")


def main() -> None:
    """Play until the stream or the owner ends."""
    request = NetworkRequest.from_json(os.environ.pop(REQUEST_VARIABLE))
    finished: list[bool] = []
    run_recorder(lambda out, _, closing: finished.append(record(request, out, closing)))
    if finished == [True]:
        os._exit(FINISHED)  # PyAV's threads may take their time


if __name__ == "__main__":
    main()
