"""Scores to probabilities: the calibration under which the truth of trials is least surprising (pure).

Logistic regression on a score and on how much speech it rests on, by Newton's method, both classes alike in weight.
Targets are drawn in from 0 and 1 by how many trials there are (Platt 1999), so that trials that are told apart without
an error do not promise certainty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_LEAST_S = 0.25
RELIABILITIES_S = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8)
_RIDGE = 1e-6
_MOST_STEPS = 100
_LEAST_GAIN = 1e-10


@dataclass(frozen=True, slots=True)
class Calibration:
    """Log-odds that a stretch of speech is of the person a profile was made of.

    Little speech gives a noisy x-vector, and noise shortens cosines: of `t` seconds, `t / (t + reliability_s)` is voice
    (twice `reliability_s` for a profile, whose parts lie apart). The score is corrected for what both lack (Spearman's
    correction for attenuation), compared with `threshold`, and counts the less the shorter the stretch is.
    """

    slope: float
    threshold: float
    reliability_s: float = 0.0

    def log_odds(self, scores: Floats, *, speech_s: float, profile_s: Floats) -> Floats:
        """Of one person against two; scores (n,) of profiles of `profile_s` (n,) seconds."""
        heard = self._reliability(max(speech_s, _LEAST_S))
        known = np.maximum(profile_s, _LEAST_S)
        known = known / (known + 2 * self.reliability_s)
        return np.asarray(heard * self.slope * (scores / np.sqrt(heard * known) - self.threshold))

    def score_at_even_odds(self, *, speech_s: float, profile_s: float) -> float:
        """The score at which one person is as likely as two."""
        known = profile_s / (profile_s + 2 * self.reliability_s)
        return self.threshold * float(np.sqrt(self._reliability(speech_s) * known))

    def _reliability(self, seconds: float) -> float:
        return seconds / (seconds + self.reliability_s)


@dataclass(frozen=True, slots=True)
class ScoreTrial:
    """A score of some seconds of speech against a profile of some seconds, and whether both are one person's."""

    score: float
    speech_s: float
    profile_s: float
    same: bool


@dataclass(frozen=True, slots=True)
class Fit:
    """A calibration, and its cross-entropy on the trials it was fitted on, in nats."""

    calibration: Calibration
    loss: float


def fit(trials: Sequence[ScoreTrial], *, reliabilities_s: Sequence[float] = RELIABILITIES_S) -> Fit:
    """The best for any of the reliabilities. There must be trials of one person and of two."""
    score, speech_s, profile_s = (
        np.array(column, dtype=np.float64)
        for column in zip(*((one.score, one.speech_s, one.profile_s) for one in trials), strict=True)
    )
    same = np.array([one.same for one in trials], dtype=bool)
    fits = []
    for reliability_s in reliabilities_s:
        known = profile_s / (profile_s + 2 * reliability_s)
        part = speech_s / (speech_s + reliability_s)
        weights, loss = _regress(np.stack((part * score / np.sqrt(part * known), part), axis=1), same)
        fits.append(Fit(Calibration(float(weights[0]), float(-weights[1] / weights[0]), reliability_s), loss))
    return min(fits, key=lambda one: one.loss)


def _regress(inputs: Floats, same: np.ndarray) -> tuple[Floats, float]:
    """Weights (2,) for inputs (n, 2) without an intercept, and the loss."""
    count, genuine = len(same), int(same.sum())
    target = np.where(same, (genuine + 1) / (genuine + 2), 1 / (count - genuine + 2))
    share = np.where(same, 0.5 / genuine, 0.5 / (count - genuine))

    def loss_at(weights: Floats) -> float:
        odds = inputs @ weights
        return float(share @ (np.logaddexp(0, odds) - target * odds)) + _RIDGE * float(weights @ weights) / 2

    weights = np.zeros(2)
    loss = loss_at(weights)
    for _ in range(_MOST_STEPS):
        odds = 1 / (1 + np.exp(-np.clip(inputs @ weights, -500, 500)))
        slope = inputs.T @ (share * (odds - target)) + _RIDGE * weights
        bend = (inputs.T * (share * odds * (1 - odds))) @ inputs + _RIDGE * np.eye(2)
        step, length = np.linalg.solve(bend, slope), 1.0
        while (better := loss_at(weights - length * step)) > loss and length > _LEAST_GAIN:
            length /= 2
        if loss - better < _LEAST_GAIN:
            break
        weights, loss = weights - length * step, better
    return weights, loss
