"""Genuine and impostor scores of enrolled people, computed as live audio is scored (pure).

A window is never scored against a profile that contains it or audio it shares. With several recordings it is scored
against the other ones (leave-one-recording-out), with a single one against the windows that do not overlap it.
Impostors are the windows of all other people; with few people the speakers of the model's cohort are added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stream.events import ModelRef
from stream.profiles.profile import EnrolledRecording, Exemplar, Profile
from stream.tracking.calibration import Calibration, ScoreTrial
from stream.tracking.scoring import Cohort, Scorer
from stream.tracking.voice import Voice, unit
from stream.types import ModelInfo

MIN_PROFILES = 3
"""With fewer profiles, cohort speakers become impostors; recorded by other microphones, they are easier to reject."""

COHORT_SPEAKER = "a speaker of the cohort"


@dataclass(frozen=True, slots=True)
class LabelledTrial:
    """A trial with the names of profile and speaker; `one_recording` if both parts are of a single recording."""

    trial: ScoreTrial
    profile: str
    speaker: str
    one_recording: bool = False


class TrialScorer:
    """Scores windows against voices with the scores of live audio."""

    def __init__(self, model: ModelInfo) -> None:
        self._cohort = Cohort.of(model)
        self._scorer = _uncalibrated(self._cohort)

    def score(self, exemplar: Exemplar, voice: Voice, *, speaker: str, one_recording: bool = False) -> LabelledTrial:
        """Score one window of `speaker` against one voice."""
        score = float(self._scorer.scores(unit(exemplar.vector), [voice])[0])
        trial = ScoreTrial(score, exemplar.speech_s, voice.evidence_s, speaker == voice.name)
        return LabelledTrial(trial, voice.name, speaker, one_recording)

    def cohort_trials(self, voices: Sequence[Voice], *, speech_s: float) -> Iterator[LabelledTrial]:
        """Score the cohort's speakers as windows of `speech_s` seconds, each against a cohort without that speaker."""
        if self._cohort is None:
            return
        for person, vector in enumerate(self._cohort.people):
            scores = _uncalibrated(self._cohort.without(person)).scores(vector, voices)
            for voice, score in zip(voices, scores, strict=True):
                trial = ScoreTrial(float(score), speech_s, voice.evidence_s, same=False)
                yield LabelledTrial(trial, voice.name, COHORT_SPEAKER)


def score_profiles(
    profiles: Iterable[Profile], model: ModelInfo, *, tests: Sequence[tuple[str, EnrolledRecording]] = ()
) -> list[LabelledTrial]:
    """Return all trials of the profiles with recordings by `model`; `tests` are further recordings, by profile name."""
    ref = ModelRef(name=model.name, revision=model.revision)
    known = [(profile, voice) for profile in profiles if (voice := profile.voice(ref)) is not None]
    scorer, voices = TrialScorer(model), [voice for _, voice in known]
    trials: list[LabelledTrial] = []
    for profile, _ in known:
        recordings = profile.recordings_by(ref)
        trials += _genuine(scorer, profile.name, recordings)
        windows = [exemplar for recording in recordings for exemplar in recording.exemplars]
        trials += _against(scorer, windows, profile.name, [voice for voice in voices if voice.name != profile.name])
    for name, recording in tests:
        trials += _against(scorer, recording.exemplars, name, voices)
    if known and len(known) < MIN_PROFILES:
        lengths_s = [
            exemplar.speech_s
            for profile, _ in known
            for recording in profile.recordings_by(ref)
            for exemplar in recording.exemplars
        ]
        trials += scorer.cohort_trials(voices, speech_s=float(np.median(lengths_s)))
    return trials


def _against(
    scorer: TrialScorer, windows: Iterable[Exemplar], speaker: str, voices: Sequence[Voice]
) -> list[LabelledTrial]:
    return [scorer.score(exemplar, voice, speaker=speaker) for exemplar in windows for voice in voices]


def _genuine(scorer: TrialScorer, name: str, recordings: Sequence[EnrolledRecording]) -> Iterator[LabelledTrial]:
    """Score the windows of one person against the rest of the same person's audio."""
    if len(recordings) == 1:
        (only,) = recordings
        for place, exemplar in enumerate(only.exemplars):
            rest = [other for at, other in enumerate(only.exemplars) if abs(at - place) > 1]  # neighbours overlap
            if rest:
                speech_s = only.speech_s * len(rest) / len(only.exemplars)
                yield scorer.score(exemplar, _voice(name, rest, speech_s), speaker=name, one_recording=True)
        return
    for recording in recordings:
        others = [other for other in recordings if other is not recording]
        rest = [exemplar for other in others for exemplar in other.exemplars]
        voice = _voice(name, rest, sum(other.speech_s for other in others))
        yield from (scorer.score(exemplar, voice, speaker=name) for exemplar in recording.exemplars)


def _voice(name: str, exemplars: Sequence[Exemplar], speech_s: float) -> Voice:
    return Voice(name=name, exemplars=[one.vector for one in exemplars], enrolled=True, evidence_s=speech_s)


def _uncalibrated(cohort: Cohort | None) -> Scorer:
    """Return a scorer for scores only; its calibration is unused."""
    return Scorer(calibration=Calibration(1.0, 0.0), cohort=cohort)
