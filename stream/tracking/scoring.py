"""From a cosine to something that can be compared: a score normalised by strangers, and a probability (pure).

Adaptive symmetric normalisation (AS-norm: Cumani et al. 2011; Matejka et al. 2017) asks how much nearer two voices
are to each other than each is to the nearest of a cohort of strangers. Calibration turns a score into the probability
that two stretches are of one person, by logistic regression on the score and on how much speech it rests on (Brümmer
& de Villiers 2013, with a quality measure).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from stream.tracking.calibration import Calibration, Floats
from stream.tracking.voice import Voice

Vectors = NDArray[np.float32]

NEAREST = 40
"""How many of the cohort, the nearest ones, stand for strangers."""


class Cohort:
    """X-vectors of strangers, shape (n, dimensions), at length one."""

    def __init__(self, vectors: Vectors, *, nearest: int = NEAREST) -> None:
        self._vectors = vectors
        self._nearest = min(nearest, len(vectors))

    def __len__(self) -> int:
        return len(self._vectors)

    def statistics(self, vectors: Vectors) -> tuple[Vectors, Vectors]:
        """Mean and deviation of the cosines to the nearest strangers; (n, dimensions) to twice (n,)."""
        cosines = vectors @ self._vectors.T  # (n, cohort)
        top = np.partition(cosines, -self._nearest, axis=-1)[..., -self._nearest :]
        return top.mean(axis=-1), top.std(axis=-1) + np.float32(1e-3)

    def normalised(self, left: Vectors, right: Vectors) -> Vectors:
        """AS-norm of the cosines of all pairs; (n, dimensions) and (m, dimensions) to (n, m)."""
        cosines = left @ right.T
        left_mean, left_deviation = self.statistics(left)
        right_mean, right_deviation = self.statistics(right)
        from_left = (cosines - left_mean[:, None]) / left_deviation[:, None]
        from_right = (cosines - right_mean[None, :]) / right_deviation[None, :]
        return np.asarray((from_left + from_right) / 2, dtype=np.float32)


class Scorer:
    """How near an x-vector is to voices: AS-norm against a cohort where there is one, else the cosine."""

    def __init__(self, *, calibration: Calibration, cohort: Cohort | None = None) -> None:
        self.calibration = calibration
        self._cohort = cohort
        self._known: WeakKeyDictionary[Voice, tuple[Vectors, float, float]] = WeakKeyDictionary()

    def scores(self, vector: Vectors, voices: Sequence[Voice]) -> Floats:
        """A score for each voice; (dimensions,) to (voices,)."""
        if self._cohort is None or not voices:
            return np.array([voice.similarity(vector) for voice in voices], dtype=np.float64)
        mean, deviation = (float(part[0]) for part in self._cohort.statistics(vector[None]))
        cosines = np.stack([voice.centroid for voice in voices]) @ vector
        known = np.array([self._statistics(voice) for voice in voices])  # (voices, 2)
        return np.asarray(((cosines - mean) / deviation + (cosines - known[:, 0]) / known[:, 1]) / 2, np.float64)

    def log_odds(self, scores: Floats, voices: Sequence[Voice], *, speech_s: float) -> Floats:
        """Of one person against two."""
        profile_s = np.array([voice.evidence_s for voice in voices], dtype=np.float64)
        return self.calibration.log_odds(scores, speech_s=speech_s, profile_s=profile_s)

    def probability(self, one: Voice, other: Voice) -> float:
        """That two voices met apart are one person's, both taken for as likely beforehand."""
        score = self.scores(one.centroid, [other])
        odds = float(self.log_odds(score, [other], speech_s=one.evidence_s / 2)[0])
        return 1.0 / (1.0 + exp(-max(-50.0, min(50.0, odds))))

    def _statistics(self, voice: Voice) -> tuple[float, float]:
        """A voice's nearness to strangers, until it learns."""
        centroid = voice.centroid
        kept = self._known.get(voice)
        if kept is None or kept[0] is not centroid:
            assert self._cohort is not None  # noqa: S101 - asked only with one
            mean, deviation = self._cohort.statistics(centroid[None])
            kept = self._known[voice] = (centroid, float(mean[0]), float(deviation[0]))
        return kept[1], kept[2]
