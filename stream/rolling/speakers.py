"""Who is speaking: x-vectors against enrolled voices and voices met in this stream.

Rules, each window of speech in turn:

* Evidence is seconds of speech heard in this stretch, counted once, however much windows overlap.
* The nearest voice *matches* when its cosine reaches the threshold and, while evidence is short, leads the runner-up by
  `margin`. Whoever speaks already has a small bonus (`hold`), so that a label does not flicker.
* Within `novelty` below the threshold, twice the evidence of a new voice is waited for; then the window goes to the
  nearest one: the same person in another mood is likelier than a new one.
* The threshold is the model's, made stricter: that one was set on single pairs, here many windows of one room are
  compared, and a wrong name is worse than a late one. Cosines of one model lie close together and of another far apart,
  so all distances are shares of the room between the model's threshold and 1.
* A voice near nobody becomes a *new* one once there is evidence of `create_s`, and either the window lies wholly in one
  stretch of speech or a later window that shares at most half of its sound says the same: a window across a change of
  speaker sounds like neither, and must not found a person.
* A voice learns only from windows that share no sound with the last one it learned from. Enrolled voices never learn.
* Too little speech is `tentative`; nobody, or too many, is `unknown`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from stream.clock import seconds
from stream.events import Reason, SpeakerState
from stream.rolling.profiles import Vector, Voice
from stream.settings import SpeakersSettings
from stream.types import SAMPLE_RATE_HZ, Cut

PURE_SAMPLES = SAMPLE_RATE_HZ // 4
"""A window that begins this close to its stretch's start lies wholly in it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about one window. `changed_at` is where inside a stretch the voice changed, if it did."""

    state: SpeakerState
    reason: Reason
    voice: Voice | None = None
    score: float | None = None
    runner_up: str | None = None
    margin: float | None = None
    evidence_s: float = 0.0
    changed_at: int | None = None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A voice heard once that nobody has yet."""

    vector: Vector
    end_sample: int


@dataclass(frozen=True, slots=True)
class _Rank:
    """A voice's cosine to a window, and its nearness: the same with a bonus for whoever speaks already."""

    nearness: float
    cosine: float
    voice: Voice


