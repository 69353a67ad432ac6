"""Whether sound is good enough to know somebody by (pure).

A profile is made once and compared for years: better none than one of noise, of a distorted voice, or of two people.
`python -m scripts.enrolment_quality` measures what the limits here let pass and what they refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.tracking.scoring import Scorer
from stream.tracking.voice import Vector, Voice, unit

MIN_ENROLMENT_SPEECH_S = 3.0
"""Speech below which a voice is refused: an x-vector of less tells words rather than people."""

QUIET_DBFS = -50.0
"""Speech below this level is mostly the converter's own noise."""

NOISY_DB = 10.0
"""Speech that is not this much louder than the pauses is mixed with what goes on in them."""

CLIPPED = 0.1
"""Share of speech frames that may touch the ceiling: natural speech has one highest peak, cut speech has many."""

CEILING = 0.99
"""How near to the highest peak counts as touching it."""

LOUD = 0.05
"""A ceiling lower than this part of full scale is no ceiling: nothing overdriven ends there."""

PAUSE = 0.1
"""A frame less likely than this to hold speech is a pause."""

LEAST_PAUSES = 10
"""Frames of pause needed to judge the noise in them."""

STRANGER_S = 1.5
"""Speech that a second person must have said to be noticed."""

ONE_PERSON = 0.3
"""Probability that the two halves that differ most are one person's, below which they are taken for two."""

ROUNDS = 10
"""Of 2-means, at most."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SoundQuality:
    """What was measured of it. `snr_db` is None where pauses are too few to tell."""

    level_dbfs: float
    snr_db: float | None
    clipped: float


@dataclass(frozen=True, slots=True)
class WindowEmbedding:
    """A window's x-vector, shape (dimensions,), its seconds of speech, and those the window before does not hold."""

    vector: Vector = field(repr=False)
    speech_s: float
    fresh_s: float


@dataclass(frozen=True, slots=True)
class QualityIssue:
    """Something wrong: in a word for a meter (`brief`), and in a sentence that says what to do."""

    brief: str
    sentence: str


def faults(sound: SoundQuality) -> list[QualityIssue]:
    """What is wrong with the sound, whoever speaks; the worst first."""
    found = []
    if sound.clipped > CLIPPED:
        found.append(
            QualityIssue(
                "clipping",
                f"the loudest parts are cut off in {sound.clipped:.0%} of the speech; turn the microphone down or step "
                "back",
            )
        )
    if sound.level_dbfs < QUIET_DBFS:
        found.append(
            QualityIssue(
                "too quiet", f"speech is at {sound.level_dbfs:.0f} dBFS; come nearer or turn the microphone up"
            )
        )
    if sound.snr_db is not None and sound.snr_db < NOISY_DB:
        found.append(
            QualityIssue(
                "noisy",
                f"speech is {sound.snr_db:.0f} dB louder than the pauses, and {NOISY_DB:g} dB are needed; find a "
                "quieter place or come nearer",
            )
        )
    return found


def too_short(speech_s: float) -> QualityIssue | None:
    """Whether there is too little speech in all."""
    if speech_s >= MIN_ENROLMENT_SPEECH_S:
        return None
    return QualityIssue(
        "too short", f"there are {speech_s:.1f} s of speech, and {MIN_ENROLMENT_SPEECH_S:g} s are needed; record more"
    )


def several(one_person: float | None) -> QualityIssue | None:
    """Whether more than one person speaks, by `one_person`."""
    if one_person is None or one_person >= ONE_PERSON:
        return None
    return QualityIssue("several voices", "more than one person seems to speak; record one alone")


def snr_db(powers: Floats, speech: Floats, *, on: float) -> float | None:
    """How much louder speech is than pauses, in dB; mean powers (frames,) and probabilities of speech (frames,).

    Pauses are judged by their median, since their ends hold the ends of words.
    """
    talk, pauses = powers[speech >= on], powers[speech < PAUSE]
    if len(talk) == 0 or len(pauses) < LEAST_PAUSES:
        return None
    noise = max(float(np.median(pauses)), 1e-12)
    return float(10 * np.log10(max(float(talk.mean()) - noise, 1e-12) / noise))


def clipped_share(peaks: Floats, *, speech_frames: int) -> float:
    """Frames whose peak touches the highest one; peaks (frames,) of magnitudes."""
    if not len(peaks) or not speech_frames or peaks.max() < LOUD:
        return 0.0
    return min(1.0, int((peaks >= CEILING * peaks.max()).sum() - 1) / speech_frames)


def one_person(pieces: Sequence[WindowEmbedding], scorer: Scorer) -> float | None:
    """Probability that two halves are one person's, at the split that sets them apart most; None for too little sound.

    The split is 2-means on directions, begun from the two x-vectors that are farthest from each other.
    """
    if len(pieces) < 2:  # noqa: PLR2004
        return None
    vectors = np.stack([unit(piece.vector) for piece in pieces])
    side = _split(vectors)
    one, other = ([piece for piece, where in zip(pieces, side, strict=True) if where == half] for half in (False, True))
    if min(_evidence_s(one), _evidence_s(other)) < STRANGER_S:
        return None
    less, more = sorted((_half(one), _half(other)), key=lambda half: half.evidence_s)
    return scorer.probability(less, more)


def _half(pieces: Sequence[WindowEmbedding]) -> Voice:
    vectors = [piece.vector for piece in pieces]
    return Voice(name="", exemplars=vectors, enrolled=False, evidence_s=_evidence_s(pieces))


def _evidence_s(pieces: Sequence[WindowEmbedding]) -> float:
    """Speech in all, what windows share counted once."""
    shared_s = max((piece.speech_s - piece.fresh_s for piece in pieces), default=0.0)
    return shared_s + sum(piece.fresh_s for piece in pieces)


def _split(vectors: Floats) -> NDArray[np.bool_]:
    """On which of two sides each of the directions (n, dimensions) is; (n,)."""
    cosines = vectors @ vectors.T
    one, other = vectors[list(np.unravel_index(int(cosines.argmin()), cosines.shape))]
    side = np.asarray(vectors @ other > vectors @ one)
    for _ in range(ROUNDS):
        if side.all() or not side.any():
            break
        one, other = unit(vectors[~side].mean(axis=0)), unit(vectors[side].mean(axis=0))
        before, side = side, np.asarray(vectors @ other > vectors @ one)
        if (before == side).all():
            break
    return side
