"""Fit of temperature and biases of an emotion model on a user's labelled recordings.

The fit maximises the likelihood of the labels, each with equal weight, and is drawn towards no change, by as much as a
few recordings weigh: few of them change little. What it promises is measured on people (or, of fewer than three people,
recordings) that are left out of it in turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.metrics import recall_score

from stream.tools.evaluation.emotion import EmotionResult
from stream.tools.evaluation.metrics import Floats, Labels, calibration_error
from stream.tracking.emotion_calibration import FLOOR, EmotionCalibration

MIN_RECORDINGS = 5
"""Recordings that each of two labels needs."""
FOLDS = 5
_MIN_PEOPLE = 3
_PRIOR_RECORDINGS = 4.0


@dataclass(frozen=True, slots=True)
class EmotionFit:
    """A fitted calibration, and figures without and with it, on recordings left out."""

    temperature: float
    bias: dict[str, float]
    before: dict[str, float]
    after: dict[str, float]
    recordings: int
    refusal: str = ""


def fit(result: EmotionResult) -> EmotionFit:
    """Fit on the utterances of an evaluation; `refusal` says why the fit should not be used, if so."""
    truth, probabilities = result.truth_and_probabilities()
    counts = np.bincount(truth, minlength=len(result.labels))
    if (counts >= MIN_RECORDINGS).sum() < 2:  # noqa: PLR2004
        refusal = f"two labels need {MIN_RECORDINGS} recordings with speech each; add recordings"
        return EmotionFit(1.0, {}, {}, {}, len(truth), refusal)
    people = [one.utterance.speaker for one in result.utterances if one.probabilities is not None]
    corrected = np.zeros_like(probabilities)
    for own in _folds(people):
        temperature, bias = _fit(truth[~own], probabilities[~own])
        corrected[own] = _apply(probabilities[own], temperature, bias)
    temperature, bias = _fit(truth, probabilities)
    before, after = _figures(truth, probabilities), _figures(truth, corrected)
    refusal = "" if after["loss"] < before["loss"] else "it does not hold for recordings left out; add recordings"
    named = dict(zip(result.labels, map(float, bias), strict=True))
    return EmotionFit(temperature, named, before, after, len(truth), refusal)


def _folds(people: Sequence[str]) -> Iterator[NDArray[np.bool_]]:
    names = sorted(set(people))
    if "" in names or len(names) < _MIN_PEOPLE:
        places = np.arange(len(people)) % FOLDS
        yield from (places == fold for fold in range(FOLDS))
        return
    owner = np.array([names.index(name) for name in people]) % max(_MIN_PEOPLE, min(len(names), 2 * FOLDS))
    yield from (owner == fold for fold in np.unique(owner))


def _fit(truth: Labels, probabilities: Floats) -> tuple[float, Floats]:
    """Return temperature and biases, whose mean is 0; (labels,)."""
    logits = np.log(np.maximum(probabilities, FLOOR))
    labels, counts = np.unique(truth, return_counts=True)
    weights = (len(truth) / len(labels) / counts)[np.searchsorted(labels, truth)]
    present = np.isin(np.arange(logits.shape[1]), labels)

    def loss(values: Floats) -> float:
        scaled = logits * np.exp(-values[0]) + values[1:] * present
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        chosen = scaled[np.arange(len(truth)), truth] - np.log(np.exp(scaled).sum(axis=1))
        return float(-(weights * chosen).sum() + _PRIOR_RECORDINGS * np.square(values).sum() / 2)

    found = minimize(loss, np.zeros(1 + logits.shape[1]), method="L-BFGS-B").x
    return float(np.exp(found[0])), np.where(present, found[1:] - found[1:][present].mean(), 0.0)


def _apply(probabilities: Floats, temperature: float, bias: Floats) -> Floats:
    calibration = EmotionCalibration(temperature=temperature, bias=bias.tolist())
    return np.array([calibration.apply(row) for row in probabilities.tolist()])


def _figures(truth: Labels, probabilities: Floats) -> dict[str, float]:
    guess = probabilities.argmax(axis=1)
    chosen = np.maximum(probabilities[np.arange(len(truth)), truth], FLOOR)
    by_label = [-np.log(chosen[truth == label]).mean() for label in np.unique(truth)]
    recall: Any = recall_score(truth, guess, labels=np.unique(truth), average="macro", zero_division=0.0)
    return {
        "recall": float(recall),
        "ece": calibration_error(probabilities, truth),
        "loss": float(np.mean(by_label)),
    }
