"""How the tracks of a stream or call ended, and what that says about the whole (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stream.events import Outcome, Party
from stream.events.labels import OUTCOME_LABELS

SAME_TIME_S = 0.1
"""Tracks that end within this time have ended together: which party hung up is unknown."""

OUT_OF_ORDER_S = 2.0
"""Of tracks that end within this time, the end of any may be published first: each has audio left to process.

A longer difference of media time is that of a track that sent no audio for a while before it ended."""

SEVERITY: tuple[Outcome, ...] = ("failed", "refused", "cut", "stopped", "hung_up", "finished")
"""Of several tracks, the first of these outcomes is that of the whole."""


@dataclass(frozen=True, slots=True)
class TrackEnd:
    """How one track ended; the outcome is None for events of older nodes."""

    party: Party | None
    outcome: Outcome | None
    detail: str
    end_s: float


def worst_end(ends: Sequence[TrackEnd]) -> TrackEnd | None:
    """Return the end that counts for the whole, None if no track says how it ended."""
    reported = [(SEVERITY.index(end.outcome), end) for end in ends if end.outcome is not None]
    return min(reported, key=lambda one: one[0])[1] if reported else None


def ending_text(ends: Sequence[TrackEnd]) -> str:
    """Return how tracks ended that did so in this order, such as "customer hung up"."""
    worst = worst_end(ends)
    if worst is None or worst.outcome is None:
        return "ended"
    first = _first_end(ends)
    others_s = [abs(end.end_s - first.end_s) for end in ends if end is not first]
    if worst.outcome == "hung_up" and first.party is not None and max(others_s, default=0.0) > SAME_TIME_S:
        return f"{first.party} hung up"
    return OUTCOME_LABELS[worst.outcome]


def _first_end(ends: Sequence[TrackEnd]) -> TrackEnd:
    """Return the end of the track that ended first."""
    return min((end for end in ends if ends[0].end_s - end.end_s <= OUT_OF_ORDER_S), key=lambda end: end.end_s)
