"""Scaling of windows as a checkpoint expects them.

Checkpoints with `do_normalize` get every window at zero mean and unit variance, as `Wav2Vec2FeatureExtractor` makes it.
Other checkpoints get the samples unscaled; they tolerate a tenth of the usual level but not a hundredth (their
x-vectors then lose a fifth of their cosine). For them a window below `QUIET_RMS` is raised to that level, without
clipping. Louder windows pass unchanged, and the gain is continuous at the limit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream.types import Samples

QUIET_RMS = 0.01
"""-40 dBFS: a tenth to a fifth of the usual level of speech."""


def prepare(
    windows: Sequence[Samples], *, normalise: bool, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Scale and stack windows of equal length n to (batch, n), into `out` if it is given."""
    scaled = [_normalise(w) if normalise else _raise_level(w) for w in windows]
    return np.stack(scaled, dtype=None if out is not None else np.float32, out=out)


def _normalise(samples: Samples) -> Samples:
    normalised: Samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    return normalised


def _raise_level(samples: Samples) -> Samples:
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    if not 0 < rms < QUIET_RMS:  # loud enough, digital silence, or NaN (which inference rejects)
        return samples
    gain = min(QUIET_RMS / rms, 1 / float(np.abs(samples).max()))
    return samples * np.float32(max(gain, 1.0))
