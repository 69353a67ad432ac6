"""Enrolment from recordings or a microphone into a profile, and verification of a recording against the profiles.

Cheap checks come first: names and files before models are loaded, models before a microphone is opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any, Protocol

from stream.app.assembly import load_models, model_for
from stream.errors import EnrolmentRefused, SettingsError
from stream.events import ModelRef
from stream.profiles.clean_speech import NOTHING_LEFT_OUT
from stream.profiles.enrolment_audio import EnrolmentAudio, speakers_issue
from stream.profiles.known_voices import read_enrolment
from stream.profiles.profile import EnrolledRecording, Kind, Profile, checked_name, voice_of, voices_for
from stream.profiles.quality import audio_issues, length_issue
from stream.profiles.similar import same_person_probabilities, similar_names, too_alike
from stream.profiles.store import ProfileStore, read_calibration, read_profiles
from stream.settings import ModelSettings, Settings
from stream.tracking.scoring import Scorer, build_scorer
from stream.tracking.voice import Voice
from stream.types import Model, Task

MIN_CONSISTENT_PROBABILITY = 0.05
"""Probability below which a recording is reported as unlike the earlier ones of the same profile."""


@dataclass(frozen=True, slots=True)
class EnrolmentTake:
    """Processed audio of one recording, and its origin."""

    audio: EnrolmentAudio
    kind: Kind
    origin: str


@dataclass(frozen=True, slots=True)
class EnrolmentResult:
    """What was stored. `similar` names profiles of other names with a very similar voice."""

    name: str
    recordings: tuple[EnrolledRecording, ...]
    similar: tuple[str, ...]
    unlike_before: bool  # the earlier recordings of this profile sound like another person


@dataclass(frozen=True, slots=True)
class Match:
    """Comparison of a voice with a profile: score, score at even odds, probability that both are one person's."""

    name: str
    score: float
    threshold: float
    probability: float


class EnrolmentSource(Protocol):
    """Source of enrolment audio."""

    async def record(self, models: EnrolmentModels) -> list[EnrolmentTake]:
        """Process all recordings. Raises `TonewatchError`."""
        ...


class EnrolmentModels:
    """The speaker model, the speech detector and, if the settings name one, the segmentation model, loaded once.

    Without `audio` to process, segmentation is not needed.
    """

    def __init__(self, settings: Settings, *, audio: bool = True) -> None:
        unset = ModelSettings(name="", window_s=3.0, hop_s=1.0)
        left_out = ("emotion", "identity") if audio else ("emotion", "identity", "overlap")
        chosen = settings.models.model_copy(update=dict.fromkeys(left_out, unset))
        if not chosen.speaker.name:
            raise SettingsError("enrolment needs a speaker model; set models.speaker.name")
        self.settings = settings.model_copy(update={"models": chosen})
        loaded, self.detector, _ = load_models(self.settings)
        self.model: Model = loaded[0]
        self.segmentation: Model | None = model_for(Task.OVERLAP, loaded)

    @property
    def scorer(self) -> Scorer:
        """The scorer with the model's own calibration."""
        return build_scorer(self.model.info, self.settings.speakers.threshold)

    @property
    def fitted_scorer(self) -> Scorer:
        """The scorer with the calibration of `tonewatch calibrate`, if there is one."""
        info, speakers = self.model.info, self.settings.speakers
        calibration = read_calibration(info, speakers)
        return build_scorer(info if calibration is None else calibration.applied(info), speakers.threshold)

    @property
    def ref(self) -> ModelRef:
        """Name and revision of the speaker model."""
        return ModelRef(name=self.model.info.name, revision=self.model.info.revision)

    def new_audio(self, rate_hz: int) -> EnrolmentAudio:
        """Return an empty enrolment for audio at this rate."""
        return EnrolmentAudio(
            settings=self.settings,
            model=self.model,
            detector=self.detector,
            rate_hz=rate_hz,
            segmentation=self.segmentation,
        )


