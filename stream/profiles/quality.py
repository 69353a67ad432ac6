"""Quality of enrolment audio: level, noise, clipping, amount of speech, number of speakers (pure).

A profile is made once and compared for years, so audio that would spoil it is rejected.
`python -m scripts.enrolment_quality` measures what the limits here accept and reject.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.profiles.clean_speech import NOTHING_LEFT_OUT, LeftOut
from stream.settings.speakers import MIN_ENROLMENT_SPEECH_S
from stream.tracking.scoring import Scorer
from stream.tracking.voice import Vector, Voice, unit

MIN_LEVEL_DBFS = -50.0
"""Minimum level of speech; below it the converter's own noise dominates."""

MIN_SNR_DB = 10.0
"""Minimum ratio of speech to the noise in pauses."""

MAX_CLIPPED_SHARE = 0.1
"""Share of speech frames that may reach the ceiling: natural speech has one highest peak, clipped speech has many."""

CEILING_RATIO = 0.99
"""A frame reaches the ceiling if its peak is at least this part of the highest peak."""

MIN_CEILING = 0.05
"""Highest peak, in full scale, below which nothing counts as clipped."""

MIN_NAMED_S = 0.1
"""Speech left out, in seconds, from which a message names it."""

MAX_PAUSE_PROBABILITY = 0.1
"""Speech probability below which a frame is a pause."""

MIN_PAUSE_FRAMES = 10
"""Frames of pause needed to estimate the noise."""

MIN_SECOND_SPEAKER_S = 1.5
"""Speech of a second person that is detected."""

MIN_SAME_SPEAKER_PROBABILITY = 0.3
"""Below this probability the two most different halves count as two people."""

MAX_CLUSTERING_ROUNDS = 10
"""Limit for 2-means."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SoundQuality:
    """Measured quality. `snr_db` is None if there are too few pauses to estimate the noise."""

    level_dbfs: float
    snr_db: float | None
    clipped: float


@dataclass(frozen=True, slots=True)
class WindowEmbedding:
    """X-vector of one window, shape (dimensions,), its seconds of speech, and those not in the window before.

    With segmentation it is of one `track`.
    """

    vector: Vector = field(repr=False)
    speech_s: float
    new_speech_s: float
    track: int | None = None


@dataclass(frozen=True, slots=True)
class QualityIssue:
    """A defect of enrolment audio: a short `label` for the level meter, and a `message` that says what to do."""

    label: str
    message: str


def audio_issues(quality: SoundQuality) -> list[QualityIssue]:
    """Return the defects of the recording, worst first."""
    found = []
    if quality.clipped > MAX_CLIPPED_SHARE:
        found.append(
            QualityIssue("clipping", f"{quality.clipped:.0%} of the speech is clipped; lower the gain or step back")
        )
    if quality.level_dbfs < MIN_LEVEL_DBFS:
        found.append(
            QualityIssue(
                "too quiet",
                f"the speech level is {quality.level_dbfs:.0f} dBFS, at least {MIN_LEVEL_DBFS:g} dBFS needed; "
                "move closer or raise the gain",
            )
        )
    if quality.snr_db is not None and quality.snr_db < MIN_SNR_DB:
        found.append(
            QualityIssue(
                "noisy",
                f"the signal-to-noise ratio is {quality.snr_db:.0f} dB, at least {MIN_SNR_DB:g} dB needed; "
                "find a quieter place or move closer",
            )
        )
    return found


def length_issue(speech_s: float, left_out: LeftOut = NOTHING_LEFT_OUT) -> QualityIssue | None:
    """Return the defect if there is too little clean speech in all, with what was `left_out`."""
    if speech_s >= MIN_ENROLMENT_SPEECH_S:
        return None
    lengths = (
        ("clipped", left_out.clipped_s),
        ("overlapped", left_out.overlapped_s),
        ("of other people", left_out.others_s),
    )
    parts = [f"{length_s:.1f} s {what}" for what, length_s in lengths if length_s >= MIN_NAMED_S]
    without = f" without {', '.join(parts)}" if parts else ""
    return QualityIssue(
        "too short", f"{speech_s:.1f} s of speech{without}, at least {MIN_ENROLMENT_SPEECH_S:g} s needed; record more"
    )


def speaker_issue(probability: float | None) -> QualityIssue | None:
    """Return the defect if `same_speaker_probability` indicates several people."""
    if probability is None or probability >= MIN_SAME_SPEAKER_PROBABILITY:
        return None
    return QualityIssue("several voices", "more than one person seems to speak; record one person alone")


def snr_db(powers: Floats, speech: Floats, *, on: float) -> float | None:
    """Return the ratio of speech to noise in dB, from mean powers (frames,) and speech probabilities (frames,).

    The noise is the median over the pauses, since their edges contain the ends of words.
    """
    voiced, pauses = powers[speech >= on], powers[speech < MAX_PAUSE_PROBABILITY]
    if len(voiced) == 0 or len(pauses) < MIN_PAUSE_FRAMES:
        return None
    noise = max(float(np.median(pauses)), 1e-12)
    return float(10 * np.log10(max(float(voiced.mean()) - noise, 1e-12) / noise))


def clipped_share(peaks: Floats, *, speech_frames: int) -> float:
    """Return the share of speech frames whose peak reaches the highest one, from peak magnitudes (frames,)."""
    if not len(peaks) or not speech_frames or peaks.max() < MIN_CEILING:
        return 0.0
    return min(1.0, int((peaks >= CEILING_RATIO * peaks.max()).sum() - 1) / speech_frames)


def same_speaker_probability(embeddings: Sequence[WindowEmbedding], scorer: Scorer) -> float | None:
    """Return the probability that the two most different halves are one person's; None with too little speech."""
    halves = different_halves(embeddings)
    if halves is None:
        return None
    less, more = sorted((_voice_of(half) for half in halves), key=lambda half: half.evidence_s)
    return scorer.probability(less, more)


