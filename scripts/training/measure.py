"""Figures: equal error rate and unweighted average recall."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def equal_error(same: Floats, different: Floats) -> tuple[float, float]:
    """The rate at which misses equal false alarms, and the cosine where they do; both inputs of shape (pairs,)."""
    scores = np.concatenate((same, different))
    target = np.concatenate((np.ones(len(same)), np.zeros(len(different))))
    order = np.argsort(scores, kind="stable")
    misses = np.cumsum(target[order]) / len(same)  # rejected up to and including this score
    alarms = 1.0 - np.cumsum(1.0 - target[order]) / len(different)
    at = int(np.argmin(np.abs(misses - alarms)))
    return float((misses[at] + alarms[at]) / 2), float(scores[order][at])


def pairs(vectors: Floats, speakers: list[str], files: list[str]) -> tuple[Floats, Floats]:
    """Cosines of all pairs: of one speaker, and of two. Crops of one file pair only if their speaker has no other.

    `vectors` are of unit length, shape (crops, dimensions).
    """
    names, who = np.unique(speakers, return_inverse=True)
    _, where = np.unique(files, return_inverse=True)
    several = np.array([len(np.unique(where[who == index])) > 1 for index in range(len(names))])
    cosine = vectors @ vectors.T
    upper = np.triu(np.ones_like(cosine, dtype=bool), 1)
    same = who[:, None] == who[None, :]
    apart = (where[:, None] != where[None, :]) | ~several[who][:, None]
    return cosine[upper & same & apart], cosine[upper & ~same]


def recall(truth: NDArray[np.int64], guess: NDArray[np.int64], classes: int) -> float:
    """The mean over classes of the share that was found (unweighted average recall)."""
    labels = [label for label in range(classes) if (truth == label).any()]
    return float(np.mean([np.mean(guess[truth == label] == label) for label in labels]))
