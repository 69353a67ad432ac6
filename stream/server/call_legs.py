"""The connected tracks of a call, which may come over one connection or two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from stream.calls.floor import PARTIES
from stream.events import CallChange, Party
from stream.sources.push import PushSource

ON_HOLD = "the call is on hold"

PartyTracks = Sequence[tuple[Party | None, PushSource]]
"""Tracks of one connection with their parties; the party is None for a stream that is no call."""


@dataclass(slots=True)
class CallLegs:
    """The connected tracks of a call by party; `name` is the call's name in the pipeline."""

    name: str
    tracks: dict[Party, PushSource] = field(default_factory=dict)
    is_on_hold: bool = False

    def change(self, change: CallChange) -> None:
        """Put the tracks on hold, or retrieve them; a transferred call is no longer on hold."""
        self.is_on_hold = change == "hold"
        for track in self.tracks.values():
            if self.is_on_hold:
                track.hold(ON_HOLD)
            else:
                track.retrieve("retrieved" if change == "retrieve" else "transferred")

    def add(self, party: Party, track: PushSource) -> None:
        """Add a track, which shares the call's state."""
        self.tracks[party] = track
        if self.is_on_hold:
            track.hold(ON_HOLD)


def own_key(name: str) -> str:
    """Return the key of a call whose tracks come over one connection: one that no leg can have."""
    return f"\0{name}"


def choose_parties(tracks: tuple[Party | None, ...], call: CallLegs | None) -> tuple[Party | None, ...]:
    """Return the party of a leg: its own, or the first one that the call lacks; none if it lacks none."""
    if tracks[0] is not None:
        return tracks
    connected = set(call.tracks) if call is not None else set[Party]()
    return tuple(party for party in PARTIES if party not in connected)[:1]
