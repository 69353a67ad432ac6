"""Who is speaking: x-vectors against enrolled voices and voices met in this stream.

A filter over hypotheses: each voice, and *nobody known*. Each window of speech in turn:

* The score of every voice becomes a log-likelihood ratio, by the model's calibration (one person against two, given the
  seconds of speech). *Nobody known* has the ratio of a stranger, by definition 0.
* Ratios add up over the windows of a stretch of speech, up to a limit: windows overlap, and belief must not grow so
  deep that another voice could not be heard. Whoever spoke last is likelier than others to go on (`hold`), a pause
  makes that weaker, and within a stretch the voice may change at any moment (`change_s`).
* A voice at `match` is told. Nobody known at `create`, once there is evidence of `create_s`, becomes a *new* voice if
  the window lies wholly in one stretch of one voice, or a later window that shares at most half of its sound says
  the same: a window across a change of speaker sounds like neither, and must not found a person. Till then it is told
  as unknown. match < create < update: a voice learns only at `update`, from windows that share no sound with
  the last one it learned from and none with another voice's. Enrolled voices never learn.
* Where several people speak at once nothing is weighed, and a window that two voices share teaches and founds nobody.
* Two voices met that turn out to be one are merged, and one that turns out to be enrolled takes that name: `resolved`
  says so, with the time since when. Names are never given to anybody else.
* Too little speech is `tentative`, and so is whatever is not decided yet.
* `max_speakers` voices are remembered. A new one then takes the place of the one that was heard least for the time it
  has been silent, if that is `forget_s` or more; its name is never given again. A voice that was heard for next to
  nothing is forgotten after `forget_s` anyway: mostly it was a window that fitted nobody.
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
from stream.tracking.overlap import Overlap, mixed
from stream.tracking.scoring import Scorer
from stream.tracking.voice import Vector, Voice
from stream.types import WindowSpan

ROOM_NATS = 8.0
"""Log-odds that a model without calibration is taken to gain from its threshold to a cosine of 1."""

MERGE_S = 4.0
"""Evidence that two voices need before they are taken for one, and that a voice needs to be remembered for good."""

RECALLED = 40
"""Windows of a stretch that are looked back upon when the voice turns out to have changed."""

_LIMIT_NATS = 5.0
"""How sure one window, or all that came before it, can make."""

_LEAST_S = 0.5
ALONE = Overlap()
"""Nobody is known to speak at the same time."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A voice heard once that nobody has yet."""

    voice: Voice
    end_sample: int


