"""PCM decoding to float32 frames, and the check that samples are finite (pure)."""

from __future__ import annotations

import numpy as np

from stream.errors import AudioFormatError
from stream.types import Samples

SAMPLE_BYTES = {"s16le": 2, "f32le": 4}
"""Bytes per sample, by format."""


def decode(data: bytes, *, pcm_format: str, channels: int) -> Samples:
    """Decode whole frames of interleaved PCM to shape (frames, channels) in [-1, 1], each channel contiguous."""
    if pcm_format == "f32le":
        return np.frombuffer(data, dtype="<f4").reshape(-1, channels).astype(np.float32, order="F")
    frames = np.frombuffer(data, dtype="<i2").reshape(-1, channels)
    # one pass: each further one releases the GIL, and reacquiring it from busy threads costs 100 times the pass
    samples: Samples = np.multiply(frames, np.float32(1 / 32_768), dtype=np.float32, order="F")
    return samples


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
