"""How a stream or call ended, and how it went (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stream.calls.ending import TrackEnd, ending_text, worst_end
from stream.dashboard.views import EndingView
from stream.events import AlertKind
from stream.events.labels import ALERT_LABELS


def ending_view(
    ends: Sequence[TrackEnd], *, emotions_s: Mapping[str, float], alerts: Mapping[AlertKind, int], report: str = ""
) -> EndingView:
    """Return the ending of a card whose tracks ended in the order of `ends`; `report` is the id of its report."""
    worst = worst_end(ends)
    outcome = worst.outcome if worst is not None else None
    scored_s = sum(emotions_s.values())
    largest = sorted(emotions_s.items(), key=lambda entry: -entry[1])
    return EndingView(
        outcome=outcome,
        text=ending_text(ends),
        detail=worst.detail if worst is not None and outcome in ("failed", "refused") else "",
        emotions={label: round(seconds / scored_s, 3) for label, seconds in largest} if scored_s else {},
        alerts={ALERT_LABELS[kind]: count for kind, count in alerts.items()},
        report=report,
    )
