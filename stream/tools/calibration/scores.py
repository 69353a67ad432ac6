"""Genuine and impostor scores of enrolled people, as live sound would be scored (pure).

A window is never scored against a profile that holds it, or sound it shares: where somebody has several recordings,
against those other than its own (leave-one-recording-out); where there is one, against the windows of it that do not
overlap. Impostors are everybody else's windows, and strangers of the model's cohort where there are hardly any people.
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

FEW = 3
"""With fewer people, strangers stand among the impostors; they are easier, since other microphones heard them."""

STRANGER = "a stranger"


@dataclass(frozen=True, slots=True)
class ScoreSet:
    """A trial: whose profile it was, whose speech, and whether other sound of one recording made the profile."""

    trial: ScoreTrial
    profile: str
    speaker: str
    one_recording: bool = False


class ScoreCollector:
    """Scores windows against voices as a model's scorer does live."""

    def __init__(self, model: ModelInfo) -> None:
        self._cohort = None if model.cohort is None else np.asarray(model.cohort)
        self._scorer = _scorer(self._cohort)

    def score(self, exemplar: Exemplar, voice: Voice, *, speaker: str, one_recording: bool = False) -> ScoreSet:
        """One window against one voice."""
        score = float(self._scorer.scores(unit(exemplar.vector), [voice])[0])
        trial = ScoreTrial(score, exemplar.speech_s, voice.evidence_s, speaker == voice.name)
        return ScoreSet(trial, voice.name, speaker, one_recording)

    def strangers(self, voices: Sequence[Voice], *, speech_s: float) -> Iterator[ScoreSet]:
        """The cohort's people, as if so much of them was heard; whoever is scored stands outside of the cohort."""
        cohort = np.empty((0, 0), np.float32) if self._cohort is None else self._cohort
        for at, stranger in enumerate(cohort):
            scores = _scorer(np.delete(cohort, at, axis=0)).scores(stranger, voices)
            for voice, score in zip(voices, scores, strict=True):
                yield ScoreSet(ScoreTrial(float(score), speech_s, voice.evidence_s, same=False), voice.name, STRANGER)


def scores(
    profiles: Iterable[Profile], model: ModelInfo, *, extra: Sequence[tuple[str, EnrolledRecording]] = ()
) -> list[ScoreSet]:
    """All trials of the people a model has heard; `extra` are recordings for tests, by name, that no profile holds."""
    ref = ModelRef(name=model.name, revision=model.revision)
    known = [(profile, voice) for profile in profiles if (voice := profile.voice(ref)) is not None]
    judge, voices = ScoreCollector(model), [voice for _, voice in known]
    found: list[ScoreSet] = []
    for profile, _ in known:
        heard = profile.of(ref)
        found += _own(judge, profile.name, heard)
        windows = [exemplar for recording in heard for exemplar in recording.exemplars]
        found += _against(judge, windows, profile.name, [voice for voice in voices if voice.name != profile.name])
    for name, recording in extra:
        found += _against(judge, recording.exemplars, name, voices)
    if known and len(known) < FEW:
        lengths = [exemplar.speech_s for profile, _ in known for one in profile.of(ref) for exemplar in one.exemplars]
        found += judge.strangers(voices, speech_s=float(np.median(lengths)))
    return found


def _against(
    judge: ScoreCollector, windows: Iterable[Exemplar], speaker: str, voices: Sequence[Voice]
) -> list[ScoreSet]:
    return [judge.score(exemplar, voice, speaker=speaker) for exemplar in windows for voice in voices]


def _own(judge: ScoreCollector, name: str, heard: Sequence[EnrolledRecording]) -> Iterator[ScoreSet]:
    """Genuine scores of one person."""
    if len(heard) == 1:
        windows = heard[0].exemplars
        for at, exemplar in enumerate(windows):
            rest = [other for place, other in enumerate(windows) if abs(place - at) > 1]  # neighbours share sound
            if rest:
                speech_s = heard[0].speech_s * len(rest) / len(windows)
                yield judge.score(exemplar, _voice(name, rest, speech_s), speaker=name, one_recording=True)
        return
    for recording in heard:
        others = [other for other in heard if other is not recording]
        rest = [exemplar for other in others for exemplar in other.exemplars]
        voice = _voice(name, rest, sum(other.speech_s for other in others))
        yield from (judge.score(exemplar, voice, speaker=name) for exemplar in recording.exemplars)


def _voice(name: str, exemplars: Sequence[Exemplar], speech_s: float) -> Voice:
    return Voice(name=name, exemplars=[one.vector for one in exemplars], enrolled=True, evidence_s=speech_s)


def _scorer(cohort: np.ndarray | None) -> Scorer:
    """Scores need no calibration."""
    return Scorer(calibration=Calibration(1.0, 0.0), cohort=None if cohort is None else Cohort(cohort))
