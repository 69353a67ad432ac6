"""Score calibration: logistic regression from similarity scores to log-odds (pure).

The inputs are a score and the amount of speech behind it; both classes have equal total weight, and Newton's method
minimises the cross-entropy. Targets are moved away from 0 and 1 depending on the number of trials (Platt 1999), so that
perfectly separated trials do not yield certainty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MIN_SPEECH_S = 0.25
RELIABILITIES_S = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8)
"""Values of `reliability_s` that `fit` tries."""

_RIDGE = 1e-6
_MAX_STEPS = 100
_MIN_GAIN = 1e-10


@dataclass(frozen=True, slots=True)
class Calibration:
    """Log-odds that speech is of the same person as a profile.

    An x-vector of little speech is noisy, and noise shortens cosines: the reliability of `t` seconds is
    `t / (t + reliability_s)`, and that of a profile, which consists of separate parts, uses twice `reliability_s`.
    The score is corrected for both (Spearman's correction for attenuation), compared with `threshold`, and weighted
    less for shorter speech.
    """

    slope: float
    threshold: float
    reliability_s: float = 0.0

    def log_odds(self, scores: Floats, *, speech_s: float, profile_s: Floats) -> Floats:
        """Return the log-odds of same against different speakers for scores (n,) of profiles of `profile_s` (n,) s."""
        speech = self._reliability(max(speech_s, _MIN_SPEECH_S))
        profile = np.maximum(profile_s, _MIN_SPEECH_S)
        profile = profile / (profile + 2 * self.reliability_s)
        return np.asarray(speech * self.slope * (scores / np.sqrt(speech * profile) - self.threshold))

    def score_at_even_odds(self, *, speech_s: float, profile_s: float) -> float:
        """Return the score at which same and different speakers are equally likely."""
        profile = profile_s / (profile_s + 2 * self.reliability_s)
        return self.threshold * float(np.sqrt(self._reliability(speech_s) * profile))

    def _reliability(self, seconds: float) -> float:
        return seconds / (seconds + self.reliability_s)


@dataclass(frozen=True, slots=True)
class ScoreTrial:
    """A score of `speech_s` of speech against a profile of `profile_s`, and whether both are of the same person."""

    score: float
    speech_s: float
    profile_s: float
    same: bool


@dataclass(frozen=True, slots=True)
class Fit:
    """A calibration and its cross-entropy on the trials it was fitted to, in nats."""

    calibration: Calibration
    loss: float


def fit(trials: Sequence[ScoreTrial], *, reliabilities_s: Sequence[float] = RELIABILITIES_S) -> Fit:
    """Fit a calibration for each reliability and return the best. Needs trials of same and of different speakers."""
    score, speech_s, profile_s = (
        np.array(column, dtype=np.float64)
        for column in zip(*((one.score, one.speech_s, one.profile_s) for one in trials), strict=True)
    )
    same = np.array([one.same for one in trials], dtype=bool)
    fits = []
    for reliability_s in reliabilities_s:
        profile = profile_s / (profile_s + 2 * reliability_s)
        speech = speech_s / (speech_s + reliability_s)
        weights, loss = _regress(np.stack((speech * score / np.sqrt(speech * profile), speech), axis=1), same)
        fits.append(Fit(Calibration(float(weights[0]), float(-weights[1] / weights[0]), reliability_s), loss))
    return min(fits, key=lambda one: one.loss)


def _regress(inputs: Floats, same: np.ndarray) -> tuple[Floats, float]:
    """Return weights (2,) for inputs (n, 2), without an intercept, and the loss."""
    count, genuine = len(same), int(same.sum())
    target = np.where(same, (genuine + 1) / (genuine + 2), 1 / (count - genuine + 2))
    share = np.where(same, 0.5 / genuine, 0.5 / (count - genuine))

    def loss_at(weights: Floats) -> float:
        odds = inputs @ weights
        return float(share @ (np.logaddexp(0, odds) - target * odds)) + _RIDGE * float(weights @ weights) / 2

    weights = np.zeros(2)
    loss = loss_at(weights)
    for _ in range(_MAX_STEPS):
        odds = 1 / (1 + np.exp(-np.clip(inputs @ weights, -500, 500)))
        gradient = inputs.T @ (share * (odds - target)) + _RIDGE * weights
        hessian = (inputs.T * (share * odds * (1 - odds))) @ inputs + _RIDGE * np.eye(2)
        step, length = np.linalg.solve(hessian, gradient), 1.0
        while (better := loss_at(weights - length * step)) > loss and length > _MIN_GAIN:
            length /= 2
        if loss - better < _MIN_GAIN:
            break
        weights, loss = weights - length * step, better
    return weights, loss
