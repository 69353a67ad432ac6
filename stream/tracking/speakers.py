"""Speaker tracking: x-vectors against enrolled voices and the session voices of a stream (pure).

A Bayesian filter over hypotheses: each voice, and an *unknown speaker*. For each window of speech in turn:

* The score of every voice becomes a log-likelihood ratio through the model's calibration (same against different
  speaker, given the seconds of speech). The ratio of the unknown speaker is 0 by definition.
* Ratios add up over the windows of a speech segment, within limits: windows overlap, and belief must stay low enough
  for another voice to take over. The last speaker is likelier than others to continue (`continuity`), less so after a
  pause, and the speaker may change anywhere within a segment (`change_s`).
* A voice whose belief reaches `match` is confirmed. An unknown speaker with belief `create` and `create_s` of evidence
  becomes a *session voice* (S1, S2 …) if no other voice was decided in its segment, or if a later window that shares at
  most half of its audio agrees: a window across a speaker change resembles neither speaker and must not create a voice.
  Until then the state is unknown. match < create < update: a session voice is updated only at `update`, by windows that
  share no audio with its last update or with another voice. Enrolled voices are never updated.
* Windows with overlapped speech change no belief, and a window that two voices share updates or creates no voice.
* Session voices that prove to be the same person are merged, and one that proves to be enrolled takes the enrolled
  name; a `SpeakerCorrection` says so. Names are not used again.
* Windows with too little speech, or not yet decided, are `tentative`.
* At most `max_speakers` session voices are kept. A new one replaces the voice with the longest silence relative to its
  evidence, if that silence lasts `forget_s`. Voices with little evidence are forgotten after `forget_s` anyway: most of
  them come from a window that matched no voice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from stream.clock import samples, seconds
from stream.events import Reason
from stream.settings import SpeakersSettings
from stream.tracking.decision import Decision, Evidence, SpeakerCorrection
from stream.tracking.overlap import Overlap, is_mixed
from stream.tracking.scoring import Scorer
from stream.tracking.voice import Vector, Voice
from stream.types import WindowSpan

UNCALIBRATED_GAIN_NATS = 8.0
"""Assumed log-odds of a model without calibration at cosine 1, relative to its threshold."""

MIN_MERGE_EVIDENCE_S = 4.0
"""Minimum evidence of two voices to be merged, and of a session voice to outlast `forget_s`."""

MAX_RECALLED_WINDOWS = 40
"""Windows of a speech segment kept to locate a speaker change."""

NO_OVERLAP = Overlap()
"""No overlapped speech is known."""

_MAX_LOG_ODDS = 5.0  # of one window, and of all windows before it
_MIN_EVIDENCE_S = 0.5


@dataclass(frozen=True, slots=True)
class _NewVoiceCandidate:
    """A possible new voice from one window, which another window has to confirm."""

    voice: Voice
    end_sample: int


class SpeakerTracker:
    """The voices of one stream and its current speaker."""

    def __init__(self, *, settings: SpeakersSettings, scorer: Scorer, enrolled: Sequence[Voice] = ()) -> None:
        self._settings = settings
        self._scorer = scorer
        self._voices = list(enrolled)
        self._since: dict[str, int] = {}  # first sample of each session voice
        self._last_number = 0  # of session voices
        self._belief = self._prior()  # log-probabilities (voices + 1,); the last is the unknown speaker
        self._current: Voice | None = None
        self._segment: int | None = None
        self._speech_end = 0
        self._evidence_samples = 0
        self._pure_from = 0  # from here on one voice spoke
        self._previous: Voice | None = None  # decided last in this segment
        self._windows: deque[tuple[WindowSpan, Vector]] = deque(maxlen=MAX_RECALLED_WINDOWS)  # of this segment
        self._updated_until = 0
        self._candidate: _NewVoiceCandidate | None = None
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
        return next((voice for voice in self._voices if voice.name == name), None)

    def set_enrolled(
        self, enrolled: Sequence[Voice], *, session_voice: str | None = None, name: str | None = None
    ) -> None:
        """Replace the enrolled voices; the session voice `session_voice`, if any, becomes the enrolled voice `name`."""
        weights = np.exp(self._belief)
        believed = {voice.name: float(weight) for voice, weight in zip(self._voices, weights, strict=False)}
        person = next((voice for voice in enrolled if voice.name == name), None)
        if session_voice is not None and person is not None and session_voice in believed:
            believed[person.name] = believed.pop(session_voice) + believed.get(person.name, 0.0)
            since = self._since.pop(session_voice, self._speech_end)
            self._corrections.append(SpeakerCorrection(session_voice, person, since, 1.0))
        replaced_name = session_voice if person is not None else None
        kept = [voice for voice in self._voices if not voice.enrolled and voice.name != replaced_name]
        self._voices = [*enrolled, *kept]
        floor = exp(-_MAX_LOG_ODDS)
        belief = np.array([max(floor, believed.get(voice.name, 0.0)) for voice in self._voices])
        belief = np.append(belief, max(floor, 1.0 - belief.sum()))  # belief in removed voices
        self._belief = np.log(belief / belief.sum())

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
        self._current, self._segment, self._candidate = None, None, None
        self._belief = self._prior()

    def observe(self, span: WindowSpan, vector: Vector | None, overlap: Overlap = NO_OVERLAP) -> Decision:
        """Decide on one window; `vector` (unit length) is None if the window was gated, dropped or failed."""
        if span.segment is None or span.new_speech_samples == 0:
            return Decision("silence", "silence")
        if span.segment.start_sample != self._segment:
            self._begin_segment(span.segment.start_sample)
        self._evidence_samples += span.new_speech_samples
        self._speech_end = span.end_sample
        if vector is None:
            return self._undecided("too_short", self._evidence())
        cosines = np.array([voice.similarity(vector) for voice in self._voices], dtype=np.float64)
        if overlap.now:
            evidence = self._evidence(cosines)
            return evidence.decision("overlap", "overlap", self._current, settled=self._current is not None)
        previous = self._windows[-1][1] if self._windows else None
        mixed = is_mixed(vector, previous, self._voices, cosines, gain=self._settings.mixed_gain)
        self._update_belief(span, vector)
        self._windows.append((span, vector))
        return self._decide(span, vector, self._evidence(cosines, mixed=mixed), pure=not (mixed or overlap.within))

    def _evidence(self, cosines: NDArray[np.float64] | None = None, *, mixed: bool = False) -> Evidence:
        return Evidence(
            voices=tuple(self._voices),
            cosines=np.empty(0) if cosines is None else cosines,
            belief=np.empty(0) if cosines is None else np.exp(self._belief),
            evidence_s=seconds(self._evidence_samples),
            mixed=mixed,
        )

    def _begin_segment(self, start_sample: int) -> None:
        """Start a speech segment: the last speaker may continue, less likely the longer the pause."""
        for voice in self._silent_voices(start_sample):
            if voice.evidence_s < MIN_MERGE_EVIDENCE_S:
                self._remove(voice, into=-1)
        pause_s = seconds(max(0, start_sample - self._speech_end))
        stay = self._settings.continuity * exp(-pause_s / self._settings.continuity_s)
        before, self._belief = self._belief, self._prior()
        if self._current is not None:
            blended = (1 - stay) * np.exp(self._belief) + stay * np.exp(before)
            self._belief = np.log(blended / blended.sum())
        self._segment, self._evidence_samples, self._candidate = start_sample, 0, None
        self._pure_from = start_sample
        self._current = self._previous = None
        self._windows.clear()

    def _prior(self) -> NDArray[np.float64]:
        """Return the log-prior: all voices alike, an unknown speaker as likely as `new_voice_prior` of them."""
        known = len(self._voices)
        new = self._settings.new_voice_prior / (known + self._settings.new_voice_prior)
        return np.log(np.array([(1 - new) / known] * known + [new])) if known else np.zeros(1)

    def _update_belief(self, span: WindowSpan, vector: Vector) -> None:
        """Apply the chance of a speaker change since the last window, then the evidence of this window."""
        change = 1.0 - exp(-seconds(span.new_speech_samples) / self._settings.change_s)
        blended = (1 - change) * np.exp(self._belief) + change * np.exp(self._prior())
        speech_s = seconds(max(span.speech_samples, 1))
        belief = np.log(blended) + self._log_ratios(vector, speech_s)
        belief -= belief.max()
        belief -= log(np.exp(belief).sum())
        self._belief = np.maximum(belief, -_MAX_LOG_ODDS)

    def _log_ratios(self, vector: Vector, speech_s: float) -> NDArray[np.float64]:
        """Return the log-likelihood ratio of each voice, and 0 for the unknown speaker (voices + 1,)."""
        scores = self._scorer.scores(vector, self._voices)
        ratios = self._scorer.log_odds(scores, self._voices, speech_s=speech_s) - self._settings.log_odds_penalty
        ratios -= np.array([self._penalty(voice) for voice in self._voices], dtype=np.float64)
        return np.append(np.clip(ratios, -_MAX_LOG_ODDS, _MAX_LOG_ODDS), 0.0)

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
                return self._undecided("ambiguous", evidence)
            return self._match(span, vector, self._voices[best], evidence, pure=pure)
        if evidence.belief[best] < settings.create or seconds(self._evidence_samples) < settings.create_s:
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
        trusted = pure and self._is_one_voice(span, vector)
        if not trusted or not self._free_slot(span.end_sample):
            self._current = None
            return evidence.decision("unknown", self._unknown_reason, settled=trusted, likely_unknown=True)
        voice = _voice_of_window(self._new_name(), span, vector)
        self._voices.append(voice)
        self._since[voice.name] = self._segment if self._segment is not None else span.start_sample
        voice.mark_speech(span.end_sample)
        self._updated_until = span.end_sample
        self._belief = np.append(self._belief[:-1], (self._belief[-1], -_MAX_LOG_ODDS))
        self._candidate = None
        return evidence.decision("confirmed", "new_voice", voice, changed_at=self._set_speaker(span, voice))

    def _free_slot(self, end_sample: int) -> bool:
        """Return whether one more voice can be kept; forgets one if that makes it possible."""
        if sum(not voice.enrolled for voice in self._voices) < self._settings.max_speakers:
            return True
        silent = self._silent_voices(end_sample)
        if not silent:
            return False

        def silence_per_evidence(voice: Voice) -> float:
            return (end_sample - voice.last_speech_sample) / max(voice.evidence_s, _MIN_EVIDENCE_S)

        self._remove(max(silent, key=silence_per_evidence), into=-1)
        return True

    def _silent_voices(self, sample: int) -> list[Voice]:
        """Return the session voices that have not spoken for `forget_s`."""
        limit = samples(self._settings.forget_s)
        return [voice for voice in self._voices if not voice.enrolled and sample - voice.last_speech_sample >= limit]

    def _new_name(self) -> str:
        """Return the next of S1, S2 … that is no enrolled name."""
        taken = {voice.name for voice in self._voices}
        for number in count(self._last_number + 1):
            self._last_number = number
            if (name := f"S{number}") not in taken:
                return name
        raise AssertionError

    def _is_one_voice(self, span: WindowSpan, vector: Vector) -> bool:
        if self._previous is None:  # no other voice was decided in this segment
            return True
        candidate, voice = self._candidate, _voice_of_window("", span, vector)
        if candidate is None or self._scorer.probability(candidate.voice, voice) < 0.5:  # noqa: PLR2004
            self._candidate = _NewVoiceCandidate(voice, span.end_sample)
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
        since = self._since.get(voice.name, end_sample)
        self._remove(voice, into=self._voices.index(into))
        into.update(voice.centroid, voice.evidence_s)
        into.mark_speech(end_sample)
        self._current = self._previous = into  # the same person continues: no speaker change
        self._corrections.append(SpeakerCorrection(voice.name, into, since, probability))

    def _remove(self, voice: Voice, *, into: int) -> None:
        """Remove a voice and add its belief to another hypothesis (-1: the unknown speaker)."""
        place = self._voices.index(voice)
        belief = np.exp(self._belief)
        belief[into] += belief[place]
        self._belief = np.log(np.delete(belief, place))
        del self._voices[place]
        self._since.pop(voice.name, None)

    def _undecided(self, reason: Reason, evidence: Evidence) -> Decision:
        if self._current is not None:
            return evidence.decision("confirmed", "held", self._current)
        unknown = reason == self._unknown_reason
        return evidence.decision("tentative", reason, settled=False, likely_unknown=unknown)


def _voice_of_window(name: str, span: WindowSpan, vector: Vector) -> Voice:
    return Voice(name=name, exemplars=[vector], enrolled=False, evidence_s=seconds(span.speech_samples))
