"""Display names of the values that events carry: one table for the dashboard, the panel, the command line and reports.

The texts are lower case and without a full stop; a display capitalises one at the start of a line. The dashboard
receives the whole table in its first message.
"""

from __future__ import annotations

from collections.abc import Mapping

ALERT_LABELS: Mapping[str, str] = {
    "anger": "sustained anger",
    "dead_air": "dead air",
    "crosstalk": "talking over each other",
    "monologue": "long monologue",
    "rule": "alert rule",
}
"""Labels of kinds; of a rule, its name stands in their place (`alert_label`)."""

REASON_LABELS: Mapping[str, str] = {
    "matched": "matches a known voice",
    "new_voice": "new voice",
    "held": "same speaker assumed: no other voice is likely enough",
    "too_short": "too little speech in the window",
    "below_threshold": "no known voice is close enough",
    "ambiguous": "best voice is below speakers.match",
    "too_alike": "two enrolled voices are too alike",
    "overlap": "several people speak at once",
    "silence": "no speech",
    "track": "the channel identifies the speaker",
    "no_profiles": "no known voice is close enough, and no profile is enrolled",
}

SPEAKER_STATE_LABELS: Mapping[str, str] = {
    "confirmed": "speaking",
    "tentative": "not certain yet",
    "unknown": "unknown speaker",
    "overlap": "several speakers",
    "silence": "silent",
}

STREAM_STATE_LABELS: Mapping[str, str] = {
    "started": "stream started",
    "gap": "audio lost",
    "stalled": "no audio arrives",
    "paused": "paused: audio is discarded",
    "resumed": "resumed",
    "described": "call identified",
    "ended": "stream ended",
}

OUTCOME_LABELS: Mapping[str, str] = {
    "finished": "finished",
    "hung_up": "hung up",
    "cut": "connection lost",
    "refused": "ended by the node",
    "failed": "source failed",
    "stopped": "node stopped",
}

EMOTION_LABELS: Mapping[str, str] = {
    "neu": "neutral",
    "hap": "happy",
    "ang": "angry",
    "happiness": "happy",
    "anger": "angry",
    "sadness": "sad",
    "calm": "neutral",
}
"""Usual names of model labels; other labels are displayed unchanged."""

FLOOR_LABELS: Mapping[str, str] = {
    "customer": "customer",
    "agent": "agent",
    "crosstalk": "crosstalk",
    "silence": "silence",
    "lost": "no audio",
}


def alert_label(kind: str, rule: str | None = None) -> str:
    """Return the display name of an alert: of a rule, its name."""
    return rule or ALERT_LABELS.get(kind, kind)
