"""Who is speaking: x-vectors against enrolled voices and voices met in this stream.

Rules, each window of speech in turn:

* Evidence is seconds of speech heard in this stretch, counted once, however much windows overlap.
* The nearest voice *matches* when its cosine reaches the threshold and leads the runner-up by `margin`; whoever speaks
  already has a small bonus (`hold`), so that a label does not flicker. Until there is evidence of `create_s`, and for a
  voice to learn from what it is credited with, the cosine must lie `certainty` above the threshold.
* Within `novelty` below the threshold it is waited for twice that evidence; then the window goes to the nearest voice:
  the same person in another mood is likelier than a new one.
* A voice near nobody becomes a *new* one once there is evidence of `create_s`, and either the window lies wholly in one
  stretch of speech or a later window that shares at most half of its sound says the same: a window across a change of
  speaker sounds like neither, and must not found a person.
* A voice learns only from windows that share no sound with the last one it learned from. Enrolled voices never learn.
* Too little speech is `tentative`; nobody, or too many, is `unknown`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


class SpeakerTracker:
    """The voices of one stream, and which of them speaks."""

    def __init__(self, *, settings: SpeakersSettings, threshold: float, enrolled: Sequence[Voice] = ()) -> None:
        self._settings = settings
        self.threshold = threshold if settings.threshold is None else settings.threshold
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
        ranked = sorted(((self._nearness(voice, vector), voice) for voice in self._voices), key=lambda pair: -pair[0])
        settings, evidence_s = self._settings, seconds(self._evidence)
        settled = evidence_s >= settings.create_s
        above = (ranked[0][0] if ranked else -1.0) - self.threshold
        if above >= (0.0 if settled else settings.certainty):
            lead = ranked[0][0] - ranked[1][0] if len(ranked) > 1 else 1.0
            if ranked[0][1] is self._current or lead >= settings.margin or settled:
                return self._match(cut, vector if above >= settings.certainty else None, ranked)
            return self._undecided("ambiguous", ranked)
        if above < -settings.novelty and settled:
            return self._meet(cut, vector, ranked)
        if above >= -settings.novelty and evidence_s >= 2 * settings.create_s:
            return self._match(cut, None, ranked)
        return self._undecided("below_threshold", ranked)

    def _nearness(self, voice: Voice, vector: Vector) -> float:
        return voice.similarity(vector) + (self._settings.hold if voice is self._current else 0.0)

    def _match(self, cut: Cut, lesson: Vector | None, ranked: Sequence[tuple[float, Voice]]) -> Decision:
        voice = ranked[0][1]
        changed_at = self._switch(cut, voice)
        if lesson is not None and cut.start_sample >= self._learned_until:
            voice.update(lesson, seconds(cut.speech_samples))
            self._learned_until = cut.end_sample
        return self._decision("confirmed", "matched", voice, ranked, changed_at)

    def _meet(self, cut: Cut, vector: Vector, ranked: Sequence[tuple[float, Voice]]) -> Decision:
        """Found a new voice, if the window can be trusted to hold one voice only."""
        if self._met >= self._settings.max_speakers:
            self._current = None
            return self._decision("unknown", "below_threshold", None, ranked)
        if not self._is_one_voice(cut, vector):
            return self._undecided("below_threshold", ranked)
        self._met += 1
        voice = Voice(name=f"S{self._met}", exemplars=[vector], enrolled=False, evidence_s=seconds(cut.speech_samples))
        self._voices.append(voice)
        self._candidate = None
        self._learned_until = cut.end_sample
        changed_at = self._switch(cut, voice)
        return self._decision("confirmed", "new_voice", voice, ranked, changed_at)

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

    def _undecided(self, reason: Reason, ranked: Sequence[tuple[float, Voice]] = ()) -> Decision:
        if self._current is not None:
            return self._decision("confirmed", "held", self._current, ranked)
        return self._decision("tentative", reason, None, ranked)

    def _decision(
        self,
        state: SpeakerState,
        reason: Reason,
        voice: Voice | None,
        ranked: Sequence[tuple[float, Voice]],
        changed_at: int | None = None,
    ) -> Decision:
        return Decision(
            state=state,
            reason=reason,
            voice=voice,
            score=ranked[0][0] if ranked else None,
            runner_up=ranked[1][1].name if len(ranked) > 1 else None,
            margin=ranked[0][0] - ranked[1][0] if len(ranked) > 1 else None,
            evidence_s=seconds(self._evidence),
            changed_at=changed_at,
        )
