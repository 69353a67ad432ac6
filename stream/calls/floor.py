"""Floor of a call: its time split into customer, agent, silence and crosstalk, and the figures derived from it (pure).

`FloorTracker.advance` takes the next span in which no party starts or stops speaking; splitting a span further changes
nothing. Definitions:

* Every sample is exactly one of: the customer's, the agent's, silence, crosstalk, or lost: no party speaks, and the
  audio of at least one party is missing (a gap, a pause). Lost time is neither silence nor a response gap.
* A party *takes the floor*, and a turn is counted, once it has spoken alone for `floor_s` in one utterance; anything
  shorter is a backchannel such as `mhm`. Its turn starts with the utterance. It holds the floor until the other party
  takes it, or until it has been silent for `pause_s`; that time is a monologue.
* Crosstalk of `interruption_s` is an *interruption* by the party that started to speak later; if both started at once,
  it is counted for neither.
* A *response gap* is the silence between the other party's speech and the utterance that took the floor from it; 0 if
  they overlapped.

All values are in samples; emotion and alerts are not part of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stream.clock import samples
from stream.events import FloorState as State
from stream.events import Party
from stream.settings import CallsSettings

PARTIES: tuple[Party, Party] = ("customer", "agent")


def other(party: Party) -> Party:
    """Return the other party of the call."""
    return PARTIES[party == PARTIES[0]]


@dataclass(slots=True)
class PartyFigures:
    """Figures of one party so far, in samples and counts."""

    speaking: bool = False
    speech: int = 0
    turns: int = 0
    longest_monologue: int = 0
    interruptions: int = 0
    interrupting: int = 0
    responses: int = 0
    response_gaps: int = 0
    utterance_start: int = 0  # of the current utterance
    utterance_end: int | None = None  # of the last complete utterance
    alone: int = 0  # speech of the current utterance without the other party
    gap: int | None = None  # silence between the other party's speech and the current utterance


class FloorTracker:
    """Floor state and figures of one call."""

    def __init__(self, *, settings: CallsSettings) -> None:
        self._min_floor = samples(settings.floor_s)
        self._min_interruption = samples(settings.interruption_s)
        self._pause = samples(settings.pause_s)
        self.position = 0
        self.durations: dict[State, int] = dict.fromkeys(("customer", "agent", "silence", "crosstalk", "lost"), 0)
        self.figures: dict[Party, PartyFigures] = {party: PartyFigures() for party in PARTIES}
        self.state: State = "silence"
        self.longest_silence = 0
        self._silence = 0  # length of the current silence, lost time left out
        self._lost = 0  # length of the current lost time
        self._lost_end = 0  # end of the newest lost time that is no short gap
        self._holder: Party | None = None
        self._last_holder: Party | None = None  # kept when the floor becomes free
        self._held_since = self._held_until = 0
        self._overlap = 0  # length of the current crosstalk so far
        self._interrupter: Party | None = None

    @property
    def current_silence(self) -> int:
        """Length of the current silence; 0 while a party speaks."""
        return self._silence if self.state == "silence" else 0

    def monologue(self, party: Party) -> int:
        """Return for how long a party has held the floor; 0 if it does not."""
        if self._holder != party or self.position - self._held_until >= self._pause:
            return 0
        return self._held_until - self._held_since

    def advance(self, end_sample: int, speaking: Iterable[Party], *, lost: bool = False) -> None:
        """Advance to `end_sample`; up to there exactly the parties `speaking` speak, and audio is `lost` or not."""
        length = end_sample - self.position
        if length <= 0:
            return
        self._set_speaking(set(speaking), lost=lost)
        self.durations[self.state] += length
        for party, figures in self.figures.items():
            if figures.speaking:
                figures.speech += length
                if self.state == party:
                    self._add_speech_alone(party, length)
        if self.state == "crosstalk":
            self._add_crosstalk(length)
        self._add_silence(end_sample, length)
        self.position = end_sample
        if self._holder is not None and self.figures[self._holder].speaking:
            self._held_until = end_sample
            figures = self.figures[self._holder]
            figures.longest_monologue = max(figures.longest_monologue, self._held_until - self._held_since)
        self.longest_silence = max(self.longest_silence, self.current_silence)

    def _set_speaking(self, speaking: set[Party], *, lost: bool) -> None:
        """Start and end utterances at the current position, and set the floor state."""
        before = [party for party in PARTIES if self.figures[party].speaking]
        for party, figures in self.figures.items():
            if figures.speaking and party not in speaking:
                figures.speaking, figures.utterance_end = False, self.position
        for party in PARTIES:
            if party in speaking and not self.figures[party].speaking:
                self._start_utterance(party, overlaps=other(party) in before)
        if len(speaking) > 1 and self.state != "crosstalk":
            self._overlap = 0
            self._interrupter = other(before[0]) if len(before) == 1 else None
        self.state = "crosstalk" if len(speaking) > 1 else next(iter(speaking), "lost" if lost else "silence")

    def _add_silence(self, end_sample: int, length: int) -> None:
        """Extend the current silence; lost time does not count, and ends it unless it is a short gap."""
        self._lost = self._lost + length if self.state == "lost" else 0
        if self._lost >= self._pause:
            self._lost_end = end_sample
        if self.state == "silence":
            self._silence += length
        elif self.state != "lost" or self._lost >= self._pause:
            self._silence = 0

    def _start_utterance(self, party: Party, *, overlaps: bool) -> None:
        if self._holder == party and self.position - self._held_until >= self._pause:
            self._holder = None  # silent for too long: the party must take the floor again
        figures, others_end = self.figures[party], self.figures[other(party)].utterance_end
        figures.speaking, figures.utterance_start, figures.alone = True, self.position, 0
        if overlaps:
            figures.gap = 0
        else:
            answered = others_end is not None and others_end >= self._lost_end  # no time between them was lost
            figures.gap = self.position - others_end if others_end is not None and answered else None

    def _add_speech_alone(self, party: Party, length: int) -> None:
        figures = self.figures[party]
        figures.alone += length
        if self._holder == party or figures.alone < self._min_floor:
            return
        if self._last_holder == other(party) and figures.gap is not None:
            figures.responses += 1
            figures.response_gaps += figures.gap
        figures.turns += 1
        self._holder = self._last_holder = party
        self._held_since = figures.utterance_start

    def _add_crosstalk(self, length: int) -> None:
        before, self._overlap = self._overlap, self._overlap + length
        if self._interrupter is None or self._overlap < self._min_interruption:
            return
        figures = self.figures[self._interrupter]
        if before >= self._min_interruption:  # counted already
            figures.interrupting += length
        else:
            figures.interruptions += 1
            figures.interrupting += self._overlap
