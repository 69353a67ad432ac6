"""Whether a voice is enrolled already under another name (pure).

Two profiles of one voice are worse than none: neither is likelier than the other, so that the person is recognised
under no name.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stream.tracking.scoring import Scorer
from stream.tracking.voice import Voice

MIN_SIMILAR_PROBABILITY = 0.95
"""Probability from which a voice counts as that of another profile."""


def same_person_probabilities(voice: Voice, known: Sequence[Voice], scorer: Scorer) -> dict[str, float]:
    """Return for each known voice the probability that it is the same person's, at even prior odds."""
    log_odds = scorer.log_odds(scorer.scores(voice.centroid, known), known, speech_s=voice.evidence_s)
    probabilities = 1.0 / (1.0 + np.exp(-np.clip(log_odds, -50.0, 50.0)))
    return {other.name: float(probability) for other, probability in zip(known, probabilities, strict=True)}


def similar_names(name: str, probabilities: dict[str, float]) -> tuple[str, ...]:
    """Return the names, other than `name`, of voices that are very probably the same person's, likeliest first."""
    similar = [other for other, probability in probabilities.items() if probability >= MIN_SIMILAR_PROBABILITY]
    return tuple(sorted((other for other in similar if other != name), key=lambda other: -probabilities[other]))


def too_alike(name: str, similar: Sequence[str]) -> str:
    """Return what is wrong with enrolling a voice as `name`."""
    names = " or ".join(repr(one) for one in (*similar, name))
    return f"too alike: {names}, the voice is enrolled as {similar[0]!r} already and would be recognised under neither"
