"""Mixed windows: a cue that two voices share one, from x-vectors alone (pure).

Without segmentation there is only a cue for people who speak at once: an x-vector that a blend of two known voices
explains much better than either voice, and that differs from the window before. It also fits a window in which one
speaker follows another, so the cue is published as *mixed*, never as *overlap*, and keeps such windows from updating
voices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream.tracking.voice import Vector, Voice

MIN_WEIGHT_RATIO = 0.5
"""Minimum weight of the lesser of two voices in a mixed window, relative to the greater."""

MAX_PREVIOUS_COSINE = 0.8
"""Maximum cosine of a mixed window to the window before."""


def is_mixed(
    vector: Vector, previous: Vector | None, voices: Sequence[Voice], cosines: NDArray[np.float64], *, gain: float
) -> bool:
    """Return whether two of the voices seem to share a window; `previous` is the x-vector of the window before.

    `gain` is the minimum by which the cosine of their blend exceeds that of the nearer voice.
    """
    if previous is None or len(voices) < 2 or float(previous @ vector) >= MAX_PREVIOUS_COSINE:  # noqa: PLR2004
        return False
    nearest = np.argsort(-cosines)[:2]
    one, other = (voices[place].centroid for place in nearest)
    between = float(one @ other)
    near, far = float(one @ vector), float(other @ vector)
    # least squares on two voices: weights, and the cosine of their blend to the window
    spread = max(1e-6, 1 - between * between)
    weights = (near - between * far) / spread, (far - between * near) / spread
    if min(weights) < MIN_WEIGHT_RATIO * max(weights) or min(weights) <= 0:
        return False
    blend = weights[0] * near + weights[1] * far
    return bool(blend**0.5 - near >= gain)
