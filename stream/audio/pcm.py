"""Raw samples to float32 frames, and the checks every source owes the rooms behind it."""

from __future__ import annotations

import numpy as np

from stream.errors import AudioFormatError
from stream.types import Samples

SAMPLE_BYTES = {"s16le": 2, "f32le": 4}
"""Bytes of one sample, by format."""


def decode(data: bytes, *, pcm_format: str, channels: int) -> Samples:
    """Whole frames of interleaved PCM to shape (frames, channels) in [-1, 1], each channel in one piece."""
    if pcm_format == "f32le":
        return np.frombuffer(data, dtype="<f4").reshape(-1, channels).astype(np.float32, order="F")
    frames = np.frombuffer(data, dtype="<i2").reshape(-1, channels)
    # one pass: with other threads about, each more costs a hundred times as much to get the interpreter's lock back
    samples: Samples = np.multiply(frames, np.float32(1 / 32_768), dtype=np.float32, order="F")
    return samples


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
