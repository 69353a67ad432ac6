"""From recordings or a microphone to a stored profile, and from a recording to the person it is of.

Whatever can be refused cheaply is refused first: names and files before models are loaded, models before a microphone
is opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any, Protocol

from stream.app.assembly import load_models
from stream.errors import EnrolmentRefused, SettingsError
from stream.events import ModelRef
from stream.profiles.enrolment_audio import EnrolmentAudio
from stream.profiles.known_voices import hear_file
from stream.profiles.profile import EnrolledRecording, Kind, Profile, voice_of, voices
from stream.profiles.quality import faults, one_person, several, too_short
from stream.profiles.store import ProfileStore, calibration_of, profiles_in
from stream.settings import ModelSettings, Settings
from stream.tracking.scoring import Scorer
from stream.tracking.stream_tracker import scorer
from stream.tracking.voice import Voice
from stream.types import Model

ALIKE = 0.95
"""Probability from which two people's voices are said to be very like each other."""

UNLIKE = 0.05
"""Probability below which somebody sounds unlike the person who was enrolled under the name."""


@dataclass(frozen=True, slots=True)
class EnrolmentTake:
    """One piece of sound, and where it comes from."""

    take: EnrolmentAudio
    kind: Kind
    origin: str


@dataclass(frozen=True, slots=True)
class EnrolmentResult:
    """What was stored; `alike` are people enrolled under other names whose voices are very like it."""

    name: str
    recordings: tuple[EnrolledRecording, ...]
    alike: tuple[str, ...]
    unlike_before: bool  # the profile there was sounds like somebody else


@dataclass(frozen=True, slots=True)
class Match:
    """How near a voice is to a person: the score, the score at even odds, and the probability that it is theirs."""

    name: str
    score: float
    threshold: float
    probability: float


class EnrolmentSource(Protocol):
    """Where the sound of an enrolment comes from."""

    async def listen(self, ears: EnrolmentModels) -> list[EnrolmentTake]:
        """Hear all of it. Raises `TonewatchError`."""
        ...


class EnrolmentModels:
    """The speaker model and the speech detector, loaded once."""

    def __init__(self, settings: Settings) -> None:
        nobody = ModelSettings(name="", window_s=3.0, hop_s=1.0)
        models = settings.models.model_copy(update={"emotion": nobody, "identity": nobody})
        if not models.speaker.name:
            raise SettingsError("enrolment needs a speaker model; set models.speaker.name")
        self.settings = settings.model_copy(update={"models": models})
        loaded, self.detector, _ = load_models(self.settings)
        self.model: Model = loaded[0]

    @property
    def scorer(self) -> Scorer:
        """What compares its x-vectors."""
        return scorer(self.model.info, self.settings.speakers.threshold)

    @property
    def calibrated(self) -> Scorer:
        """The same by what `tonewatch calibrate` found on the people themselves, if it did."""
        info, speakers = self.model.info, self.settings.speakers
        found = calibration_of(info, speakers)
        return scorer(info if found is None else found.applied(info), speakers.threshold)

    @property
    def ref(self) -> ModelRef:
        """Which model hears, at which revision."""
        return ModelRef(name=self.model.info.name, revision=self.model.info.revision)

    def take(self, rate_hz: int) -> EnrolmentAudio:
        """For sound at this rate."""
        return EnrolmentAudio(settings=self.settings, model=self.model, detector=self.detector, rate_hz=rate_hz)