class SpeakerTracker:
    """The voices of one stream, and which of them speaks."""

    def __init__(self, *, settings: SpeakersSettings, scorer: Scorer, enrolled: Sequence[Voice] = ()) -> None:
        self._settings = settings
        self._scorer = scorer
        self._voices = list(enrolled)
        self._since: dict[str, int] = {}
        self._met = 0
        self._belief = self._prior()  # log-probabilities: one a voice, the last for nobody known
        self._current: Voice | None = None
        self._stretch: int | None = None
        self._heard_until = 0
        self._evidence = 0
        self._pure_from = 0  # since here one voice was heard
        self._before: Voice | None = None  # who was told last in this stretch
        self._windows: deque[tuple[WindowSpan, Vector]] = deque(maxlen=RECALLED)  # of this stretch
        self._learned_until = 0
        self._candidate: _Candidate | None = None
        self._resolved: list[SpeakerCorrection] = []

    @property
    def voices(self) -> tuple[Voice, ...]:
        """Enrolled voices first, then those met, in order."""
        return tuple(self._voices)

    def resolved(self) -> list[SpeakerCorrection]:
        """What turned out since this was asked last."""
        found, self._resolved = self._resolved, []
        return found

    def met(self, name: str | None) -> Voice | None:
        """The voice of that name; for None whoever speaks now."""
        if name is None:
            return self._current
        return next((voice for voice in self._voices if voice.name == name), None)

    def know(self, enrolled: Sequence[Voice], *, met: str | None = None, name: str | None = None) -> None:
        """Enrolled people are these from now on; the voice `met` in the stream, if any, is the one called `name`."""
        believed = {
            voice.name: float(weight) for voice, weight in zip(self._voices, np.exp(self._belief), strict=False)
        }
        person = next((voice for voice in enrolled if voice.name == name), None)
        if met is not None and person is not None and met in believed:
            believed[person.name] = believed.pop(met) + believed.get(person.name, 0.0)
            self._resolved.append(SpeakerCorrection(met, person, self._since.pop(met, self._heard_until), 1.0))
        others = [voice for voice in self._voices if not voice.enrolled and (person is None or voice.name != met)]
        self._voices = [*enrolled, *others]
        floor = exp(-_LIMIT_NATS)
        belief = np.array([max(floor, believed.get(voice.name, 0.0)) for voice in self._voices])
        belief = np.append(belief, max(floor, 1.0 - belief.sum()))  # what was believed of those who are gone
        self._belief = np.log(belief / belief.sum())
        self._current, self._before = (
            person if voice is not None and voice.name == met else self.met(voice.name) if voice is not None else None
            for voice in (self._current, self._before)
        )

    def set_scorer(self, scorer: Scorer) -> None:
        """Score voices with `scorer` from the next window on."""
        self._scorer = scorer

    def restart(self) -> None:
        """After a gap: whoever spoke before may not be who speaks now."""
        self._current, self._stretch, self._candidate = None, None, None
        self._belief = self._prior()

    def observe(self, cut: WindowSpan, vector: Vector | None, overlap: Overlap = ALONE) -> Decision:
        """Decide about one window; `vector` (length one) is None when it was gated, dropped or failed."""
        if cut.stretch is None or cut.fresh_samples == 0:
            return Decision("silence", "silence")
        if cut.stretch.start_sample != self._stretch:
            self._begin(cut.stretch.start_sample)
        self._evidence += cut.fresh_samples
        self._heard_until = cut.end_sample
        if vector is None:
            return self._undecided("too_short", self._grounds())
        cosines = np.array([voice.similarity(vector) for voice in self._voices], dtype=np.float64)
        if overlap.now:
            grounds = self._grounds(cosines)
            return grounds.decision("overlap", "overlap", self._current, settled=self._current is not None)
        before = self._windows[-1][1] if self._windows else None
        blurred = mixed(vector, before, self._voices, cosines, gain=self._settings.mixed_gain)
        self._weigh(cut, vector)
        self._windows.append((cut, vector))
        return self._decide(cut, vector, self._grounds(cosines, mixed=blurred), pure=not (blurred or overlap.within))

    def _grounds(self, cosines: NDArray[np.float64] | None = None, *, mixed: bool = False) -> Evidence:
        return Evidence(
            voices=tuple(self._voices),
            cosines=np.empty(0) if cosines is None else cosines,
            belief=np.empty(0) if cosines is None else np.exp(self._belief),
            evidence_s=seconds(self._evidence),
            mixed=mixed,
        )

    def _begin(self, start_sample: int) -> None:
        """Another stretch of speech: whoever spoke last may go on, the less likely the longer the pause."""
        for voice in self._unheard(start_sample):
            if voice.evidence_s < MERGE_S:
                self._remove(voice, into=-1)
        pause_s = seconds(max(0, start_sample - self._heard_until))
        stay = self._settings.continuity * exp(-pause_s / self._settings.continuity_s)
        before, self._belief = self._belief, self._prior()
        if self._current is not None:
            mixed = (1 - stay) * np.exp(self._belief) + stay * np.exp(before)
            self._belief = np.log(mixed / mixed.sum())
        self._stretch, self._evidence, self._candidate = start_sample, 0, None
        self._pure_from = start_sample
        self._current = self._before = None
        self._windows.clear()

    def _prior(self) -> NDArray[np.float64]:
        """Before anything is heard: any known voice alike, and somebody new as if `new_voice_prior` of them were strangers."""
        known = len(self._voices)
        new = self._settings.new_voice_prior / (known + self._settings.new_voice_prior)
        return np.log(np.array([(1 - new) / known] * known + [new])) if known else np.zeros(1)

    def _weigh(self, cut: WindowSpan, vector: Vector) -> None:
        """Let time pass, then add what the window says."""
        change = 1.0 - exp(-seconds(cut.fresh_samples) / self._settings.change_s)
        mixed = (1 - change) * np.exp(self._belief) + change * np.exp(self._prior())
        speech_s = seconds(max(cut.speech_samples, 1))
        ratios = self._ratios(vector, speech_s)
        belief = np.log(mixed) + ratios
        belief -= belief.max()
        belief -= log(np.exp(belief).sum())
        self._belief = np.maximum(belief, -_LIMIT_NATS)

    def _ratios(self, vector: Vector, speech_s: float) -> NDArray[np.float64]:
        """Log-likelihood ratios of each voice against a stranger; the last is nobody known's, 0."""
        scores = self._scorer.scores(vector, self._voices)
        ratios = self._scorer.log_odds(scores, self._voices, speech_s=speech_s) - self._settings.log_odds_penalty
        ratios -= np.array([self._reserve(voice) for voice in self._voices], dtype=np.float64)
        return np.append(np.clip(ratios, -_LIMIT_NATS, _LIMIT_NATS), 0.0)

    def _reserve(self, voice: Voice) -> float:
        """Log-odds held back: a wrong name is worse than none, and a voice just met has been heard to say one thing."""
        if voice.enrolled:
            return self._settings.enrolled_penalty
        return self._settings.new_voice_penalty * exp(-voice.evidence_s / MERGE_S)

    def _decide(self, cut: WindowSpan, vector: Vector, grounds: Evidence, *, pure: bool) -> Decision:
        settings = self._settings
        best = int(grounds.belief.argmax())
        if best < len(self._voices):
            if grounds.belief[best] < settings.match:
                return self._undecided("ambiguous", grounds)
            return self._match(cut, vector, self._voices[best], grounds, pure=pure)
        if grounds.belief[best] < settings.create or seconds(self._evidence) < settings.create_s:
            return self._undecided(self._nobody, grounds)
        return self._meet(cut, vector, grounds, pure=pure)

    @property
    def _nobody(self) -> Reason:
        """Why somebody has no name."""
        return "below_threshold" if any(voice.enrolled for voice in self._voices) else "no_profiles"

    def _match(self, cut: WindowSpan, vector: Vector, voice: Voice, grounds: Evidence, *, pure: bool) -> Decision:
        changed_at = self._switch(cut, voice)
        voice.heard(cut.end_sample)
        sure = grounds.belief[self._voices.index(voice)] >= self._settings.update
        if pure and sure and cut.start_sample >= max(self._learned_until, self._pure_from):
            voice.update(vector, seconds(cut.speech_samples))
            self._learned_until = cut.end_sample
            self._reconsider(cut.end_sample)
        return grounds.decision("confirmed", "matched", self._current or voice, changed_at=changed_at)

    def _meet(self, cut: WindowSpan, vector: Vector, grounds: Evidence, *, pure: bool) -> Decision:
        """Found a new voice, if the window can be trusted to hold one voice only."""
        founds = pure and self._is_one_voice(cut, vector)
        if not founds or not self._make_room(cut.end_sample):
            self._current = None
            return grounds.decision("unknown", self._nobody, settled=founds, stranger=True)
        voice = _founded(self._new_name(), cut, vector)
        self._voices.append(voice)
        self._since[voice.name] = self._stretch if self._stretch is not None else cut.start_sample
        voice.heard(cut.end_sample)
        self._learned_until = cut.end_sample
        self._belief = np.append(self._belief[:-1], (self._belief[-1], -_LIMIT_NATS))
        self._candidate = None
        return grounds.decision("confirmed", "new_voice", voice, changed_at=self._switch(cut, voice))

    def _make_room(self, end_sample: int) -> bool:
        """Whether one more voice may be remembered; the one least heard for its silence is forgotten for it."""
        met = [voice for voice in self._voices if not voice.enrolled]
        if len(met) < self._settings.max_speakers:
            return True

        old = self._unheard(end_sample)
        if not old:
            return False
        self._remove(
            max(old, key=lambda voice: (end_sample - voice.heard_until) / max(voice.evidence_s, _LEAST_S)), into=-1
        )
        return True

    def _unheard(self, sample: int) -> list[Voice]:
        """Voices met that have been silent for `forget_s`."""
        silent = samples(self._settings.forget_s)
        return [voice for voice in self._voices if not voice.enrolled and sample - voice.heard_until >= silent]

    def _new_name(self) -> str:
        """S1, S2 …, passing over names somebody was enrolled under."""
        taken = {voice.name for voice in self._voices}
        for number in count(self._met + 1):
            self._met = number
            if (name := f"S{number}") not in taken:
                return name
        raise AssertionError

    def _is_one_voice(self, cut: WindowSpan, vector: Vector) -> bool:
        if self._before is None:  # nobody else was heard in this stretch
            return True
        candidate = self._candidate
        if candidate is None or self._scorer.probability(candidate.voice, _founded("", cut, vector)) < 0.5:  # noqa: PLR2004
            self._candidate = _Candidate(_founded("", cut, vector), cut.end_sample)
            return False
        return candidate.end_sample <= cut.start_sample + cut.length_samples // 2

    def _switch(self, cut: WindowSpan, voice: Voice) -> int | None:
        before, self._current, self._before = self._before, voice, voice
        if before is None or before is voice:
            return None
        self._candidate = None
        self._pure_from = self._changed_at(cut, before, voice)
        return self._pure_from

    def _changed_at(self, cut: WindowSpan, before: Voice, voice: Voice) -> int:
        """Where the voice changed: looking back, where windows begin to speak for it rather than for the one before."""
        first = cut
        for heard, vector in reversed(self._windows):
            old, new = self._scorer.scores(vector, (before, voice))
            if new <= old:
                return first.end_sample - first.length_samples // 2  # more than half of that window is the new voice
            first = heard
        return self._stretch if self._stretch is not None else first.start_sample

    def _reconsider(self, end_sample: int) -> None:
        """Whether the voice that just learned is, after all, another one that is known longer."""
        voice = self._current
        if voice is None or voice.enrolled or voice.evidence_s < MERGE_S:
            return
        for other in self._voices:
            if other is voice or other.evidence_s < MERGE_S or (not other.enrolled and self._younger(voice, other)):
                continue
            probability = self._scorer.probability(voice, other)
            if probability >= self._settings.merge:
                self._merge(voice, other, probability, end_sample)
                return

    def _younger(self, voice: Voice, other: Voice) -> bool:
        return self._voices.index(other) > self._voices.index(voice)

    def _merge(self, voice: Voice, into: Voice, probability: float, end_sample: int) -> None:
        since = self._since.get(voice.name, end_sample)
        self._remove(voice, into=self._voices.index(into))
        into.update(voice.centroid, voice.evidence_s)
        into.heard(end_sample)
        self._current = self._before = into  # the same person goes on: nobody took over
        self._resolved.append(SpeakerCorrection(voice.name, into, since, probability))

    def _remove(self, voice: Voice, *, into: int) -> None:
        """Forget a voice; what was believed of it is believed of another hypothesis (-1: of nobody known)."""
        place = self._voices.index(voice)
        belief = np.exp(self._belief)
        belief[into] += belief[place]
        self._belief = np.log(np.delete(belief, place))
        del self._voices[place]
        self._since.pop(voice.name, None)

    def _undecided(self, reason: Reason, grounds: Evidence) -> Decision:
        if self._current is not None:
            return grounds.decision("confirmed", "held", self._current)
        return grounds.decision("tentative", reason, settled=False, stranger=reason == self._nobody)


def _founded(name: str, cut: WindowSpan, vector: Vector) -> Voice:
    """A voice of one window."""
    return Voice(name=name, exemplars=[vector], enrolled=False, evidence_s=seconds(cut.speech_samples))
