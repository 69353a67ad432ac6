"""One stream's rolling state: what windows say, in order, becomes what is told.

The owner hands in every cut of every model, in the order of their ends and for equal ends speaker before emotion, with
the model's scores or None. Given the same cuts and scores this tells the same, whatever the timing: the order is the
sound's, not that of the answers.

The speaker's windows lead: they move the turns and say whose emotion is heard. Without a speaker model those of a
closed-set model do, or else the emotion's, and everybody is nobody.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream.clock import milliseconds, seconds
from stream.events import Body, EmotionBody, SpeakerBody, SpeakerResolvedBody
from stream.settings import Settings
from stream.tracking.calibration import Calibration
from stream.tracking.decision import Decision
from stream.tracking.emotion import SILENCE, EmotionState, EmotionTracker
from stream.tracking.identity import IdentityTracker
from stream.tracking.overlap import OverlapTracker
from stream.tracking.scoring import Cohort, Scorer
from stream.tracking.speakers import ROOM_NATS, SpeakerTracker
from stream.tracking.turns import TurnTracker
from stream.tracking.voice import Voice
from stream.types import ModelInfo, Task, WindowSpan

DIGITS = 4
"""Probabilities and cosines are told to this many places."""


class StreamTracker:
    """Speakers, emotions and turns of one stream."""

    def __init__(self, *, settings: Settings, models: Sequence[ModelInfo], enrolled: Sequence[Voice] = ()) -> None:
        self._settings = settings
        self._models = {model.task: model for model in models}
        self._leader = next(task for task in (Task.SPEAKER, Task.IDENTITY, Task.EMOTION) if task in self._models)
        speaker = self._models.get(Task.SPEAKER)
        self._tracker = SpeakerTracker(
            settings=settings.speakers, scorer=scorer(speaker, settings.speakers.threshold), enrolled=enrolled
        )
        self._threshold = settings.speakers.threshold or (speaker.threshold if speaker is not None else None)
        self._overlap = OverlapTracker()
        self._turns = TurnTracker(settings=settings.turns)
        self._emotions: OrderedDict[str | None, EmotionTracker] = OrderedDict()
        identity = self._models.get(Task.IDENTITY)
        self._identity = IdentityTracker(
            labels=identity.labels if identity is not None else (),
            candidates=settings.speakers.candidates,
            pause_s=settings.turns.pause_s,
        )
        self._speaker: str | None = None
        self._stretch: int | None = None
        self._silent: dict[Task, bool] = {}

    def met(self, name: str | None) -> Voice | None:
        """The voice the stream calls so; for None whoever speaks now."""
        return self._tracker.met(name)

    def know(self, enrolled: Sequence[Voice], *, met: str | None = None, name: str | None = None) -> None:
        """Enrolled people are these from now on; the voice `met`, if any, turned out to be `name`."""
        self._tracker.know(enrolled, met=met, name=name)

    def recalibrate(self, speaker: ModelInfo) -> None:
        """Score voices with the calibration and threshold of `speaker` from the next window on."""
        threshold = self._settings.speakers.threshold
        self._tracker.set_scorer(scorer(speaker, threshold))
        self._threshold = threshold or speaker.threshold

    def observe(self, task: Task, cut: WindowSpan, values: NDArray[np.float32] | None) -> list[Body]:
        """One model's cut with its scores (None: gated, dropped or failed)."""
        if task is Task.IDENTITY:
            self._identity.hear(cut, values)
        told = self._lead(task, cut, values) if task is self._leader else []
        if task is Task.EMOTION:
            told += self._feel(cut, values)
        elif task is Task.OVERLAP and values is not None:
            self._overlap.hear(cut, values)
        return told

    def close(self, end_sample: int) -> list[Body]:
        """The sound broke off (a gap, or the end): nobody is heard, and whoever spoke has to be known anew."""
        self._tracker.restart()
        self._identity.forget()
        self._speaker = None
        told: list[Body] = list(self._turns.finish())
        if self._leader is not Task.EMOTION and self._changes_silence(self._leader, silent=True):
            told.append(self._speaker_body(end_sample, end_sample, Decision("silence", "silence")))
        if Task.EMOTION in self._models and self._changes_silence(Task.EMOTION, silent=True):
            told.append(self._emotion_body(end_sample, end_sample, 0, EmotionState(SILENCE, 0.0, end_sample, ()), ()))
        return told

    def _lead(self, task: Task, cut: WindowSpan, values: NDArray[np.float32] | None) -> list[Body]:
        if task is Task.SPEAKER:
            decision = self._tracker.observe(cut, values, self._overlap.of(cut))
        else:
            decision = Decision("unknown", "below_threshold") if cut.open else Decision("silence", "silence")
        told = self._resolve(cut.end_sample)
        if decision.state == "silence" or cut.stretch is None:
            told += self._turns.pause(cut.end_sample)
        else:
            told += self._turns.hear(
                cut.stretch,
                speaker=decision.voice.name if decision.voice is not None else None,
                known=decision.settled,
                nobody=decision.stranger,
                speech_samples=cut.fresh_samples,
                changed_at=decision.changed_at,
            )
            if decision.state != "tentative":
                name = decision.voice.name if decision.voice is not None else None
                self._identity.settle(name, cut, changed_at=decision.changed_at)
        if self._changes_silence(task, silent=decision.state == "silence") and task is not Task.EMOTION:
            told.append(self._speaker_body(cut.start_sample, cut.end_sample, decision))
        self._speaker = decision.voice.name if decision.voice is not None else None
        return told

    def _resolve(self, end_sample: int) -> list[Body]:
        """Voices that turned out to be somebody else: the open turn and the emotions go under the right name."""
        told: list[Body] = []
        for found in self._tracker.resolved():
            self._turns.rename(found.was, found.voice.name)
            self._identity.rename(found.was, found.voice.name)
            felt = self._emotions.pop(found.was, None)
            if felt is not None:
                self._emotions.setdefault(found.voice.name, felt)
            told.append(
                SpeakerResolvedBody(
                    start_s=seconds(found.since_sample),
                    end_s=seconds(end_sample),
                    was=found.was,
                    speaker=found.voice.name,
                    enrolled=found.voice.enrolled,
                    probability=_places(found.probability),
                )
            )
        return told

    def _feel(self, cut: WindowSpan, values: NDArray[np.float32] | None) -> list[Body]:
        if values is None:
            silent = cut.fresh_samples == 0
            if not silent or not self._changes_silence(Task.EMOTION, silent=True):
                return []
            nothing = EmotionState(SILENCE, 0.0, cut.end_sample, ())
            return [self._emotion_body(cut.start_sample, cut.end_sample, cut.speech_samples, nothing, ())]
        self._changes_silence(Task.EMOTION, silent=False)
        if cut.stretch is not None and cut.stretch.start_sample != self._stretch:
            self._stretch = cut.stretch.start_sample
            self._emotions.pop(None, None)  # nobody known may be somebody else each time
        state = self._emotion_of(self._speaker).update(
            values.tolist(), speech_s=seconds(cut.fresh_samples), end_sample=cut.end_sample
        )
        self._turns.feel(state.label, cut.fresh_samples)
        return [self._emotion_body(cut.start_sample, cut.end_sample, cut.speech_samples, state, values.tolist())]

    def _changes_silence(self, task: Task, *, silent: bool) -> bool:
        """Whether there is something to tell: always in speech, once when silence falls."""
        before = self._silent.get(task, True)
        self._silent[task] = silent
        return not (silent and before)

    def _emotion_of(self, speaker: str | None) -> EmotionTracker:
        """A speaker's own rolling emotion; those not heard for longest are forgotten first."""
        if speaker not in self._emotions:
            self._emotions[speaker] = EmotionTracker(
                labels=self._models[Task.EMOTION].labels, settings=self._settings.emotion
            )
            if len(self._emotions) > self._settings.speakers.max_speakers + 1:
                self._emotions.popitem(last=False)
        self._emotions.move_to_end(speaker)
        return self._emotions[speaker]

    def _emotion_body(
        self, start_sample: int, end_sample: int, speech_samples: int, state: EmotionState, raw: Sequence[float]
    ) -> EmotionBody:
        labels = self._models[Task.EMOTION].labels
        return EmotionBody(
            start_s=seconds(start_sample),
            end_s=seconds(end_sample),
            label=state.label,
            since_s=seconds(state.since_sample),
            confidence=_places(state.confidence),
            probabilities=dict(zip(labels, map(_places, state.probabilities), strict=False)),
            raw=dict(zip(labels, map(_places, raw), strict=False)),
            speech_ms=milliseconds(speech_samples),
            speaker=self._speaker,
        )

    def _speaker_body(self, start_sample: int, end_sample: int, decision: Decision) -> SpeakerBody:
        return SpeakerBody(
            start_s=seconds(start_sample),
            end_s=seconds(end_sample),
            state=decision.state,
            speaker=decision.voice.name if decision.voice is not None else None,
            enrolled=decision.voice is not None and decision.voice.enrolled,
            best=decision.best,
            score=None if decision.score is None else _places(decision.score),
            probability=None if decision.probability is None else _places(decision.probability),
            runner_up=decision.runner_up,
            margin=None if decision.margin is None else _places(decision.margin),
            threshold=self._threshold,
            evidence_s=decision.evidence_s,
            reason=decision.reason,
            mixed=decision.mixed,
            identity=None if decision.state == "silence" else self._identity.best(),
        )


def scorer(model: ModelInfo | None, threshold: float | None) -> Scorer:
    """The model's own; plain cosines around a threshold where that is set, or where the model brings nothing along."""
    if model is not None and model.calibration is not None and threshold is None:
        cohort = Cohort(model.cohort) if model.cohort is not None else None
        return Scorer(calibration=Calibration(*model.calibration), cohort=cohort)
    if threshold is None:
        threshold = model.threshold if model is not None and model.threshold is not None else 0.7
    return Scorer(calibration=Calibration(ROOM_NATS / (1.0 - threshold), threshold))


def _places(value: float) -> float:
    return round(min(1.0, max(-1.0, value)), DIGITS)
