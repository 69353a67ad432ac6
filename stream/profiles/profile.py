"""What is kept of a person: x-vectors, each bound to the model that made it (no I/O).

X-vectors of different models, or of two revisions of one, say nothing about each other and are never compared.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, get_args

import numpy as np

from stream.errors import ProfilesError
from stream.events import ModelRef
from stream.tracking.voice import Vector, Voice
from stream.types import ModelInfo

Kind = Literal["file", "microphone", "stream"]
"""Where the sound came from."""

KINDS: tuple[Kind, ...] = get_args(Kind)
LONGEST_NAME = 64
LONGEST_NOTE = 2_000

_MET = re.compile(r"S[0-9]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One window's x-vector, shape (dimensions,), and the seconds of speech in the window."""

    vector: Vector = field(repr=False)  # a voice is never printed
    speech_s: float


@dataclass(frozen=True, slots=True)
class EnrolledRecording:
    """One enrolment: windows of one piece of sound, heard by one model.

    Windows may overlap, so `speech_s`, the speech of the whole, may be less than the exemplars' sum. `origin` names the
    file, microphone or stream.
    """

    model: ModelRef
    kind: Kind
    origin: str
    speech_s: float
    exemplars: tuple[Exemplar, ...]
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        """Refuse what could not be a voice. Raises `ProfilesError`."""
        vectors = [exemplar.vector for exemplar in self.exemplars]
        if not vectors or any(vector.ndim != 1 or vector.shape != vectors[0].shape for vector in vectors):
            raise ProfilesError("a recording needs x-vectors, all of one length")
        if not all(np.isfinite(vector).all() and vector.any() for vector in vectors):
            raise ProfilesError("an x-vector must hold finite numbers that are not all zero")
        if not self.speech_s > 0 or not all(exemplar.speech_s > 0 for exemplar in self.exemplars):
            raise ProfilesError("a recording needs more than 0 s of speech")


@dataclass(frozen=True, slots=True)
class Profile:
    """One person. `note` says what they agreed to; times are UTC."""

    name: str
    recordings: tuple[EnrolledRecording, ...]
    created: datetime
    updated: datetime
    note: str = ""

    @property
    def models(self) -> tuple[ModelRef, ...]:
        """Those their voice was heard by, in order of enrolment."""
        return tuple(dict.fromkeys(recording.model for recording in self.recordings))

    def of(self, model: ModelRef) -> tuple[EnrolledRecording, ...]:
        """What this model, at this revision, heard of them."""
        return tuple(recording for recording in self.recordings if recording.model == model)

    def voice(self, model: ModelRef) -> Voice | None:
        """Their voice to this model; None if it has never heard them."""
        recordings = self.of(model)
        if not recordings:
            return None
        return voice_of(self.name, recordings)


@dataclass(frozen=True, slots=True)
class FittedCalibration:
    """A model's calibration fitted on the profiles themselves.

    `weights` are in the form of `ModelInfo.calibration`, `threshold` is the score from which on a voice is called by a
    name. It was fitted on so many `genuine` and `impostor` scores at `fitted` (UTC); profiles updated later than that
    were not among them.
    """

    model: ModelRef
    weights: tuple[float, ...]
    threshold: float | None
    genuine: int
    impostor: int
    fitted: datetime = field(default_factory=lambda: datetime.now(UTC))

    def applied(self, info: ModelInfo) -> ModelInfo:
        """What the model says of itself, with this calibration; a threshold is told as a cosine, or as the model's."""
        slope, even_odds, reliability_s = self.weights
        threshold = info.threshold if self.threshold is None or info.cohort is not None else self.threshold
        return replace(info, calibration=(slope, even_odds, reliability_s), threshold=threshold)


def checked_name(name: str) -> str:
    """A name as it is kept: composed, without spaces around it. Raises `ProfilesError`."""
    name = unicodedata.normalize("NFC", name).strip()
    if not 0 < len(name) <= LONGEST_NAME or any(unicodedata.category(letter)[0] == "C" for letter in name):
        raise ProfilesError(f"a name has 1 to {LONGEST_NAME} letters and no control characters, not {name!r}")
    if _MET.fullmatch(name):
        raise ProfilesError(f"{name} is what a stream calls somebody it has met; choose another name")
    return name


def checked_note(note: str) -> str:
    """A note as it is kept. Raises `ProfilesError`."""
    if len(note) > LONGEST_NOTE:
        raise ProfilesError(f"a note has {LONGEST_NOTE} letters at most, this one {len(note)}; shorten it")
    return note


def voice_of(name: str, recordings: Sequence[EnrolledRecording]) -> Voice:
    """The voice of recordings that one model heard."""
    return Voice(
        name=name,
        exemplars=[exemplar.vector for recording in recordings for exemplar in recording.exemplars],
        enrolled=True,
        evidence_s=sum(recording.speech_s for recording in recordings),
    )


def voices(profiles: Iterable[Profile], model: ModelRef) -> tuple[list[Voice], list[str]]:
    """Those this model can know, and the names of those it cannot: other models, or other revisions, heard them."""
    known: list[Voice] = []
    unknown: list[str] = []
    for profile in profiles:
        voice = profile.voice(model)
        if voice is None:
            unknown.append(profile.name)
        else:
            known.append(voice)
    return known, unknown
