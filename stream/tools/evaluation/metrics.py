"""Standard metrics of speaker verification and calibration (pure)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import det_curve

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

TARGET_PRIOR = 0.01
"""Target prior for minDCF: the first of NIST SRE 2016, and VoxCeleb's (Nagrani et al. 2017); both costs are 1."""


@dataclass(frozen=True, slots=True)
class Detection:
    """Detection error figures of same-speaker and different-speaker scores."""

    eer: float
    eer_threshold: float
    min_dcf: float
    pairs_same: int
    pairs_different: int
    thresholds_at_far: dict[str, float]
    misses_at_far: dict[str, float]


def detection(same: Floats, different: Floats, *, rates: tuple[float, ...] = (0.001, 0.01, 0.05)) -> Detection:
    """Return equal error rate, minDCF, and thresholds at false-accept rates; scores (pairs,), neither empty."""
    scores = np.concatenate((same, different))
    truth = np.concatenate((np.ones(len(same), int), np.zeros(len(different), int)))
    alarms, misses, thresholds = det_curve(truth, scores)  # alarms fall, thresholds rise
    at = int(np.argmin(np.abs(alarms - misses)))
    costs = TARGET_PRIOR * misses + (1 - TARGET_PRIOR) * alarms
    at_rate: dict[str, float] = {}
    missed: dict[str, float] = {}
    for rate in rates:
        place = int(np.searchsorted(-alarms, -rate))
        inside = place < len(alarms) and bool(
            np.isfinite(thresholds[place])
        )  # newer releases add a threshold at infinity
        at_rate[f"{rate:g}"] = float(thresholds[place] if inside else np.nextafter(different.max(), np.inf))
        missed[f"{rate:g}"] = float(misses[place] if inside else np.mean(same <= different.max()))
    return Detection(
        eer=float((alarms[at] + misses[at]) / 2),
        eer_threshold=float(thresholds[at]),
        min_dcf=float(min(costs.min() / min(TARGET_PRIOR, 1 - TARGET_PRIOR), 1.0)),
        pairs_same=len(same),
        pairs_different=len(different),
        thresholds_at_far=at_rate,
        misses_at_far=missed,
    )


def calibration_error(probabilities: Floats, truth: Labels, *, bins: int = 10) -> float:
    """Return the expected calibration error (Guo et al. 2017) of probabilities (n, classes) and labels (n,)."""
    return float(sum(row.share * abs(row.accuracy - row.confidence) for row in reliability(probabilities, truth, bins)))


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of similar confidence: their share of all, mean confidence, and accuracy."""

    share: float
    confidence: float
    accuracy: float


def reliability(probabilities: Floats, truth: Labels, bins: int = 10) -> list[Bin]:
    """Return the bins of a reliability diagram, of equal width, without empty ones."""
    if len(truth) == 0:
        return []
    confidence, guess = probabilities.max(axis=1), probabilities.argmax(axis=1)
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        Bin(
            share=float((place == at).mean()),
            confidence=float(confidence[place == at].mean()),
            accuracy=float((guess == truth)[place == at].mean()),
        )
        for at in range(bins)
        if (place == at).any()
    ]
