"""Which card a person should look at first (pure).

The points only order the wall; the words say why, and are shown. Alerts come first, the gravest on top, then a stream
that fell silent for technical reasons, then a customer who sounds angry or sad without an alert yet. Ended ones sink.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stream.events.labels import ALERT_LABELS

ALERT_POINTS: Mapping[str, int] = {"anger": 400, "crosstalk": 320, "dead_air": 300, "monologue": 260}
OTHER_ALERT = 250
"""An alert of a kind that this version does not know."""

HEATED: Mapping[str, int] = {"angry": 100, "sad": 40}
"""What a full probability of the label adds."""


def attention(
    *, state: str, alerts: Sequence[Mapping[str, Any]], mood: Mapping[str, Any] | None, lost_lately: bool
) -> tuple[int, str]:
    """Points (the more, the higher on the wall) and the reason in words, empty where there is none."""
    if state == "ended":
        return -1, ""
    points, words = 0, ""
    for alert in alerts:
        worth = ALERT_POINTS.get(alert["kind"], OTHER_ALERT)
        if worth > points:
            points, words = worth, ALERT_LABELS.get(alert["kind"], str(alert["kind"]).replace("_", " "))
    points += 10 * max(0, len(alerts) - 1)
    if state in ("stalled", "offline"):
        points, words = points + 150, words or ("no sound arrives" if state == "stalled" else "node is offline")
    if mood is not None and mood["label"] in HEATED:
        points += round(HEATED[mood["label"]] * mood["confidence"])
        if mood["label"] == "angry":
            words = words or "sounds angry"
    if lost_lately:
        points, words = points + 30, words or "sound was lost"
    return points, words
