"""Profile of an enrolled person: x-vectors, each bound to the model that computed it (no I/O).

X-vectors of different models, or of two revisions of one model, are not comparable and are never compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from stream.errors import ProfilesError
from stream.events import ModelRef, text
from stream.tracking.voice import Vector, Voice
from stream.types import ModelInfo

Kind = Literal["file", "microphone", "stream"]
"""Origin of the audio."""

MAX_NOTE_LETTERS = 2_000

_SESSION_VOICE = re.compile(r"S[0-9]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Exemplar:
    """The x-vector of one window, shape (dimensions,), and the seconds of speech in the window."""

    vector: Vector = field(repr=False)  # biometric data is never printed
    speech_s: float


@dataclass(frozen=True, slots=True)
class EnrolledRecording:
    """One enrolment: the windows of one recording, embedded by one model.

    Windows may overlap, so `speech_s`, the speech of the whole recording, may be less than the sum over the exemplars.
    `origin` names the file, microphone or stream.
    """

    model: ModelRef
    kind: Kind
    origin: str
    speech_s: float
    exemplars: tuple[Exemplar, ...]
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        """Validate vectors and durations. Raises `ProfilesError`."""
        vectors = [exemplar.vector for exemplar in self.exemplars]
        if not vectors or any(vector.ndim != 1 or vector.shape != vectors[0].shape for vector in vectors):
            raise ProfilesError("a recording needs x-vectors, all of one length")
        if not all(np.isfinite(vector).all() and vector.any() for vector in vectors):
            raise ProfilesError("an x-vector must hold finite numbers that are not all zero")
        if not self.speech_s > 0 or not all(exemplar.speech_s > 0 for exemplar in self.exemplars):
            raise ProfilesError("a recording needs more than 0 s of speech")


@dataclass(frozen=True, slots=True)
class Profile:
    """One enrolled person. `note` records the consent; times are UTC."""

    name: str
    recordings: tuple[EnrolledRecording, ...]
    created: datetime
    updated: datetime
    note: str = ""

    @property
    def models(self) -> tuple[ModelRef, ...]:
        """The models of the recordings, in order of enrolment."""
        return tuple(dict.fromkeys(recording.model for recording in self.recordings))

    def recordings_by(self, model: ModelRef) -> tuple[EnrolledRecording, ...]:
        """Return the recordings embedded by `model` at its revision."""
        return tuple(recording for recording in self.recordings if recording.model == model)

    def voice(self, model: ModelRef) -> Voice | None:
        """Return the voice in the space of `model`, None without recordings by that model."""
        recordings = self.recordings_by(model)
        if not recordings:
            return None
        return voice_of(self.name, recordings)


@dataclass(frozen=True, slots=True)
class FittedCalibration:
    """Calibration of a speaker model, fitted on the profiles.

    `weights` have the form of `ModelInfo.calibration`; `threshold` is the score at even odds for a typical window.
    `genuine` and `impostor` count the scores of the fit, `fitted` is its time (UTC); later changes of profiles are not
    included.
    """

    model: ModelRef
    weights: tuple[float, ...]
    threshold: float | None
    genuine: int
    impostor: int
    fitted: datetime = field(default_factory=lambda: datetime.now(UTC))

    def applied(self, info: ModelInfo) -> ModelInfo:
        """Return `info` with this calibration.

        `ModelInfo.threshold` is a cosine, so it is replaced only where scores are cosines (models without a cohort).
        """
        slope, even_odds, reliability_s = self.weights
        threshold = info.threshold if self.threshold is None or info.cohort is not None else self.threshold
        return replace(info, calibration=(slope, even_odds, reliability_s), threshold=threshold)


def checked_name(name: str) -> str:
    """Return the name as it is stored: NFC, without surrounding spaces. Raises `ProfilesError`."""
    try:
        name = text.checked_name(name)
    except ValueError as error:
        raise ProfilesError(str(error)) from None
    if _SESSION_VOICE.fullmatch(name):
        raise ProfilesError(f"the name {name!r} is reserved for voices discovered in a stream; choose another name")
    return name


def checked_note(note: str) -> str:
    """Return the note if it is short enough. Raises `ProfilesError`."""
    if len(note) > MAX_NOTE_LETTERS:
        raise ProfilesError(f"the note has {len(note)} letters, at most {MAX_NOTE_LETTERS} allowed; shorten it")
    return note


def voice_of(name: str, recordings: Sequence[EnrolledRecording]) -> Voice:
    """Return the enrolled voice of recordings by one model."""
    return Voice(
        name=name,
        exemplars=[exemplar.vector for recording in recordings for exemplar in recording.exemplars],
        enrolled=True,
        evidence_s=sum(recording.speech_s for recording in recordings),
    )


def voices_for(profiles: Iterable[Profile], model: ModelRef) -> tuple[list[Voice], list[str]]:
    """Return the voices `model` can recognise, and the names of profiles without recordings by that model."""
    known: list[Voice] = []
    left_out: list[str] = []
    for profile in profiles:
        voice = profile.voice(model)
        if voice is None:
            left_out.append(profile.name)
        else:
            known.append(voice)
    return known, left_out