class FileEnrolment:
    """Recordings, one after the other."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    async def listen(self, ears: EnrolmentModels) -> list[EnrolmentTake]:
        """Hear them all. Raises `SourceError`."""
        return [await heard(path, ears) for path in self._paths]


async def heard(path: Path, ears: EnrolmentModels) -> EnrolmentTake:
    """One recording. Raises `SourceError`."""
    take = await hear_file(str(path), settings=ears.settings, model=ears.model, detector=ears.detector)
    return EnrolmentTake(take, "file", path.name)


def enrol(
    name: str, source: EnrolmentSource, *, ears: EnrolmentModels, path: Path, note: str | None
) -> EnrolmentResult:
    """Hear somebody, judge the sound, and store it. Raises `EnrolmentRefused` or another `TonewatchError`."""
    taken = asyncio.run(source.listen(ears))
    judge(taken, ears)
    recordings = tuple(one.take.recording(kind=one.kind, origin=one.origin) for one in taken if one.take.exemplars)
    with ProfileStore(path, create=True) as store:
        before = store.profiles()
        store.add(name, *recordings, note=note)
    return _compared(name, recordings, before, ears)


def judge(taken: Sequence[EnrolmentTake], ears: EnrolmentModels) -> None:
    """Raises `EnrolmentRefused`: too little speech in all, or what is wrong with each piece, or with all together."""
    short = too_short(sum(one.take.speech_s for one in taken if one.take.exemplars))  # bursts are no window's speech
    if short is not None:
        raise EnrolmentRefused(f"nothing was stored: {short.sentence}")
    found = [f"{one.origin}: {fault.sentence}" for one in taken for fault in faults(one.take.sound())]
    mixed = several(one_person([piece for one in taken for piece in one.take.pieces], ears.scorer))
    if mixed is not None:
        found.append(mixed.sentence)
    if found:
        raise EnrolmentRefused(f"nothing was stored: {'. '.join(found)}")


def matches(taken: EnrolmentTake, profiles: Sequence[Profile], ears: EnrolmentModels) -> list[Match]:
    """How near a voice is to everybody this model knows, the nearest first. Raises `EnrolmentRefused`."""
    return _matches([_recording(taken)], voices(profiles, ears.ref)[0], ears.calibrated)


def _recording(taken: EnrolmentTake) -> EnrolledRecording:
    if not taken.take.exemplars:
        raise EnrolmentRefused(
            f"{taken.origin} holds {taken.take.speech_s:.1f} s of speech, too little to tell a voice by"
        )
    return taken.take.recording(kind=taken.kind, origin=taken.origin)


def _matches(heard: Sequence[EnrolledRecording], people: Sequence[Voice], scorer: Scorer) -> list[Match]:
    voice = voice_of("", heard)
    scores = scorer.scores(voice.centroid, people)
    odds = scorer.log_odds(scores, people, speech_s=voice.evidence_s)
    found = [
        Match(
            name=person.name,
            score=float(score),
            threshold=scorer.calibration.score_at_even_odds(speech_s=voice.evidence_s, profile_s=person.evidence_s),
            probability=1 / (1 + exp(-max(-50.0, min(50.0, float(odd))))),
        )
        for person, score, odd in zip(people, scores, odds, strict=True)
    ]
    return sorted(found, key=lambda match: -match.probability)


def _compared(
    name: str, recordings: Sequence[EnrolledRecording], before: Sequence[Profile], ears: EnrolmentModels
) -> EnrolmentResult:
    people, _ = voices(before, ears.ref)
    near = {match.name: match.probability for match in _matches(recordings, people, ears.scorer)}
    return EnrolmentResult(
        name=name,
        recordings=tuple(recordings),
        alike=tuple(other for other, probability in near.items() if other != name and probability >= ALIKE),
        unlike_before=near.get(name, 1.0) < UNLIKE,
    )


def verify(file: Path, *, ears: EnrolmentModels, path: Path) -> VerificationResult:
    """Whose voice a recording holds. Raises `SourceError`, `ProfilesError` or `EnrolmentRefused`."""
    taken = asyncio.run(heard(file, ears))
    found = matches(taken, profiles_in(path), ears)
    return VerificationResult(matches=tuple(found), needed=ears.settings.speakers.match, speech_s=taken.take.speech_s)


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """Whose voice it is: the nearest person's at the `needed` probability, else nobody's."""

    matches: tuple[Match, ...]
    needed: float
    speech_s: float

    @property
    def name(self) -> str | None:
        """The person; None for nobody who is enrolled."""
        return self.matches[0].name if self.matches and self.matches[0].probability >= self.needed else None

    def sentence(self) -> str:
        """For people."""
        if not self.matches:
            return "it is nobody who is enrolled: this model has heard nobody yet"
        best = self.matches[0]
        who = (
            f"it is {self.name}"
            if self.name is not None
            else f"it is nobody who is enrolled; the nearest is {best.name}"
        )
        second = f"; runner-up {self.matches[1].name} ({self.matches[1].probability:.2f})" if self.matches[1:] else ""
        return (
            f"{who}: probability {best.probability:.2f} ({self.needed:g} needed), score {best.score:.2f} "
            f"(even odds at {best.threshold:.2f}), {self.speech_s:.1f} s of speech{second}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For programs; `score` and `threshold` are the model's own (AS-norm where it has a cohort)."""
        return {
            "speaker": self.name,
            "probability_needed": self.needed,
            "speech_s": round(self.speech_s, 3),
            "matches": [
                {
                    "speaker": match.name,
                    "probability": round(match.probability, 4),
                    "score": round(match.score, 4),
                    "threshold": round(match.threshold, 4),
                }
                for match in self.matches
            ],
        }