def different_halves(
    embeddings: Sequence[WindowEmbedding],
) -> tuple[list[WindowEmbedding], list[WindowEmbedding]] | None:
    """Return the two most different halves; None if one has too little speech.

    They come from 2-means on directions, started from the two x-vectors that are farthest apart.
    """
    if len(embeddings) < 2:  # noqa: PLR2004
        return None
    second_half = _split(np.stack([unit(one.vector) for one in embeddings]))
    one, other = (
        [embedding for embedding, second in zip(embeddings, second_half, strict=True) if second == half]
        for half in (False, True)
    )
    return None if min(_evidence_s(one), _evidence_s(other)) < MIN_SECOND_SPEAKER_S else (one, other)


def _voice_of(embeddings: Sequence[WindowEmbedding]) -> Voice:
    vectors = [embedding.vector for embedding in embeddings]
    return Voice(name="", exemplars=vectors, enrolled=False, evidence_s=_evidence_s(embeddings))


def _evidence_s(embeddings: Sequence[WindowEmbedding]) -> float:
    """Return the speech of all windows, with speech that overlapping windows share counted once."""
    shared_s = max((one.speech_s - one.new_speech_s for one in embeddings), default=0.0)
    return shared_s + sum(one.new_speech_s for one in embeddings)


def _split(vectors: Floats) -> NDArray[np.bool_]:
    """Split directions (n, dimensions) into two clusters; (n,), True for the second."""
    cosines = vectors @ vectors.T
    one, other = vectors[list(np.unravel_index(int(cosines.argmin()), cosines.shape))]
    second = np.asarray(vectors @ other > vectors @ one)
    for _ in range(MAX_CLUSTERING_ROUNDS):
        if second.all() or not second.any():
            break
        one, other = unit(vectors[~second].mean(axis=0)), unit(vectors[second].mean(axis=0))
        before, second = second, np.asarray(vectors @ other > vectors @ one)
        if (before == second).all():
            break
    return second
