"""Who holds the floor of a call: its time parted into customer, agent, silence and crosstalk, and what follows.

`FloorTracker.advance` takes the next span in which nobody begins or ends to talk; how a span is cut into smaller ones does not
change anything. Rules:

* Time is parted exactly: every sample is the customer's, the agent's, silence, or crosstalk.
* A party *takes the floor*, and a turn is counted, once it has talked alone for `floor_s` in one utterance; less is a
  mere `mhm`. Its turn began with the utterance. It holds the floor until the other takes it, or until it has been
  silent for `pause_s`: that is a monologue.
* Crosstalk of `interruption_s` is an *interruption* by whoever began to talk later; nobody's if both began at once.
* A *response gap* is the silence between the other's talk and the utterance that took the floor from it; 0 where they
  overlapped.

All in samples; knows no emotion and no alerts.
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
    """The one at the other end of the line."""
    return PARTIES[party == PARTIES[0]]


@dataclass(slots=True)
class PartyFigures:
    """What one party has done so far, in samples and counts."""

    talking: bool = False
    talk: int = 0
    turns: int = 0
    longest_monologue: int = 0
    interruptions: int = 0
    interrupting: int = 0
    responses: int = 0
    response_gaps: int = 0
    began: int = 0  # where its utterance began
    ended: int | None = None  # where its last utterance ended
    alone: int = 0  # talk of this utterance without the other
    gap: int | None = None  # what lay between the other's talk and this utterance


class FloorTracker:
    """The time of one call."""

    def __init__(self, *, settings: CallsSettings) -> None:
        self._take = samples(settings.floor_s)
        self._interrupt = samples(settings.interruption_s)
        self._pause = samples(settings.pause_s)
        self.position = 0
        self.spent: dict[State, int] = dict.fromkeys(("customer", "agent", "silence", "crosstalk"), 0)
        self.rows: dict[Party, PartyFigures] = {party: PartyFigures() for party in PARTIES}
        self.state: State = "silence"
        self.longest_silence = 0
        self._silent_since = 0
        self._holder: Party | None = None
        self._last_holder: Party | None = None  # also when the floor has become free since
        self._held_since = self._held_until = 0
        self._overlap = 0  # of this crosstalk so far
        self._intruder: Party | None = None

    @property
    def current_silence(self) -> int:
        """For how long nobody has talked."""
        return self.position - self._silent_since if self.state == "silence" else 0

    def monologue(self, party: Party) -> int:
        """For how long a party has held the floor; 0 if it does not."""
        if self._holder != party or self.position - self._held_until >= self._pause:
            return 0
        return self._held_until - self._held_since

    def advance(self, end_sample: int, talking: Iterable[Party]) -> None:
        """Up to `end_sample`, these parties talk, and the others do not."""
        length = end_sample - self.position
        if length <= 0:
            return
        self._begin_and_end(set(talking))
        self.spent[self.state] += length
        for party, row in self.rows.items():
            if row.talking:
                row.talk += length
                if self.state == party:
                    self._talk_alone(party, length)
        if self.state == "crosstalk":
            self._talk_across(length)
        self.position = end_sample
        if self._holder is not None and self.rows[self._holder].talking:
            self._held_until = end_sample
            row = self.rows[self._holder]
            row.longest_monologue = max(row.longest_monologue, self._held_until - self._held_since)
        self.longest_silence = max(self.longest_silence, self.current_silence)

    def _begin_and_end(self, talking: set[Party]) -> None:
        """Who begins or stops to talk here."""
        before = [party for party in PARTIES if self.rows[party].talking]
        for party, row in self.rows.items():
            if row.talking and party not in talking:
                row.talking, row.ended = False, self.position
        for party, row in self.rows.items():
            if party in talking and not row.talking:
                if self._holder == party and self.position - self._held_until >= self._pause:
                    self._holder = None  # it has been silent for too long, and must take the floor anew
                they = self.rows[other(party)]
                row.talking, row.began, row.alone = True, self.position, 0
                row.gap = 0 if other(party) in before else None if they.ended is None else self.position - they.ended
        silent = not talking
        if silent and self.state != "silence":
            self._silent_since = self.position
        if len(talking) > 1 and self.state != "crosstalk":
            self._overlap = 0
            self._intruder = other(before[0]) if len(before) == 1 else None
        if len(talking) > 1:
            self.state = "crosstalk"
        else:
            self.state = next(iter(talking), "silence")

    def _talk_alone(self, party: Party, length: int) -> None:
        row = self.rows[party]
        row.alone += length
        if self._holder == party or row.alone < self._take:
            return
        if self._last_holder == other(party) and row.gap is not None:
            row.responses += 1
            row.response_gaps += row.gap
        row.turns += 1
        self._holder = self._last_holder = party
        self._held_since = row.began

    def _talk_across(self, length: int) -> None:
        before, self._overlap = self._overlap, self._overlap + length
        if self._intruder is None or self._overlap < self._interrupt:
            return
        row = self.rows[self._intruder]
        counted = before >= self._interrupt
        row.interruptions += not counted
        row.interrupting += length if counted else self._overlap
