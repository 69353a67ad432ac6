"""Overlapped speech: from a frame-level model, or a cue from x-vectors alone (pure).

A frame-level model gives, for each frame of 20 ms, the probabilities that one and that another person speaks; the
newest frames are kept here. Without such a model there is only a cue: an x-vector that a blend of two known voices
explains much better than either voice, and that differs from the window before. It also fits a window in which one
speaker follows another, so the cue is published as *mixed*, never as *overlap*, and keeps such windows from updating
voices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.tracking.voice import Vector, Voice
from stream.types import OVERLAP_FRAME_SAMPLES, WindowSpan

FRAME_SAMPLES = OVERLAP_FRAME_SAMPLES
"""Samples from one frame of an overlap model to the next."""

MAX_FRAMES = 1_500
"""Frames kept (30 s); no window is longer."""

MIN_SPEAKING_PROBABILITY = 0.5
"""Probability from which a person counts as speaking in a frame."""

MIN_CURRENT_SHARE = 0.5
"""Share of overlapped frames in the new speech from which several people speak now."""

MIN_WINDOW_SHARE = 0.05
"""Share of overlapped frames in a window from which it updates no voice."""

MIN_WEIGHT_RATIO = 0.5
"""Minimum weight of the lesser of two voices in a mixed window, relative to the greater."""

MAX_PREVIOUS_COSINE = 0.8
"""Maximum cosine of a mixed window to the window before."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Overlap of one window: at its end (`now`), and anywhere in it (`within`)."""

    now: bool = False
    within: bool = False


class OverlapTracker:
    """Overlap flags of the newest frames of one stream."""

    def __init__(self) -> None:
        self._flags: NDArray[np.bool_] = np.zeros(MAX_FRAMES, dtype=bool)
        self._end = 0  # the frame after the last one kept

    def observe(self, span: WindowSpan, probabilities: NDArray[np.float32]) -> None:
        """Add the probabilities (frames, people) of a window; they replace those of earlier windows."""
        overlapped = (probabilities >= MIN_SPEAKING_PROBABILITY).sum(axis=1) >= 2  # noqa: PLR2004
        start = span.start_sample // FRAME_SAMPLES
        overlapped = overlapped[-MAX_FRAMES:]
        self._advance(start + len(overlapped))
        place = MAX_FRAMES - (self._end - start)
        self._flags[max(0, place) : place + len(overlapped)] = overlapped[max(0, -place) :]

    def overlap(self, span: WindowSpan) -> Overlap:
        """Return the overlap of a window, as far as frames are known."""
        new_speech = max(span.new_speech_samples, FRAME_SAMPLES)
        return Overlap(
            now=self._share(span.end_sample - new_speech, span.end_sample) >= MIN_CURRENT_SHARE,
            within=self._share(span.start_sample, span.end_sample) >= MIN_WINDOW_SHARE,
        )

    def _advance(self, end: int) -> None:
        shift = end - self._end
        if shift > 0:
            self._flags = np.concatenate((self._flags, np.zeros(min(shift, MAX_FRAMES), bool)))[-MAX_FRAMES:]
            self._end = end

    def _share(self, start_sample: int, end_sample: int) -> float:
        first = MAX_FRAMES - (self._end - start_sample // FRAME_SAMPLES)
        last = MAX_FRAMES - (self._end - end_sample // FRAME_SAMPLES)
        frames = self._flags[max(0, first) : max(0, last)]
        return float(frames.sum() / max(1, last - first))


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
