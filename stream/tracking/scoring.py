"""Speaker verification scores: cosine, AS-norm against a cohort, and calibrated log-odds (pure).

Adaptive symmetric normalisation (AS-norm: Cumani et al. 2011; Matejka et al. 2017) relates the cosine of two voices to
the cosines of each to its nearest voices of a cohort of other people. A telephone's band makes different people more
alike, so the cohort may hold everybody a second time by telephone: its nearest voices then tell the band, and scores of
both bands have one threshold. Across the bands a voice is less like itself than like others of its own band. So the
pairs of copies teach a linear map (ridge regression: Hoerl & Kennard 1970), and a wide-band voice is compared with one
by telephone as it would sound there. Calibration turns a score into the log-odds of same against different speakers, by
logistic regression on the score and the amount of speech behind it (Brümmer & de Villiers 2013, with a quality
measure).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, inf
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from stream.tracking.calibration import Calibration, Floats
from stream.tracking.voice import Voice
from stream.types import ModelInfo

Vectors = NDArray[np.float32]

COHORT_NEIGHBOURS = 40
"""Number of nearest cohort vectors that AS-norm uses."""

TELEPHONE_SHARES = 0.9, 1.0
"""Shares of telephone copies among the nearest cohort vectors: below, a voice has a wide band; above, a telephone's.

Of windows in rooms and with noise 0.4 % have 0.9 or more, by telephone 99.9 %.
"""


UNCALIBRATED_GAIN_NATS = 8.0
"""Assumed log-odds of a model without calibration at cosine 1, relative to its threshold."""

DEFAULT_THRESHOLD = 0.7
"""Cosine threshold where neither the settings nor the model have one."""


TELEPHONE_RIDGE = 1.0
"""Penalty of the map to the telephone's band, chosen on AN4 speakers who are in no cohort: 3 is as good."""


@dataclass(frozen=True, slots=True)
class Placed:
    """X-vectors (n, dimensions) beside their nearest cohort vectors: mean and deviation (n,) of the cosines.

    `telephone` (n,) is 1 for a telephone's band, 0 for a wide one.
    """

    vectors: Vectors
    mean: Vectors
    deviation: Vectors
    telephone: Vectors

    def scores(self, other: Placed) -> Vectors:
        """Return AS-norm scores (n, m) with those of `other`."""
        cosines = self.vectors @ other.vectors.T
        own = (cosines - self.mean[:, None]) / self.deviation[:, None]
        theirs = (cosines - other.mean[None, :]) / other.deviation[None, :]
        return np.asarray((own + theirs) / 2, np.float32)


class Cohort:
    """Impostor cohort: unit x-vectors of other people, shape (n, dimensions).

    Args:
        vectors: One x-vector per person; with `telephone_shift` those of the same people by telephone follow.
        nearest: Number of nearest vectors that AS-norm uses.
        telephone_shift: Added to the scores of two voices by telephone; 0: no copies.
    """

    def __init__(self, vectors: Vectors, *, nearest: int = COHORT_NEIGHBOURS, telephone_shift: float = 0.0) -> None:
        self._vectors = vectors
        self._nearest = min(nearest, len(vectors))
        self._shift = telephone_shift
        self._wide = len(vectors) // 2 if telephone_shift else len(vectors)

    @classmethod
    def of(cls, model: ModelInfo) -> Cohort | None:
        """Return the cohort of a model, or None if it has none."""
        return None if model.cohort is None else cls(model.cohort, telephone_shift=model.telephone_shift)

    def __len__(self) -> int:
        return self._wide

    @property
    def people(self) -> Vectors:
        """An x-vector per person, without their telephone copies."""
        return self._vectors[: self._wide]

    def without(self, person: int) -> Cohort:
        """Return the cohort without that person."""
        return Cohort(
            np.delete(self._vectors, [person, person + self._wide] if self._shift else person, axis=0),
            nearest=self._nearest,
            telephone_shift=self._shift,
        )

    def place(self, vectors: Vectors) -> Placed:
        """Compare vectors (n, dimensions) with their nearest cohort vectors."""
        cosines = vectors @ self._vectors.T  # (n, cohort)
        nearest = np.argpartition(cosines, -self._nearest, axis=-1)[..., -self._nearest :]
        top = np.take_along_axis(cosines, nearest, axis=-1)
        mean, deviation = top.mean(axis=-1), top.std(axis=-1) + np.float32(1e-3)
        telephone = np.zeros_like(mean)
        if self._shift:
            share = (nearest >= self._wide).mean(axis=-1, dtype=np.float32)
            low, high = TELEPHONE_SHARES
            telephone = np.clip((share - low) / (high - low), 0.0, 1.0).astype(np.float32)
            mean = mean - np.float32(self._shift) * deviation * telephone
        return Placed(vectors, mean, deviation, telephone)

    def by_telephone(self, vectors: Vectors) -> Placed:
        """Place the vectors (n, dimensions) that these wide-band voices would have by telephone."""
        if not self._shift:
            return self.place(vectors)
        wide, telephone, change = self._telephone_map
        moved = vectors - wide
        moved = telephone + moved + moved @ change
        return self.place(np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32))

    def normalised(self, left: Vectors, right: Vectors) -> Vectors:
        """Return AS-norm scores (n, m) of all pairs of vectors (n, dimensions) and (m, dimensions)."""
        return self.place(left).scores(self.place(right))

    @cached_property
    def _telephone_map(self) -> tuple[Vectors, Vectors, Vectors]:
        """Means of both bands, and what the band changes of a voice less its mean, (dimensions, dimensions)."""
        wide, telephone = self._vectors[: self._wide], self._vectors[self._wide :]
        means = wide.mean(axis=0), telephone.mean(axis=0)
        voices = wide - means[0]
        changes = (telephone - means[1]) - voices
        ridge = voices.T @ voices + np.float32(TELEPHONE_RIDGE) * np.eye(voices.shape[1], dtype=np.float32)
        return *means, np.asarray(np.linalg.solve(ridge, voices.T @ changes), np.float32)


