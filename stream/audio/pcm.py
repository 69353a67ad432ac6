"""PCM decoding to float32 frames, and checks of the samples (pure)."""

from __future__ import annotations

import numpy as np

from stream.audio import g711
from stream.errors import AudioFormatError
from stream.types import Samples

SAMPLE_BYTES = {"s16le": 2, "f32le": 4}
"""Bytes per sample, by format."""

RAW_SAMPLE_BYTES = {**SAMPLE_BYTES, "mulaw": 1, "alaw": 1, "u8": 1, "s24le": 3, "s32le": 4, "f64le": 8}
"""The same with the formats that are read from pipes and WAV headers only."""


def decode(data: bytes, *, pcm_format: str, channels: int) -> Samples:
    """Decode whole frames of interleaved PCM to shape (frames, channels) in [-1, 1], each channel contiguous."""
    if pcm_format == "f32le":
        return np.frombuffer(data, dtype="<f4").reshape(-1, channels).astype(np.float32, order="F")
    if pcm_format != "s16le":
        return _decode_other(data, pcm_format).reshape(-1, channels).astype(np.float32, order="F")
    frames = np.frombuffer(data, dtype="<i2").reshape(-1, channels)
    # one pass: each further one releases the GIL, and reacquiring it from busy threads costs 100 times the pass
    samples: Samples = np.multiply(frames, np.float32(1 / 32_768), dtype=np.float32, order="F")
    return samples


def decode_mono(data: bytes) -> Samples:
    """Decode 16-bit samples of one channel to shape (n,)."""
    return np.ascontiguousarray(decode(data, pcm_format="s16le", channels=1)[:, 0])


def _decode_other(data: bytes, pcm_format: str) -> Samples:
    """Decode the formats that calls do not use, to shape (n,)."""
    if pcm_format in ("mulaw", "alaw"):
        return g711.decode(data, pcm_format)
    if pcm_format == "u8":
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / np.float32(128)
    if pcm_format == "f64le":
        return np.frombuffer(data, "<f8").astype(np.float32)
    if pcm_format == "s24le":
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data = padded.tobytes()
    return np.asarray(np.frombuffer(data, "<i4") * (1 / 2**31), np.float32)


def require_finite(samples: Samples, *, start_frame: int, rate_hz: int, name: str) -> Samples:
    """Return `samples` if all are finite; a NaN would corrupt every window that contains it.

    Raises `AudioFormatError` with the position of the first bad frame.
    """
    finite = np.isfinite(samples)
    if finite.all():
        return samples
    frame = start_frame + int(np.argmin(finite.all(axis=1)))
    raise AudioFormatError(
        f"{name} has a non-finite sample (NaN or infinite) at {frame / rate_hz:.3f} s; repair the audio"
    )
