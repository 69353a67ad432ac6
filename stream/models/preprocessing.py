"""Windows as a checkpoint wants to hear them.

Two kinds of checkpoint exist. Those that normalise (`do_normalize`) hear every window at zero mean and unit variance,
as `Wav2Vec2FeatureExtractor` makes it. The others hear sound as it is, and bear a tenth of the usual level but not a
hundredth (their x-vectors then lose a fifth of their cosine): for them a window quieter than `QUIET_RMS` is raised to
it, without clipping. Louder windows pass bit by bit, and from one to the other there is no jump.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream.types import Samples

QUIET_RMS = 0.01
"""-40 dBFS: a tenth to a fifth of speech at a usual level."""


def prepare(windows: Sequence[Samples], *, normalise: bool) -> NDArray[np.float32]:
    """Windows of one length n, stacked to (batch, n)."""
    return np.stack([_normalised(w) if normalise else _audible(w) for w in windows], dtype=np.float32)


def _normalised(samples: Samples) -> Samples:
    normalised: Samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    return normalised


def _audible(samples: Samples) -> Samples:
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    if not 0 < rms < QUIET_RMS:  # loud enough, digital silence, or not numbers: the model will say so
        return samples
    gain = min(QUIET_RMS / rms, 1 / float(np.abs(samples).max()))
    return samples * np.float32(max(gain, 1.0))
