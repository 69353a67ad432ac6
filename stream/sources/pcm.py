"""Raw samples to float32 frames, and the checks every source owes the rooms behind it."""

from __future__ import annotations

import numpy as np

from stream.errors import AudioFormatError
from stream.types import Samples

SAMPLE_BYTES = {"s16le": 2, "f32le": 4}
"""Bytes of one sample, by format."""


def decode(data: bytes, *, pcm_format: str, channels: int) -> Samples:
    """Whole frames of interleaved PCM to shape (frames, channels) in [-1, 1]."""
    if pcm_format == "s16le":
        samples = np.frombuffer(data, dtype="<i2").astype(np.float32) * np.float32(1 / 32_768)
    else:
        samples = np.frombuffer(data, dtype="<f4").astype(np.float32)
    return samples.reshape(-1, channels)


def checked(samples: Samples, *, start_frame: int, rate_hz: int, name: str) -> Samples:
    """The samples, if all of them are numbers; a NaN would silently poison every window it is in.

    Raises `AudioFormatError` naming the moment.
    """
    finite = np.isfinite(samples)
    if finite.all():
        return samples
    frame = start_frame + int(np.argmin(finite.all(axis=1)))
    raise AudioFormatError(
        f"{name} holds a sample that is not a number (NaN or infinite) at {frame / rate_hz:.3f} s; repair it"
    )