class SpeakerTracker:
    """The voices of one stream, and which of them speaks."""

    def __init__(self, *, settings: SpeakersSettings, threshold: float, enrolled: Sequence[Voice] = ()) -> None:
        self._settings = settings
        given = settings.threshold
        room = 1.0 - (threshold if given is None else given)
        self.threshold = threshold + settings.strictness * room if given is None else given
        self._novelty, self._margin, self._hold = (
            part * room for part in (settings.novelty, settings.margin, settings.hold)
        )
        self._voices = list(enrolled)
        self._met = 0
        self._current: Voice | None = None
        self._stretch: int | None = None
        self._evidence = 0
        self._learned_until = 0
        self._candidate: _Candidate | None = None

    @property
    def voices(self) -> tuple[Voice, ...]:
        """Enrolled voices first, then those met, in order."""
        return tuple(self._voices)

    def restart(self) -> None:
        """After a gap: whoever spoke before may not be who speaks now."""
        self._current, self._stretch, self._candidate = None, None, None

    def observe(self, cut: Cut, vector: Vector | None) -> Decision:
        """Decide about one window; `vector` (length one) is None when it was gated, dropped or failed."""
        if cut.stretch is None or cut.fresh_samples == 0:
            return Decision("silence", "silence")
        if cut.stretch.start_sample != self._stretch:
            self._stretch, self._evidence, self._candidate = cut.stretch.start_sample, 0, None
            self._current = None
        self._evidence += cut.fresh_samples
        if vector is None or seconds(self._evidence) < self._settings.match_s:
            return self._undecided("too_short")
        return self._decide(cut, vector)

    def _decide(self, cut: Cut, vector: Vector) -> Decision:
        ranked = sorted((self._rank(voice, vector) for voice in self._voices), key=lambda rank: -rank.nearness)
        evidence_s, create_s = seconds(self._evidence), self._settings.create_s
        above = (ranked[0].nearness if ranked else -1.0) - self.threshold
        if above >= 0.0:
            lead = ranked[0].nearness - ranked[1].nearness if len(ranked) > 1 else 1.0
            if ranked[0].voice is self._current or lead >= self._margin or evidence_s >= create_s:
                return self._match(cut, vector, ranked)
            return self._undecided("ambiguous", ranked)
        if above < -self._novelty and evidence_s >= create_s:
            return self._meet(cut, vector, ranked)
        if above >= -self._novelty and evidence_s >= 2 * create_s:
            return self._match(cut, vector, ranked)
        return self._undecided("below_threshold", ranked)

    def _rank(self, voice: Voice, vector: Vector) -> _Rank:
        cosine = voice.similarity(vector)
        return _Rank(cosine + (self._hold if voice is self._current else 0.0), cosine, voice)

    def _match(self, cut: Cut, vector: Vector, ranked: Sequence[_Rank]) -> Decision:
        voice = ranked[0].voice
        changed_at = self._switch(cut, voice)
        if ranked[0].cosine >= self.threshold and cut.start_sample >= self._learned_until:
            voice.update(vector, seconds(cut.speech_samples))
            self._learned_until = cut.end_sample
        return self._decision("confirmed", "matched", voice, ranked, changed_at)

    def _meet(self, cut: Cut, vector: Vector, ranked: Sequence[_Rank]) -> Decision:
        """Found a new voice, if the window can be trusted to hold one voice only."""
        if self._met >= self._settings.max_speakers:
            self._current = None
            return self._decision("unknown", "below_threshold", None, ranked)
        if not self._is_one_voice(cut, vector):
            return self._undecided("below_threshold", ranked)
        voice = Voice(name=self._new_name(), exemplars=[vector], enrolled=False, evidence_s=seconds(cut.speech_samples))
        self._voices.append(voice)
        self._candidate = None
        self._learned_until = cut.end_sample
        changed_at = self._switch(cut, voice)
        return self._decision("confirmed", "new_voice", voice, ranked, changed_at)

    def _new_name(self) -> str:
        """S1, S2 …, passing over names somebody was enrolled under."""
        taken = {voice.name for voice in self._voices}
        self._met += 1
        return next(name for number in count(self._met) if (name := f"S{number}") not in taken)

    def _is_one_voice(self, cut: Cut, vector: Vector) -> bool:
        if self._current is None and self._stretch is not None and cut.start_sample + PURE_SAMPLES >= self._stretch:
            return True
        candidate = self._candidate
        if candidate is None or float(candidate.vector @ vector) < self.threshold:
            self._candidate = _Candidate(vector, cut.end_sample)
            return False
        return candidate.end_sample <= cut.start_sample + cut.length_samples // 2

    def _switch(self, cut: Cut, voice: Voice) -> int | None:
        before, self._current = self._current, voice
        if before is None or before is voice:
            return None
        self._candidate = None
        return cut.end_sample - cut.length_samples // 2  # by now more than half of the window is the new voice

    def _undecided(self, reason: Reason, ranked: Sequence[_Rank] = ()) -> Decision:
        if self._current is not None:
            return self._decision("confirmed", "held", self._current, ranked)
        return self._decision("tentative", reason, None, ranked)

    def _decision(
        self,
        state: SpeakerState,
        reason: Reason,
        voice: Voice | None,
        ranked: Sequence[_Rank],
        changed_at: int | None = None,
    ) -> Decision:
        return Decision(
            state=state,
            reason=reason,
            voice=voice,
            score=ranked[0].cosine if ranked else None,
            runner_up=ranked[1].voice.name if len(ranked) > 1 else None,
            margin=ranked[0].cosine - ranked[1].cosine if len(ranked) > 1 else None,
            evidence_s=seconds(self._evidence),
            changed_at=changed_at,
        )
