"""How loud sound is (pure): the figure behind a level meter."""

from __future__ import annotations

import math

import numpy as np

from stream.types import Samples

SILENCE_DBFS = -100.0
"""The floor: exact zeros, and all that is quieter."""


def level_dbfs(samples: Samples) -> float:
    """Root mean square of samples (n,) in decibels below full scale, at least `SILENCE_DBFS`."""
    if not len(samples):
        return SILENCE_DBFS
    power = float(np.dot(samples, samples)) / len(samples)
    return max(SILENCE_DBFS, 10 * math.log10(power)) if power > 0 else SILENCE_DBFS
