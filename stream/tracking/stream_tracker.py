"""Rolling state of one stream: window scores, in media order, become event bodies (pure).

The owner passes every window span of every model with its scores or None, ordered by their ends, and for equal ends
speaker before emotion. The same spans and scores yield the same bodies whatever the timing of inference.

One task *leads*: its windows advance the turns and set the speaker of emotions. It is the speaker task, without a
speaker model closed-set identification, else emotion; in the last two cases every speaker is unknown.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream.clock import milliseconds, samples, seconds
from stream.events import ActiveSpeaker, Body, EmotionBody, SpeakerBody, SpeakerResolvedBody, SpeakerState
from stream.settings import Settings
from stream.tracking.activity import NO_FOREGROUND, OVERLAP_FRAMES, ActivityTracker, Foreground
from stream.tracking.background_turns import BackgroundSpeech
from stream.tracking.decision import Decision
from stream.tracking.emotion import SILENCE, EmotionState, EmotionTracker
from stream.tracking.emotion_calibration import EmotionCalibration
from stream.tracking.identity import IdentityTracker
from stream.tracking.scoring import build_scorer
from stream.tracking.speakers import SpeakerTracker
from stream.tracking.turns import TurnTracker
from stream.tracking.voice import Voice
from stream.types import OVERLAP_FRAME_SAMPLES, ModelInfo, SpeechSegment, Task, WindowSpan

DIGITS = 4
"""Decimal places of probabilities and cosines."""


class StreamTracker:
    """Speaker, emotion and turns of one stream."""

    def __init__(self, *, settings: Settings, models: Sequence[ModelInfo], enrolled: Sequence[Voice] = ()) -> None:
        self._settings = settings
        self._models = {model.task: model for model in models}
        self._leader = next(task for task in (Task.SPEAKER, Task.IDENTITY, Task.EMOTION) if task in self._models)
        speaker = self._models.get(Task.SPEAKER)
        self._speakers = SpeakerTracker(
            settings=settings.speakers, scorer=build_scorer(speaker, settings.speakers.threshold), enrolled=enrolled
        )
        self._threshold = settings.speakers.threshold or (speaker.threshold if speaker is not None else None)
        self._activity = ActivityTracker()
        self._embedded_until = 0  # end of the newest window with an x-vector
        self._recheck = samples(settings.speakers.recheck_s)
        self._turns = TurnTracker(settings=settings.turns)
        self._emotions: OrderedDict[str | None, EmotionTracker] = OrderedDict()
        identity = self._models.get(Task.IDENTITY)
        self._identity = IdentityTracker(
            labels=identity.labels if identity is not None else (),
            candidates=settings.speakers.candidates,
            pause_s=settings.turns.pause_s,
        )
        self._speaker: str | None = None
        emotion = self._models.get(Task.EMOTION)
        self._calibration = None if emotion is None else EmotionCalibration.of(settings.emotion, emotion)
        self._segment: int | None = None
        self._skipped = 0  # new speech of windows since the last scored one, which were not scored for emotion
        self._silent: dict[Task, bool] = {}
        self._published: tuple[SpeakerState, str | None] = ("silence", None)

    def session_voice(self, name: str | None) -> Voice | None:
        """Return the voice called `name` in this stream, or the current speaker if `name` is None."""
        return self._speakers.session_voice(name)

    def set_enrolled(
        self, enrolled: Sequence[Voice], *, session_voice: str | None = None, name: str | None = None
    ) -> None:
        """Replace the enrolled voices; the session voice `session_voice`, if any, becomes the enrolled voice `name`."""
        self._speakers.set_enrolled(enrolled, session_voice=session_voice, name=name)

    def recalibrate(self, speaker: ModelInfo) -> None:
        """Score voices with the calibration and threshold of `speaker` from the next window on."""
        threshold = self._settings.speakers.threshold
        self._speakers.set_scorer(build_scorer(speaker, threshold))
        self._threshold = threshold or speaker.threshold

    def observe(self, task: Task, span: WindowSpan, values: NDArray[np.float32] | None) -> list[Body]:
        """Add one window of one model with its scores (None: gated, dropped or failed)."""
        if task is Task.IDENTITY:
            self._identity.observe(span, values)
        bodies: list[Body] = []
        if task is self._leader:
            bodies += [self._onset_body(task, span)] if span.onset else self._observe_leader(task, span, values)
        if task is Task.EMOTION:
            bodies += self._observe_emotion(span, values)
        elif task is Task.OVERLAP and values is not None:
            self._activity.observe(span, values)
        return bodies

    def parts_to_embed(self, span: WindowSpan) -> list[tuple[int, int]]:
        """Return the parts of a window, in samples, whose x-vector is needed; the caller observes the window with it.

        Without segmentation it is the window. With it, it is where the person in the foreground speaks alone, and
        nothing if that is too little, or while a voice that is certain goes on.
        """
        foreground = self._activity.foreground(span.end_sample)
        if foreground is None:
            return [(span.start_sample, span.end_sample)] if span.passes_gate else []
        track, waited = foreground.track, span.end_sample - self._embedded_until
        if track is None or (waited < self._recheck and self._speakers.is_certain_of(track)):
            return []
        parts = self._activity.solo(track, span.start_sample, span.end_sample)
        return parts if sum(end - start for start, end in parts) >= span.spec.minimum_samples else []

    def close(self, end_sample: int) -> list[Body]:
        """End the open turn and report silence, at a gap or at the end; the speaker is unknown afterwards."""
        self._speakers.restart()
        self._identity.reset()
        self._speaker = None
        bodies: list[Body] = list(self._turns.finish())
        if self._leader is not Task.EMOTION and self._must_publish(self._leader, silent=True):
            bodies.append(self._speaker_body(end_sample, end_sample, Decision("silence", "silence")))
        if Task.EMOTION in self._models and self._must_publish(Task.EMOTION, silent=True):
            bodies.append(self._emotion_body(end_sample, end_sample, 0, EmotionState(SILENCE, 0.0, end_sample, ()), ()))
        return bodies

    def _observe_leader(self, task: Task, span: WindowSpan, values: NDArray[np.float32] | None) -> list[Body]:
        foreground = NO_FOREGROUND
        if task is Task.SPEAKER:
            foreground = self._activity.foreground(span.end_sample) or NO_FOREGROUND
            decision = self._observe_speech(span, values)
        else:
            decision = Decision("unknown", "below_threshold") if span.passes_gate else Decision("silence", "silence")
        name = decision.voice.name if decision.voice is not None else None
        bodies = self._apply_corrections(span.end_sample)
        if decision.state == "silence" or span.segment is None:
            bodies += self._turns.pause(span.end_sample)
        else:
            bodies += self._turns.observe(
                span.segment,
                speaker=name,
                known=decision.settled,
                likely_unknown=decision.likely_unknown,
                speech_samples=span.new_speech_samples,
                changed_at=decision.changed_at,
                foreground=foreground,
            )
            if task is Task.SPEAKER and values is not None and self._is_alone(decision, foreground):
                self._turns.add_voice(values)
            if foreground is not NO_FOREGROUND:
                bodies += self._observe_background(foreground, span.end_sample)
            if decision.state != "tentative":
                self._identity.set_speaker(name, span, changed_at=decision.changed_at)
            if span.silent:  # speech of this hop has paused since
                bodies += self._turns.pause(span.end_sample)
                decision = Decision("silence", "silence")
        self._speaker = name  # of the newest speech, also of speech that has paused
        name = None if decision.voice is None else name
        if span.interim:
            self._skipped += span.new_speech_samples
            if (decision.state, name) == self._published:
                return bodies
        self._published = decision.state, name
        if self._must_publish(task, silent=decision.state == "silence") and task is not Task.EMOTION:
            bodies.append(self._speaker_body(span.start_sample, span.end_sample, decision, foreground))
        return bodies

    def _onset_body(self, task: Task, span: WindowSpan) -> Body:
        """Return the event that speech has begun; whose it is, later windows decide."""
        self._published = "tentative", None
        self._must_publish(task, silent=False)
        speech = span.segment or SpeechSegment(span.start_sample, span.end_sample)
        evidence_s = seconds(speech.end_sample - speech.start_sample)
        decision = Decision("tentative", "too_short", evidence_s=evidence_s, settled=False)
        body = self._speaker_body(speech.start_sample, span.end_sample, decision)
        somebody = ActiveSpeaker(speaker=None, enrolled=False, since_s=seconds(speech.start_sample))
        return body.model_copy(update={"speakers": (somebody,)})

    def _is_alone(self, decision: Decision, foreground: Foreground) -> bool:
        """Whether the x-vector of a window is to be published, and is of one person: with segmentation it always is."""
        if not self._settings.speakers.publish_embeddings or decision.mixed:
            return False
        return foreground is not NO_FOREGROUND or decision.changed_at is None

    def _observe_speech(self, span: WindowSpan, vector: NDArray[np.float32] | None) -> Decision:
        if vector is not None:
            self._embedded_until = span.end_sample
        foreground = self._activity.foreground(span.end_sample)
        decision = self._speakers.observe(span, vector, foreground or self._activity.latest)
        if foreground is None or span.segment is None or foreground.onset_sample <= span.segment.start_sample:
            return decision
        return replace(decision, changed_at=decision.changed_at or foreground.onset_sample)  # without a pause

    def _observe_background(self, foreground: Foreground, end_sample: int) -> list[Body]:
        """Add who speaks while another is in the foreground to the turns."""
        speech = []
        for run in foreground.others:
            voice, _ = self._speakers.voice_of(run.track, run.start_sample)
            speech.append(BackgroundSpeech(run, None if voice is None else voice.name))
        return list(self._turns.observe_background(speech, end_sample, foreground=foreground.track))

    def _apply_corrections(self, end_sample: int) -> list[Body]:
        """Publish speaker corrections; the open turn, identity and emotion move to the right name."""
        bodies: list[Body] = []
        for correction in self._speakers.take_corrections():
            previous, voice = correction.previous, correction.voice
            self._turns.rename(previous, voice.name)
            self._identity.rename(previous, voice.name)
            emotion = self._emotions.pop(previous, None)
            if emotion is not None:
                self._emotions.setdefault(voice.name, emotion)
            bodies.append(
                SpeakerResolvedBody(
                    start_s=seconds(correction.since_sample),
                    end_s=seconds(end_sample),
                    previous=previous,
                    speaker=voice.name,
                    enrolled=voice.enrolled,
                    probability=_places(correction.probability),
                )
            )
        return bodies

    def _observe_emotion(self, span: WindowSpan, values: NDArray[np.float32] | None) -> list[Body]:
        if values is None:
            silent = span.new_speech_samples == 0
            self._skipped = self._skipped + span.new_speech_samples if span.passes_gate else 0
            if not silent or not self._must_publish(Task.EMOTION, silent=True):
                return []
            silence = EmotionState(SILENCE, 0.0, span.end_sample, ())
            return [self._emotion_body(span.start_sample, span.end_sample, span.speech_samples, silence, ())]
        self._must_publish(Task.EMOTION, silent=False)
        if span.segment is not None and span.segment.start_sample != self._segment:
            self._segment = span.segment.start_sample
            self._emotions.pop(None, None)  # an unknown speaker may be another person in each segment
        count = len(self._models[Task.EMOTION].labels)
        raw, dimensions = values[:count].tolist(), values[count:].tolist()
        if self._calibration is not None:
            raw = self._calibration.apply(raw)
        new_samples, self._skipped = self._skipped + span.new_speech_samples, 0
        state = self._emotion_of(self._speaker).update(
            raw, speech_s=seconds(new_samples), end_sample=span.end_sample, dimensions=dimensions
        )
        self._turns.add_emotion(state.label, new_samples)
        return [self._emotion_body(span.start_sample, span.end_sample, span.speech_samples, state, raw)]

    def _must_publish(self, task: Task, *, silent: bool) -> bool:
        """Note whether a task is silent; return True for every window of speech and for the first of silence."""
        before = self._silent.get(task, True)
        self._silent[task] = silent
        return not (silent and before)

    def _emotion_of(self, speaker: str | None) -> EmotionTracker:
        """Return the emotion tracker of a speaker; those of the least recent speakers are discarded."""
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
        model = self._models[Task.EMOTION]
        labels = model.labels
        dimensions = dict(zip(model.dimensions, map(_places, state.dimensions), strict=False))
        trends = dict(zip(model.dimensions, map(_places, state.trends), strict=False))
        return EmotionBody(
            start_s=seconds(start_sample),
            end_s=seconds(end_sample),
            label=state.label,
            since_s=seconds(state.since_sample),
            confidence=_places(state.confidence),
            probabilities=dict(zip(labels, map(_places, state.probabilities), strict=False)),
            raw=dict(zip(labels, map(_places, raw), strict=False)),
            arousal=dimensions.get("arousal"),
            arousal_trend=trends.get("arousal"),
            dominance=dimensions.get("dominance"),
            valence=dimensions.get("valence"),
            speech_ms=milliseconds(speech_samples),
            speaker=self._speaker,
        )

    def _speaker_body(
        self, start_sample: int, end_sample: int, decision: Decision, foreground: Foreground = NO_FOREGROUND
    ) -> SpeakerBody:
        name = decision.voice.name if decision.voice is not None else None
        enrolled = decision.voice is not None and decision.voice.enrolled
        probability = None if decision.probability is None else _places(decision.probability)
        since = self._turns.foremost_since
        if foreground.track is not None:
            since = self._turns.since(foreground.track)
            since = foreground.began_sample if since is None else since
        foremost = ActiveSpeaker(
            speaker=name,
            enrolled=enrolled,
            probability=probability,
            since_s=seconds(start_sample if since is None else since),
        )
        others = self._others(foreground, end_sample, name) if decision.state == "overlap" else ()
        return SpeakerBody(
            start_s=seconds(start_sample),
            end_s=seconds(end_sample),
            state=decision.state,
            speaker=name,
            enrolled=enrolled,
            speakers=() if decision.state == "silence" else (foremost, *others),
            best=decision.best,
            score=None if decision.score is None else _places(decision.score),
            probability=probability,
            runner_up=decision.runner_up,
            margin=None if decision.margin is None else _places(decision.margin),
            threshold=self._threshold,
            evidence_s=decision.evidence_s,
            reason=decision.reason,
            mixed=decision.mixed,
            identity=None if decision.state == "silence" else self._identity.identity(),
        )

    def _others(self, foreground: Foreground, end_sample: int, foremost: str | None) -> tuple[ActiveSpeaker, ...]:
        """Return who spoke in the newest second beside the one in the foreground: at least somebody."""
        begin_sample = max(0, end_sample - OVERLAP_FRAMES * OVERLAP_FRAME_SAMPLES)
        others: dict[str | None, ActiveSpeaker] = {}
        for run in sorted(foreground.others, key=lambda one: one.start_sample):
            voice, probability = self._speakers.voice_of(run.track, run.start_sample)
            name = None if voice is None else voice.name
            if run.end_sample <= begin_sample or name in others or (name is not None and name == foremost):
                continue  # two tracks of one voice are one person
            since = self._turns.since(run.track)
            others[name] = ActiveSpeaker(
                speaker=name,
                enrolled=voice is not None and voice.enrolled,
                probability=None if probability is None else _places(probability),
                since_s=seconds(run.start_sample if since is None else since),
            )
        if not others:  # several voices, none of which is a track of its own yet
            others[None] = ActiveSpeaker(speaker=None, enrolled=False, since_s=seconds(begin_sample))
        return tuple(others.values())


def _places(value: float) -> float:
    return round(min(1.0, max(-1.0, value)), DIGITS)
