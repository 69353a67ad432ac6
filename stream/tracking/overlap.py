"""Where several people speak at once.

A frame-level model says it best: for each frame (20 ms) how likely each of two people speaks; its newest windows are
remembered here. Without such a model there is only a cue: an x-vector that two known voices together explain much
better than either alone, and that is unlike the window before. It also fits a window in which one person took over from
another, so it says *mixed*, never *overlap*, and serves to keep such windows from teaching a voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.tracking.voice import Vector, Voice
from stream.types import WindowSpan

FRAME_SAMPLES = 320
"""From one frame of such a model to the next."""

MEMORY_FRAMES = 1_500
"""Half a minute: no window is longer."""

SPEAKS = 0.5
"""Probability from which a person counts as speaking in a frame."""

NOW = 0.5
"""Share of the newest speech that has to be overlapped for the moment to be called so."""

WITHIN = 0.05
"""Share of a window from which on it teaches nothing."""

LESSER = 0.5
"""Of two voices that share a window, the lesser's weight over the greater's at least …"""

ALIKE = 0.8
"""… and the likeness to the window before at most."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Of one window: whether several people speak at its end, and whether they do anywhere in it."""

    now: bool = False
    within: bool = False


class OverlapTracker:
    """The newest frames of one stream in which two people were heard at once."""

    def __init__(self) -> None:
        self._flags: NDArray[np.bool_] = np.zeros(MEMORY_FRAMES, dtype=bool)
        self._end = 0  # the frame after the last one remembered

    def hear(self, cut: WindowSpan, probabilities: NDArray[np.float32]) -> None:
        """Take what the model says of a window, (frames, people); newer windows know better than older ones."""
        both = (probabilities >= SPEAKS).sum(axis=1) >= 2  # noqa: PLR2004
        start = cut.start_sample // FRAME_SAMPLES
        both = both[-MEMORY_FRAMES:]
        self._forget(start + len(both))
        place = MEMORY_FRAMES - (self._end - start)
        self._flags[max(0, place) : place + len(both)] = both[max(0, -place) :]

    def of(self, cut: WindowSpan) -> Overlap:
        """What is known of a window."""
        fresh = max(cut.fresh_samples, FRAME_SAMPLES)
        return Overlap(
            now=self._share(cut.end_sample - fresh, cut.end_sample) >= NOW,
            within=self._share(cut.start_sample, cut.end_sample) >= WITHIN,
        )

    def _forget(self, end: int) -> None:
        shift = end - self._end
        if shift > 0:
            self._flags = np.concatenate((self._flags, np.zeros(min(shift, MEMORY_FRAMES), bool)))[-MEMORY_FRAMES:]
            self._end = end

    def _share(self, start_sample: int, end_sample: int) -> float:
        first = MEMORY_FRAMES - (self._end - start_sample // FRAME_SAMPLES)
        last = MEMORY_FRAMES - (self._end - end_sample // FRAME_SAMPLES)
        frames = self._flags[max(0, first) : max(0, last)]
        return float(frames.sum() / max(1, last - first))


def mixed(
    vector: Vector, before: Vector | None, voices: Sequence[Voice], cosines: NDArray[np.float64], *, gain: float
) -> bool:
    """The cue: whether two of the voices seem to share a window; `before` is the x-vector of the window before it.

    `gain` is by how much their blend has to be nearer than the nearer one.
    """
    if before is None or len(voices) < 2 or float(before @ vector) >= ALIKE:  # noqa: PLR2004
        return False
    nearest = np.argsort(-cosines)[:2]
    one, other = (voices[place].centroid for place in nearest)
    between = float(one @ other)
    near, far = float(one @ vector), float(other @ vector)
    # Least squares on two voices: weights, and the cosine of their blend to the window.
    spread = max(1e-6, 1 - between * between)
    weights = (near - between * far) / spread, (far - between * near) / spread
    if min(weights) < LESSER * max(weights) or min(weights) <= 0:
        return False
    blend = weights[0] * near + weights[1] * far
    return bool(blend**0.5 - near >= gain)
