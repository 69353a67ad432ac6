"""Audio level in dBFS, as shown by level meters (pure)."""

from __future__ import annotations

import math

import numpy as np

from stream.types import Samples

SILENCE_DBFS = -100.0
"""Lowest level reported, also for digital silence."""


def level_dbfs(samples: Samples) -> float:
    """Return the root mean square of samples (n,) in dB relative to full scale, at least `SILENCE_DBFS`."""
    if not len(samples):
        return SILENCE_DBFS
    power = float(np.dot(samples, samples)) / len(samples)
    return max(SILENCE_DBFS, 10 * math.log10(power)) if power > 0 else SILENCE_DBFS