class FileEnrolment:
    """Recordings from files, in order."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    async def record(self, models: EnrolmentModels) -> list[EnrolmentTake]:
        """Process all files. Raises `SourceError`."""
        return [await read_take(path, models) for path in self._paths]


async def read_take(path: Path, models: EnrolmentModels) -> EnrolmentTake:
    """Process one file. Raises `SourceError`."""
    audio = await read_enrolment(
        str(path),
        settings=models.settings,
        model=models.model,
        detector=models.detector,
        segmentation=models.segmentation,
    )
    return EnrolmentTake(audio, "file", path.name)


def enrol(
    name: str,
    source: EnrolmentSource,
    *,
    models: EnrolmentModels,
    path: Path,
    note: str | None,
    confirm: Callable[[str], bool] = lambda _: False,
) -> EnrolmentResult:
    """Process the audio of a source, check its quality and store it. Raises `TonewatchError`.

    A voice that is enrolled already under another name is refused, unless `confirm` returns True for what is wrong.
    """
    takes = asyncio.run(source.record(models))
    require_quality(takes, models)
    recordings = tuple(
        take.audio.recording(kind=take.kind, origin=take.origin) for take in takes if take.audio.exemplars
    )
    known, _ = voices_for(read_profiles(path), models.ref)
    probabilities = same_person_probabilities(voice_of("", recordings), known, models.scorer)
    similar = similar_names(name, probabilities)
    if similar and not confirm(too_alike(name, similar)):
        raise EnrolmentRefused(
            f"nothing was stored: {too_alike(name, similar)}; enrol as {similar[0]!r}, or add --allow-similar if these "
            "are two people"
        )
    with ProfileStore(path, create=True) as store:
        store.add(name, *recordings, note=note)
    unlike_before = probabilities.get(checked_name(name), 1.0) < MIN_CONSISTENT_PROBABILITY
    return EnrolmentResult(name, recordings, similar, unlike_before)


def require_quality(takes: Sequence[EnrolmentTake], models: EnrolmentModels) -> None:
    """Check the speech of all takes, each take by itself, and that one person speaks. Raises `EnrolmentRefused`."""
    audios = [take.audio for take in takes]
    left_out = sum((audio.left_out for audio in audios), NOTHING_LEFT_OUT)
    mixed = speakers_issue(audios, models.scorer)
    short = length_issue(sum(audio.speech_s for audio in audios if audio.exemplars), left_out)
    if short is not None and left_out == NOTHING_LEFT_OUT:
        raise EnrolmentRefused(f"nothing was stored: {short.message}")  # too little to find other defects
    found = [f"{take.origin}: {issue.message}" for take in takes for issue in audio_issues(take.audio.quality())]
    found += [issue.message for issue in (mixed, short) if issue is not None]
    if found:
        raise EnrolmentRefused(f"nothing was stored: {'. '.join(found)}")


def rank_profiles(take: EnrolmentTake, profiles: Sequence[Profile], models: EnrolmentModels) -> list[Match]:
    """Compare a voice with all profiles of this model, most probable first. Raises `EnrolmentRefused`."""
    if not take.audio.exemplars:
        raise EnrolmentRefused(
            f"{take.audio.speech_s:.1f} s of speech in {take.origin}, too little to compare; give a longer recording"
        )
    recording = take.audio.recording(kind=take.kind, origin=take.origin)
    return _rank([recording], voices_for(profiles, models.ref)[0], models.fitted_scorer)


def _rank(recordings: Sequence[EnrolledRecording], known: Sequence[Voice], scorer: Scorer) -> list[Match]:
    voice = voice_of("", recordings)
    scores = scorer.scores(voice.centroid, known)
    log_odds = scorer.log_odds(scores, known, speech_s=voice.evidence_s)
    found = [
        Match(
            name=other.name,
            score=float(score),
            threshold=scorer.calibration.score_at_even_odds(speech_s=voice.evidence_s, profile_s=other.evidence_s),
            probability=1 / (1 + exp(-max(-50.0, min(50.0, float(odds))))),
        )
        for other, score, odds in zip(known, scores, log_odds, strict=True)
    ]
    return sorted(found, key=lambda match: -match.probability)


def verify(file: Path, *, models: EnrolmentModels, path: Path) -> VerificationResult:
    """Identify the speaker of a recording. Raises `SourceError`, `ProfilesError` or `EnrolmentRefused`."""
    take = asyncio.run(read_take(file, models))
    if (several := speakers_issue([take.audio], models.scorer)) is not None:
        raise EnrolmentRefused(f"{file}: {several.message}")
    matches = rank_profiles(take, read_profiles(path), models)
    return VerificationResult(
        matches=tuple(matches),
        required_probability=models.settings.speakers.match,
        speech_s=take.audio.speech_s,
    )


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """Profiles by probability; the first one matches if it reaches `required_probability`."""

    matches: tuple[Match, ...]
    required_probability: float
    speech_s: float

    @property
    def name(self) -> str | None:
        """The matching profile, None without one."""
        best = self.matches[0] if self.matches else None
        return best.name if best is not None and best.probability >= self.required_probability else None

    def message(self) -> str:
        """Return the result as one line of text."""
        if not self.matches:
            return "no match: there are no profiles of this model; `tonewatch profiles list` shows what to do"
        best = self.matches[0]
        outcome = f"match: {self.name}" if self.name is not None else f"no match; closest is {best.name}"
        second = f"; next is {self.matches[1].name} ({self.matches[1].probability:.2f})" if self.matches[1:] else ""
        return (
            f"{outcome} (probability {best.probability:.2f}, {self.required_probability:g} required; score "
            f"{best.score:.2f}, even odds at {best.threshold:.2f}; {self.speech_s:.1f} s of speech){second}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the result for JSON; `score` and `threshold` are AS-norm scores where the model has a cohort."""
        return {
            "speaker": self.name,
            "probability_needed": self.required_probability,
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
