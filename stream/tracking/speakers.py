"""Speaker tracking: x-vectors against enrolled voices and the session voices of a stream (pure).

A Bayesian filter over hypotheses: each voice, and an *unknown speaker*. For each window of speech in turn:

* The score of every voice becomes a log-likelihood ratio through the model's calibration (same against different
  speaker, given the seconds of speech). The ratio of the unknown speaker is 0 by definition.
* Ratios add up over the windows of a speech segment, within limits: windows overlap, and belief must stay low enough
  for another voice to take over. The last speaker is likelier than others to continue (`continuity`), less so after a
  pause, and the speaker may change anywhere within a segment (`change_s`).
* A voice whose belief reaches `match` is confirmed. An unknown speaker with belief `create` and `create_s` of
  evidence becomes a *session voice* (S1, S2 …) if no other voice was decided in its segment, or if a later window
  that shares at most half of its audio agrees: a window across a speaker change resembles neither speaker and must
  not create a voice, nor must one that is near a known voice. Until then the state is tentative. match < create <
  update: a session voice is updated only at `update`, by windows that share no audio with its last update or with
  another voice. Enrolled voices are never updated.
* Where segmentation says which track the newest speech belongs to (`activity.py`), belief belongs to the track: it goes
  on after a pause, and a new track is hardly the voice of another track in the window. X-vectors are then of parts in
  which one person speaks alone; without segmentation, a window that two voices seem to share updates or creates none.
* Session voices that prove to be the same person are merged, and one that proves to be enrolled takes the enrolled
  name; a `SpeakerCorrection` says so. Names are not used again.
* Windows with too little speech, or not yet decided, are `tentative`. Session voices with little evidence are forgotten
  after `forget_s`: most of them come from a window that matched no voice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from math import exp

import numpy as np
from numpy.typing import NDArray

from stream.clock import seconds
from stream.events import Reason, SpeakerState
from stream.settings import SpeakersSettings
from stream.tracking.activity import NO_FOREGROUND, Foreground
from stream.tracking.belief import MAX_LOG_ODDS, Belief
from stream.tracking.decision import Decision, Evidence, SpeakerCorrection
from stream.tracking.mixture import is_mixed
from stream.tracking.scoring import Scorer
from stream.tracking.track_memory import TrackMemories, TrackMemory
from stream.tracking.voice import NewVoiceCandidate, Vector, Voice, voice_of_window
from stream.tracking.voice_list import VoiceList
from stream.types import WindowSpan

MIN_MERGE_EVIDENCE_S = 4.0
"""Minimum evidence of two voices to be merged, and of a session voice to outlast `forget_s`."""

MAX_RECALLED_WINDOWS = 40
"""Windows of a speech segment kept to locate a speaker change."""

TRACK_CONTINUITY = 0.9
"""Probability that a track that goes on is still the same person: segmentation confuses two people at times."""

OTHER_TRACK_NATS = 3.0
"""Evidence against a new track being the voice of another track in the window."""


class SpeakerTracker:
    """The voices of one stream and its current speaker."""

    def __init__(self, *, settings: SpeakersSettings, scorer: Scorer, enrolled: Sequence[Voice] = ()) -> None:
        self._settings = settings
        self._scorer = scorer
        self._voices = VoiceList(settings=settings, enrolled=enrolled)
        self._belief = self._prior()
        self._current: Voice | None = None
        self._segment: int | None = None
        self._track: int | None = None
        self._tracks = TrackMemories()
        self._speech_end = 0
        self._evidence_samples = 0
        self._pure_from = 0  # from here on one voice spoke
        self._previous: Voice | None = None  # decided last in this segment
        self._windows: deque[tuple[WindowSpan, Vector]] = deque(maxlen=MAX_RECALLED_WINDOWS)  # of this segment
        self._updated_until = 0
        self._candidate: NewVoiceCandidate | None = None
        self._corrections: list[SpeakerCorrection] = []

    @property
    def voices(self) -> tuple[Voice, ...]:
        """Enrolled voices, then session voices in order of discovery."""
        return tuple(self._voices)

    def take_corrections(self) -> list[SpeakerCorrection]:
        """Return the corrections since the last call."""
        found, self._corrections = self._corrections, []
        return found

    def session_voice(self, name: str | None) -> Voice | None:
        """Return the voice called `name`, or the current speaker if `name` is None."""
        if name is None:
            return self._current
        return self._voices.find(name)

    def set_enrolled(
        self, enrolled: Sequence[Voice], *, session_voice: str | None = None, name: str | None = None
    ) -> None:
        """Replace the enrolled voices; the session voice `session_voice`, if any, becomes the enrolled voice `name`."""
        believed = self._belief.named(self._voices.names)
        person = next((voice for voice in enrolled if voice.name == name), None)
        if session_voice is not None and person is not None and session_voice in believed:
            believed[person.name] = believed.pop(session_voice) + believed.get(person.name, 0.0)
            since = self._voices.since(session_voice, self._speech_end)
            self._corrections.append(SpeakerCorrection(session_voice, person, since, 1.0))
        replaced_name = session_voice if person is not None else None
        self._voices.set_enrolled(enrolled, without=replaced_name)
        self._belief = Belief.by_name(self._voices.names, believed)
        if replaced_name is not None and person is not None:
            self._tracks.rename(replaced_name, person.name)

        def replaced(voice: Voice | None) -> Voice | None:
            if voice is None:
                return None
            return person if voice.name == session_voice else self.session_voice(voice.name)

        self._current, self._previous = replaced(self._current), replaced(self._previous)

    def set_scorer(self, scorer: Scorer) -> None:
        """Score voices with `scorer` from the next window on."""
        self._scorer = scorer

    def restart(self) -> None:
        """Forget the current speaker at a gap; another person may speak after it."""
        self._current, self._segment, self._candidate, self._track = None, None, None, None
        self._belief = self._prior()
        self._tracks.clear()

    def is_certain_of(self, track: int) -> bool:
        """Return whether the voice of a track is known so well that its x-vectors can wait."""
        if track != self._track or self._current is None:
            return False
        return float(self._belief.probabilities.max()) >= self._settings.update

    def voice_of(self, track: int, start_sample: int) -> tuple[Voice | None, float | None]:
        """Return whose voice a track in the background is, with the probability; unknown if it began after a pause."""
        memory = self._tracks.get(track)
        name = None if memory is None else memory.held(start_sample)
        if memory is None or name is None:
            return None, None
        return self._voices.find(name), memory.probabilities.get(name)

    def observe(self, span: WindowSpan, vector: Vector | None, foreground: Foreground = NO_FOREGROUND) -> Decision:
        """Decide on one window; `vector` (unit length) is None if there is none, `foreground` is by segmentation."""
        if span.segment is None or span.new_speech_samples == 0:
            return Decision("silence", "silence") if span.silent else self._undecided("too_short", self._evidence())
        if span.segment.start_sample != self._segment or foreground.track != self._track:
            self._begin_segment(span.segment.start_sample, foreground)
        self._evidence_samples += span.new_speech_samples
        self._speech_end = span.end_sample
        decision = self._undecided("too_short", self._evidence())
        if vector is not None:
            decision = self._score(span, vector)
        if foreground.overlapped:
            known = self._current is not None
            return replace(decision, state="overlap", reason="overlap", voice=self._current, settled=known)
        return decision

    def _score(self, span: WindowSpan, vector: Vector) -> Decision:
        cosines = np.array([voice.similarity(vector) for voice in self._voices], dtype=np.float64)
        previous = self._windows[-1][1] if self._windows else None
        alone = self._track is not None  # by segmentation
        mixed = not alone and is_mixed(vector, previous, self._voices, cosines, gain=self._settings.mixed_gain)
        self._update_belief(span, vector)
        self._windows.append((span, vector))
        return self._decide(span, vector, self._evidence(cosines, mixed=mixed), pure=not mixed)

    def _evidence(self, cosines: NDArray[np.float64] | None = None, *, mixed: bool = False) -> Evidence:
        return Evidence(
            voices=tuple(self._voices),
            cosines=np.empty(0) if cosines is None else cosines,
            belief=np.empty(0) if cosines is None else self._belief.probabilities,
            evidence_s=seconds(self._evidence_samples),
            mixed=mixed,
        )

    def _begin_segment(self, start_sample: int, foreground: Foreground) -> None:
        """Start a speech segment, or the part of it that belongs to another track.

        The last speaker may continue, less likely the longer the pause; so does a known track, but x-vectors name it.
        """
        if self._track is not None:
            speaker = self._current.name if self._current is not None else None
            believed = self._belief.named(self._voices.names)
            self._tracks[self._track] = TrackMemory(believed, speaker, self._evidence_samples, self._speech_end)
        self._tracks.keep(foreground.present)
        for voice in self._voices.silent(start_sample):
            if voice.evidence_s < MIN_MERGE_EVIDENCE_S:
                self._remove(voice, into=-1)
        pause_s = seconds(max(0, start_sample - self._speech_end))
        stay = self._settings.continuity * exp(-pause_s / self._settings.continuity_s)
        before, current, self._belief = self._belief, self._current, self._prior()
        track, goes_on = foreground.track, foreground.track == self._track
        known = self._tracks.get(track) if track is not None else None
        if known is not None:
            before = Belief.by_name(self._voices.names, known.probabilities)
            self._belief = self._belief.blended(before, TRACK_CONTINUITY)
        elif track is not None and self._tracks:
            held = {memory.current for memory in self._tracks.values()}
            places = [place for place, name in enumerate(self._voices.names) if name in held]
            self._belief = self._belief.weakened(places, OTHER_TRACK_NATS)
        elif current is not None:
            self._belief = self._belief.blended(before, stay)
        self._segment, self._track, self._candidate = start_sample, track, None
        self._evidence_samples = known.evidence_samples if known is not None else 0
        self._pure_from = start_sample if track is None else max(start_sample, foreground.onset_sample)
        speaker = known.held(start_sample) if known is not None and goes_on else None
        self._current = self._previous = None if speaker is None else self.session_voice(speaker)
        self._windows.clear()

    def _prior(self) -> Belief:
        return Belief.prior(len(self._voices), new_voice_prior=self._settings.new_voice_prior)

    def _update_belief(self, span: WindowSpan, vector: Vector) -> None:
        """Apply the chance of a speaker change since the last window, then the evidence of this window."""
        change = 1.0 - exp(-seconds(span.new_speech_samples) / self._settings.change_s)
        speech_s = seconds(max(span.speech_samples, 1))
        self._belief = self._belief.blended(self._prior(), change).updated(self._log_ratios(vector, speech_s))

    def _log_ratios(self, vector: Vector, speech_s: float) -> NDArray[np.float64]:
        """Return the log-likelihood ratio of each voice, and 0 for the unknown speaker (voices + 1,)."""
        scores = self._scorer.scores(vector, self._voices)
        ratios = self._scorer.log_odds(scores, self._voices, speech_s=speech_s) - self._settings.log_odds_penalty
        ratios -= np.array([self._penalty(voice) for voice in self._voices], dtype=np.float64)
        return np.append(np.clip(ratios, -MAX_LOG_ODDS, MAX_LOG_ODDS), 0.0)

    def _penalty(self, voice: Voice) -> float:
        """Return the log-odds withheld: a wrong name is worse than none, and a new voice rests on few words."""
        if voice.enrolled:
            return self._settings.enrolled_penalty
        return self._settings.new_voice_penalty * exp(-voice.evidence_s / MIN_MERGE_EVIDENCE_S)

    def _decide(self, span: WindowSpan, vector: Vector, evidence: Evidence, *, pure: bool) -> Decision:
        settings = self._settings
        best = int(evidence.belief.argmax())
        if best < len(self._voices):
            if evidence.belief[best] < settings.match:
                return self._undecided(evidence.ambiguity(settings.match, self._scorer), evidence)
            return self._match(span, vector, self._voices[best], evidence, pure=pure)
        if evidence.belief[best] < settings.create or evidence.evidence_s < settings.create_s:
            return self._undecided(self._unknown_reason, evidence)
        return self._create_voice(span, vector, evidence, pure=pure)

    @property
    def _unknown_reason(self) -> Reason:
        return "below_threshold" if any(voice.enrolled for voice in self._voices) else "no_profiles"

    def _match(self, span: WindowSpan, vector: Vector, voice: Voice, evidence: Evidence, *, pure: bool) -> Decision:
        changed_at = self._set_speaker(span, voice)
        voice.mark_speech(span.end_sample)
        certain = evidence.belief[self._voices.index(voice)] >= self._settings.update
        if pure and certain and span.start_sample >= max(self._updated_until, self._pure_from):
            voice.update(vector, seconds(span.speech_samples))
            self._updated_until = span.end_sample
            self._merge_if_same(span.end_sample)
        return evidence.decision("confirmed", "matched", self._current or voice, changed_at=changed_at)

    def _create_voice(self, span: WindowSpan, vector: Vector, evidence: Evidence, *, pure: bool) -> Decision:
        """Create a session voice, if the window is trusted to hold one speaker and there is a free slot."""
        nearest = self._scorer.best_probability(vector, self._voices, speech_s=seconds(span.speech_samples))
        window_s = min(self._settings.create_s, seconds(span.spec.length_samples))  # a few words are unlike every voice
        trusted = pure and self._is_one_voice(span, vector) and nearest <= self._settings.create_below
        trusted = trusted and seconds(span.speech_samples) >= window_s
        if not trusted or not self._free_slot(span.end_sample):
            self._current = None
            state: SpeakerState = "unknown" if trusted else "tentative"
            return evidence.decision(state, self._unknown_reason, settled=trusted, likely_unknown=True)
        voice = voice_of_window(self._voices.new_name(), span, vector)
        self._voices.add(voice, since_sample=self._segment if self._segment is not None else span.start_sample)
        voice.mark_speech(span.end_sample)
        self._updated_until = span.end_sample
        self._belief = self._belief.with_voice()
        self._candidate = None
        return evidence.decision("confirmed", "new_voice", voice, changed_at=self._set_speaker(span, voice))

    def _free_slot(self, end_sample: int) -> bool:
        """Return whether one more voice can be kept; forgets one if that makes it possible."""
        if not self._voices.is_full:
            return True
        voice = self._voices.most_dispensable(end_sample)
        if voice is not None:
            self._remove(voice, into=-1)
        return voice is not None

    def _is_one_voice(self, span: WindowSpan, vector: Vector) -> bool:
        if self._previous is None:  # no other voice was decided in this segment
            return True
        candidate, voice = self._candidate, voice_of_window("", span, vector)
        if candidate is None or self._scorer.probability(candidate.voice, voice) < 0.5:  # noqa: PLR2004
            self._candidate = NewVoiceCandidate(voice, span.end_sample)
            return False
        return candidate.end_sample <= span.start_sample + span.length_samples // 2

    def _set_speaker(self, span: WindowSpan, voice: Voice) -> int | None:
        """Set the current speaker; return the sample of the speaker change, if there is one in this segment."""
        previous, self._current, self._previous = self._previous, voice, voice
        if previous is None or previous is voice:
            return None
        self._candidate = None
        self._pure_from = self._changed_at(span, previous, voice)
        return self._pure_from

    def _changed_at(self, span: WindowSpan, previous: Voice, voice: Voice) -> int:
        """Locate a speaker change: go back to the first window that scores higher for the new voice."""
        first = span
        for earlier, vector in reversed(self._windows):
            old, new = self._scorer.scores(vector, (previous, voice))
            if new <= old:
                return first.end_sample - first.length_samples // 2  # more than half of that window is the new voice
            first = earlier
        return self._segment if self._segment is not None else first.start_sample

    def _merge_if_same(self, end_sample: int) -> None:
        """Merge the voice just updated into an older one that proves to be the same person."""
        voice = self._current
        if voice is None or voice.enrolled or voice.evidence_s < MIN_MERGE_EVIDENCE_S:
            return
        for other in self._voices:
            if other is voice or other.evidence_s < MIN_MERGE_EVIDENCE_S:
                continue
            if not other.enrolled and self._voices.index(other) > self._voices.index(voice):  # the younger voice
                continue
            probability = self._scorer.probability(voice, other)
            if probability >= self._settings.merge:
                self._merge(voice, other, probability, end_sample)
                return

    def _merge(self, voice: Voice, into: Voice, probability: float, end_sample: int) -> None:
        since = self._voices.since(voice.name, end_sample)
        self._remove(voice, into=self._voices.index(into))
        into.update(voice.centroid, voice.evidence_s)
        into.mark_speech(end_sample)
        self._current = self._previous = into  # the same person continues: no speaker change
        self._tracks.rename(voice.name, into.name)
        self._corrections.append(SpeakerCorrection(voice.name, into, since, probability))

    def _remove(self, voice: Voice, *, into: int) -> None:
        """Remove a voice and add its belief to another hypothesis (-1: the unknown speaker)."""
        self._belief = self._belief.without(self._voices.remove(voice), into=into)

    def _undecided(self, reason: Reason, evidence: Evidence) -> Decision:
        if self._current is not None:
            return evidence.decision("confirmed", "held", self._current)
        unknown = reason == self._unknown_reason
        return evidence.decision("tentative", reason, settled=False, likely_unknown=unknown)
