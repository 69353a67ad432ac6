"""From a source's channels and rate to mono streams at 16 kHz.

`select` picks or mixes channels; `Resampler` changes the rate with soxr's streaming resampler (HQ). Its chunked output
is bit-identical to the one-shot one and already in place: output sample n is the sound at n / 16,000 s. What its filter
still holds back (about 21 ms) comes with later input or with `flush`; it delays output, it does not shift it.
"""

from __future__ import annotations

import numpy as np
import soxr

from stream.types import SAMPLE_RATE_HZ, Samples


class Resampler:
    """One mono stream from `rate_hz` to 16 kHz. Block sizes do not change what comes out."""

    def __init__(self, *, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._start()

    def push(self, samples: Samples) -> Samples:
        """Samples of shape (n,) in; what is ready of shape (m,) out."""
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(samples), dtype=np.float32)

    def flush(self) -> Samples:
        """What the filter still held; afterwards a new, unrelated stretch of sound may begin."""
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
