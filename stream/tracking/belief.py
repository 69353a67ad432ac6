"""Belief: log-probabilities of the voices of a stream and of an unknown speaker (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MAX_LOG_ODDS = 5.0
"""Limit of the evidence of one window, and of all windows before it: another voice must be able to take over."""


class Belief:
    """Log-probabilities (voices + 1,) in the order of the voices; the last is the unknown speaker. Immutable."""

    def __init__(self, log_probabilities: Floats) -> None:
        self._logs = log_probabilities

    @classmethod
    def prior(cls, known: int, *, new_voice_prior: float) -> Belief:
        """All voices alike, and an unknown speaker as likely as `new_voice_prior` of them."""
        new = new_voice_prior / (known + new_voice_prior)
        return cls(np.log(np.array([(1 - new) / known] * known + [new])) if known else np.zeros(1))

    @classmethod
    def by_name(cls, names: Sequence[str], probabilities: Mapping[str, float]) -> Belief:
        """Probabilities by the name of a voice; those of names that are gone belong to the unknown speaker."""
        floor = exp(-MAX_LOG_ODDS)
        belief = np.array([max(floor, probabilities.get(name, 0.0)) for name in names])
        belief = np.append(belief, max(floor, 1.0 - belief.sum()))
        return cls(np.log(belief / belief.sum()))

    @property
    def probabilities(self) -> Floats:
        """The probabilities (voices + 1,)."""
        return np.asarray(np.exp(self._logs))

    def named(self, names: Sequence[str]) -> dict[str, float]:
        """Return the probabilities by the names of the voices."""
        return {name: float(weight) for name, weight in zip(names, self.probabilities, strict=False)}

    def blended(self, other: Belief, share: float) -> Belief:
        """Return a mixture with `share` of another belief."""
        blend = (1 - share) * self.probabilities + share * other.probabilities
        return Belief(np.log(blend / blend.sum()))

    def updated(self, log_ratios: Floats) -> Belief:
        """Return the belief after evidence (voices + 1,), within limits."""
        logs = self._logs + log_ratios
        logs = logs - logs.max()
        logs = logs - log(np.exp(logs).sum())
        return Belief(np.maximum(logs, -MAX_LOG_ODDS))

    def weakened(self, places: Sequence[int], nats: float) -> Belief:
        """Return the belief with `nats` of evidence against some voices."""
        logs = self._logs.copy()
        logs[list(places)] -= nats
        return Belief(logs - log(np.exp(logs).sum()))

    def with_voice(self) -> Belief:
        """Return the belief once the unknown speaker has become the newest voice."""
        return Belief(np.append(self._logs[:-1], (self._logs[-1], -MAX_LOG_ODDS)))

    def without(self, place: int, *, into: int) -> Belief:
        """Return the belief without a voice; its probability goes to another hypothesis (-1: the unknown speaker)."""
        belief = self.probabilities
        belief[into] += belief[place]
        return Belief(np.log(np.delete(belief, place)))
