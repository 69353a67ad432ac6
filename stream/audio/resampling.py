"""Streaming resampling of mono audio to 16 kHz with soxr (quality HQ).

Chunked output is bit-identical to one-shot output and time-aligned: output sample n is the audio at n / 16,000 s. The
filter holds back about 21 ms, which follow with later input or with `flush`; this delays output without shifting it.
"""

from __future__ import annotations

import numpy as np
import soxr

from stream.types import SAMPLE_RATE_HZ, Samples


class Resampler:
    """Resampler of one mono stream from `rate_hz` to 16 kHz; its output does not depend on block sizes."""

    def __init__(self, *, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._start()

    def push(self, samples: Samples) -> Samples:
        """Take samples of shape (n,); return the output that is ready, shape (m,)."""
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(samples), dtype=np.float32)

    def flush(self) -> Samples:
        """Return the samples held back by the filter and reset it, ready for unrelated audio."""
        if self._stream is None:
            return np.empty(0, np.float32)
        rest = np.asarray(self._stream.resample_chunk(np.empty(0, np.float32), last=True), dtype=np.float32)
        self._start()
        return rest

    def _start(self) -> None:
        self._stream = (
            None
            if self._rate_hz == SAMPLE_RATE_HZ
            else soxr.ResampleStream(self._rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
        )
