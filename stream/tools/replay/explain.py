"""Explanations of decisions as text (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stream.events import AlertEvent, EmotionEvent, Event, SpeakerEvent, SpeakerResolvedEvent, StreamEvent, TurnEvent
from stream.events.labels import REASON_LABELS, STREAM_STATE_LABELS, alert_label

REASONS_WITHOUT_SCORES = ("silence", "track")
"""Reasons that involve no scores."""


def format_time(at_s: float) -> str:
    """Format media time as minutes, seconds and tenths, with hours if any."""
    tenths = round(at_s * 10)
    hours, rest = divmod(tenths, 36_000)
    return (f"{hours}:" if hours else "") + f"{rest // 600:02}:{rest // 10 % 60:02}.{rest % 10}"


def describe_decision(events: Sequence[SpeakerEvent]) -> str:
    """Return reason and figures of a decision; for several with one reason the range, and the smallest margin."""
    newest = events[-1]
    if newest.reason in REASONS_WITHOUT_SCORES:
        return REASON_LABELS[newest.reason]
    parts = [_reason(newest), *_probability(events), *_scores(events)]
    parts.append(f"{_range(one.evidence_s for one in events)} s of speech")
    if newest.identity is not None:
        named = (f"{one.label} {_percent([one.probability])}" for one in newest.identity.candidates)
        parts.append(f"closed set (demonstration): {', '.join(named)}")
    return "; ".join(parts)


def _reason(event: SpeakerEvent) -> str:
    text = REASON_LABELS.get(event.reason, event.reason.replace("_", " "))
    if event.reason == "too_alike" and event.best is not None and event.runner_up is not None:
        return f"{text}: {event.best!r} or {event.runner_up!r}; use `tonewatch profiles merge` if they are one person"
    return text


def _probability(events: Iterable[SpeakerEvent]) -> list[str]:
    values = [one.probability for one in events if one.probability is not None]
    return [f"probability {_percent(values)}"] if values else []


def _scores(events: Sequence[SpeakerEvent]) -> list[str]:
    """Return the best voice's score with its threshold, and the runner-up with the smallest margin."""
    scores = [one.score for one in events if one.score is not None]
    if not scores:
        return []
    threshold = events[-1].threshold
    limit = "" if threshold is None else f" (threshold {threshold:.2f})"
    others = dict.fromkeys(one.best for one in events if one.best is not None and one.best != one.speaker)
    named = f" {' or '.join(others)}" if others else ""
    parts = [f"nearest voice{named} at cosine {_range(scores, 2)}{limit}"]
    margins = [(one.margin, one.runner_up) for one in events if one.margin is not None]
    if margins:
        margin, runner_up = min(margins, key=lambda pair: pair[0])
        parts.append(f"{runner_up} {margin:.2f} behind")
    return parts


def describe_emotion(events: Sequence[EmotionEvent]) -> str:
    """Return the emotion label with its confidence."""
    label = "uncertain emotion" if events[-1].label == "uncertain" else f"sounds {events[-1].label}"
    return f"{label}, {_percent([one.confidence for one in events])}"


def describe_event(event: Event) -> tuple[str, str] | None:
    """Return speaker and description of a momentary event; None for other events."""
    if isinstance(event, TurnEvent):
        subject = event.party or event.speaker or "unknown"
        if event.phase == "start":
            return subject, f"turn {event.turn} starts, backdated to {format_time(event.start_s)}"
        shares = ", ".join(f"{label} {_percent([share])}" for label, share in event.emotions.items())
        emotions = f", {shares}" if shares else ""
        return subject, f"turn {event.turn} ends, {event.end_s - event.start_s:.1f} s long{emotions}"
    if isinstance(event, SpeakerResolvedEvent):
        since = f"since {format_time(event.start_s)}"
        return event.previous, f"is {event.speaker}, {since}: probability {_percent([event.probability])}"
    if isinstance(event, AlertEvent):
        phase = "raised" if event.phase == "start" else "ended"
        subject = event.speaker or event.person or ("stream" if event.rule else "both")
        return subject, f"alert {phase}: {alert_label(event.kind, event.rule)}"
    if isinstance(event, StreamEvent):
        detail = f" ({event.detail})" if event.detail else ""
        return event.party or "stream", f"{STREAM_STATE_LABELS[event.state]}{detail}"
    return None


def _range(values: Iterable[float], places: int = 1) -> str:
    ordered = sorted(values)
    return " to ".join(dict.fromkeys(f"{value:.{places}f}" for value in (ordered[0], ordered[-1])))


def _percent(values: Sequence[float]) -> str:
    return f"{_range((100 * value for value in values), 0)} %"
