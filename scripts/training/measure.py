"""Metrics: equal error rate and unweighted average recall."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def equal_error(same: Floats, different: Floats) -> tuple[float, float]:
    """Return the equal error rate and its threshold; both inputs of shape (pairs,)."""
    scores = np.concatenate((same, different))
    target = np.concatenate((np.ones(len(same)), np.zeros(len(different))))
    order = np.argsort(scores, kind="stable")
    misses = np.cumsum(target[order]) / len(same)  # rejected up to and including this score
    alarms = 1.0 - np.cumsum(1.0 - target[order]) / len(different)
    at = int(np.argmin(np.abs(misses - alarms)))
    return float((misses[at] + alarms[at]) / 2), float(scores[order][at])


def pairs(vectors: Floats, speakers: list[str], files: list[str]) -> tuple[Floats, Floats]:
    """Return cosines of same-speaker and different-speaker pairs.

    Crops of one file are paired only if it is the only file of the speaker. `vectors` are of unit length, shape (crops,
    dimensions).
    """
    names, speaker = np.unique(speakers, return_inverse=True)
    _, file = np.unique(files, return_inverse=True)
    several = np.array([len(np.unique(file[speaker == index])) > 1 for index in range(len(names))])
    cosine = vectors @ vectors.T
    upper = np.triu(np.ones_like(cosine, dtype=bool), 1)
    same = speaker[:, None] == speaker[None, :]
    apart = (file[:, None] != file[None, :]) | ~several[speaker][:, None]
    return cosine[upper & same & apart], cosine[upper & ~same]


def recall(truth: NDArray[np.int64], guess: NDArray[np.int64], classes: int) -> float:
    """Return the unweighted average recall over the classes that occur."""
    labels = [label for label in range(classes) if (truth == label).any()]
    return float(np.mean([np.mean(guess[truth == label] == label) for label in labels]))
