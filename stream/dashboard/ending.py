"""How a stream or call ended, and how it went (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stream.dashboard.views import EndingView
from stream.events import AlertKind, Outcome, Party
from stream.events.labels import ALERT_LABELS, OUTCOME_LABELS

SAME_TIME_S = 0.1
"""Tracks that end within this time have ended together: which party hung up is unknown."""

SEVERITY: tuple[Outcome, ...] = ("failed", "refused", "cut", "stopped", "hung_up", "finished")
"""Of several tracks, the first of these outcomes is the card's."""


@dataclass(frozen=True, slots=True)
class TrackEnd:
    """How one track ended; the outcome is None for events of older nodes."""

    party: Party | None
    outcome: Outcome | None
    detail: str
    end_s: float


def ending_view(
    ends: Sequence[TrackEnd], *, emotions_s: Mapping[str, float], alerts: Mapping[AlertKind, int]
) -> EndingView:
    """Return the ending of a card whose tracks ended in the order of `ends`."""
    worst = min(
        (end for end in ends if end.outcome is not None),
        key=lambda end: SEVERITY.index(end.outcome) if end.outcome is not None else 0,
        default=None,
    )
    outcome = worst.outcome if worst is not None else None
    scored_s = sum(emotions_s.values())
    largest = sorted(emotions_s.items(), key=lambda entry: -entry[1])
    return EndingView(
        outcome=outcome,
        text=_text(ends, outcome),
        detail=worst.detail if worst is not None and outcome in ("failed", "refused") else "",
        emotions={label: round(seconds / scored_s, 3) for label, seconds in largest} if scored_s else {},
        alerts={ALERT_LABELS[kind]: count for kind, count in alerts.items()},
    )


def _text(ends: Sequence[TrackEnd], outcome: Outcome | None) -> str:
    if outcome is None:
        return "ended"
    first, last = ends[0], ends[-1]
    if outcome == "hung_up" and first.party is not None and abs(last.end_s - first.end_s) > SAME_TIME_S:
        return f"{first.party} hung up"
    return OUTCOME_LABELS[outcome]
