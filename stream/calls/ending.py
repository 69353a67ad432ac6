"""How the tracks of a stream or call ended, and what that says about the whole (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stream.events import Outcome, Party
from stream.events.labels import OUTCOME_LABELS

SAME_TIME_S = 0.1
"""Tracks that end within this time have ended together: which party hung up is unknown."""

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
    first, last = ends[0], ends[-1]
    if worst.outcome == "hung_up" and first.party is not None and abs(last.end_s - first.end_s) > SAME_TIME_S:
        return f"{first.party} hung up"
    return OUTCOME_LABELS[worst.outcome]
