"""The order of the wall: which card needs attention first, and why (pure).

Points order the cards. Alerts come first, the most serious on top, then streams without audio, then a customer who
sounds angry or sad without an alert. Ended streams come last.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stream.dashboard.views import AlertView, CardStatus, EmotionView
from stream.events.labels import STREAM_STATE_LABELS

ALERT_POINTS: Mapping[str, int] = {"anger": 400, "crosstalk": 320, "dead_air": 300, "monologue": 260}
OTHER_ALERT_POINTS = 250
FURTHER_ALERT_POINTS = 10
NO_AUDIO_POINTS = 150
RECENT_LOSS_POINTS = 30

EMOTION_POINTS: Mapping[str, int] = {"angry": 100, "sad": 40}
"""Points of an emotion with confidence 1."""

OFFLINE_LABEL = "node is offline"
ANGRY_LABEL = "sounds angry"


def attention(
    *, state: CardStatus, alerts: Collection[AlertView], emotion: EmotionView | None, recent_loss: bool
) -> tuple[int, str]:
    """Return a card's points (the more, the higher on the wall) and the reason as text, "" if there is none."""
    if state == "ended":
        return -1, ""
    points, reason = 0, ""
    for alert in alerts:
        alert_points = ALERT_POINTS.get(alert.kind, OTHER_ALERT_POINTS)
        if alert_points > points:
            points, reason = alert_points, alert.label
    points += FURTHER_ALERT_POINTS * max(0, len(alerts) - 1)
    if state in ("stalled", "offline"):
        points += NO_AUDIO_POINTS
        reason = reason or (OFFLINE_LABEL if state == "offline" else STREAM_STATE_LABELS["stalled"])
    if emotion is not None and emotion.label in EMOTION_POINTS:
        points += round(EMOTION_POINTS[emotion.label] * emotion.confidence)
        if emotion.label == "angry":
            reason = reason or ANGRY_LABEL
    if recent_loss:
        points += RECENT_LOSS_POINTS
        reason = reason or STREAM_STATE_LABELS["gap"]
    return points, reason