@dataclass(slots=True)
class _PlacedVoice:
    """A voice beside the cohort; `by_telephone` once a call was compared with it."""

    centroid: Vectors
    plain: Placed
    by_telephone: Placed | None = None


class Scorer:
    """Scores of x-vectors against voices: AS-norm if there is a cohort, else the cosine; and their log-odds."""

    def __init__(self, *, calibration: Calibration, cohort: Cohort | None = None) -> None:
        self.calibration = calibration
        self._cohort = cohort
        self._placed: WeakKeyDictionary[Voice, _PlacedVoice] = WeakKeyDictionary()

    def scores(self, vector: Vectors, voices: Sequence[Voice]) -> Floats:
        """Return a score for each voice (voices,) of a unit x-vector (dimensions,)."""
        if self._cohort is None or not voices:
            return np.array([voice.similarity(vector) for voice in voices], dtype=np.float64)
        one = self._cohort.place(vector[None])
        kept = [self._of_voice(voice) for voice in voices]
        plain = _joined([own.plain for own in kept])
        scores = np.array(one.scores(plain)[0], np.float64)
        apart = np.asarray(one.telephone[0] - plain.telephone, np.float64)  # in which band each voice is compared
        if len(wide := np.flatnonzero(apart > 0)):
            moved = _joined([self._by_telephone(kept[at]) for at in wide])
            scores[wide] += apart[wide] * (one.scores(moved)[0] - scores[wide])
        if len(calling := np.flatnonzero(apart < 0)):
            others = _joined([kept[at].plain for at in calling])
            across = self._cohort.by_telephone(vector[None]).scores(others)[0]
            scores[calling] -= apart[calling] * (across - scores[calling])
        return np.asarray(scores, np.float64)

    def log_odds(self, scores: Floats, voices: Sequence[Voice], *, speech_s: float) -> Floats:
        """Return the log-odds (voices,) of same against different speakers."""
        profile_s = np.array([voice.evidence_s for voice in voices], dtype=np.float64)
        return self.calibration.log_odds(scores, speech_s=speech_s, profile_s=profile_s)

    def best_probability(self, vector: Vectors, voices: Sequence[Voice], *, speech_s: float) -> float:
        """Return the probability of the likeliest voice of a unit x-vector, with even prior odds; 0 without voices."""
        odds = self.log_odds(self.scores(vector, voices), voices, speech_s=speech_s)
        return _probability(float(odds.max(initial=-inf)))

    def probability(self, one: Voice, other: Voice) -> float:
        """Return the probability that two voices belong to the same person, with even prior odds."""
        score = self.scores(one.centroid, [other])
        odds = float(self.log_odds(score, [other], speech_s=one.evidence_s / 2)[0])
        return _probability(odds)

    def _of_voice(self, voice: Voice) -> _PlacedVoice:
        """Return a voice's centroid beside the cohort, cached until the centroid changes."""
        kept = self._placed.get(voice)
        if kept is None or kept.centroid is not voice.centroid:
            assert self._cohort is not None  # noqa: S101 - called only with a cohort
            kept = self._placed[voice] = _PlacedVoice(voice.centroid, self._cohort.place(voice.centroid[None]))
        return kept

    def _by_telephone(self, voice: _PlacedVoice) -> Placed:
        if voice.by_telephone is None:
            assert self._cohort is not None  # noqa: S101 - called only with a cohort
            voice.by_telephone = self._cohort.by_telephone(voice.plain.vectors)
        return voice.by_telephone


def _joined(several: Sequence[Placed]) -> Placed:
    return Placed(
        np.concatenate([one.vectors for one in several]),
        np.concatenate([one.mean for one in several]),
        np.concatenate([one.deviation for one in several]),
        np.concatenate([one.telephone for one in several]),
    )


def build_scorer(model: ModelInfo | None, threshold: float | None) -> Scorer:
    """Build the scorer of a model: calibrated, or plain cosines around `threshold` if set or without calibration."""
    if model is not None and model.calibration is not None and threshold is None:
        return Scorer(calibration=Calibration(*model.calibration), cohort=Cohort.of(model))
    if threshold is None:
        threshold = model.threshold if model is not None and model.threshold is not None else DEFAULT_THRESHOLD
    return Scorer(calibration=Calibration(UNCALIBRATED_GAIN_NATS / (1.0 - threshold), threshold))


def _probability(log_odds: float) -> float:
    return 1.0 / (1.0 + exp(-max(-50.0, min(50.0, log_odds))))
