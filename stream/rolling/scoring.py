"""From a cosine to something that can be compared: a score normalised by strangers, and a probability (pure).

Adaptive symmetric normalisation (AS-norm: Cumani et al. 2011; Matejka et al. 2017) asks how much nearer two voices
are to each other than each is to the nearest of a cohort of strangers. Calibration turns a score into the probability
that two stretches are of one person, by logistic regression on the score and on how much speech it rests on (Brümmer
& de Villiers 2013, with a quality measure).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True)
class Calibration:
    """Log-odds that two stretches are of one person: `slope` x score + `offset` + `duration` x log of the seconds."""

    slope: float
    offset: float
    duration: float = 0.0

    def probability(self, score: float, *, speech_s: float) -> float:
        """Of one person, given the score and the shorter one's seconds of speech."""
        odds = self.slope * score + self.offset + self.duration * log(max(speech_s, 0.25))
        return 1.0 / (1.0 + exp(-max(-50.0, min(50.0, odds))))

    def score_at(self, probability: float, *, speech_s: float) -> float:
        """The score that a probability asks for."""
        return (
            log(probability / (1 - probability)) - self.offset - self.duration * log(max(speech_s, 0.25))
        ) / self.slope
