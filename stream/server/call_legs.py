"""The connected tracks of a call, which may come over one connection or two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from stream.calls.floor import PARTIES
from stream.events import Party
from stream.sources.push import PushSource

PartyTracks = Sequence[tuple[Party | None, PushSource]]
"""Tracks of one connection with their parties; the party is None for a stream that is no call."""


@dataclass(slots=True)
class CallLegs:
    """The connected tracks of a call by party; `name` is the call's name in the pipeline."""

    name: str
    tracks: dict[Party, PushSource] = field(default_factory=dict)


def choose_parties(tracks: tuple[Party | None, ...], call: CallLegs | None) -> tuple[Party | None, ...]:
    """Return the party of a leg: its own, or the first one that the call lacks; none if it lacks none."""
    if tracks[0] is not None:
        return tracks
    connected = set(call.tracks) if call is not None else set[Party]()
    return tuple(party for party in PARTIES if party not in connected)[:1]
