"""Decisions in words (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stream.events import AlertEvent, EmotionEvent, Event, SpeakerEvent, SpeakerResolvedEvent, StreamEvent, TurnEvent
from stream.events.labels import ALERT_LABELS, REASON_LABELS, STREAM_STATE_LABELS

PLAIN = ("silence", "track")
"""Reasons that rest on no voice."""


def clock(at_s: float) -> str:
    """Minutes, seconds and tenths, and hours where there are some."""
    tenths = round(at_s * 10)
    hours, rest = divmod(tenths, 36_000)
    return (f"{hours}:" if hours else "") + f"{rest // 600:02}:{rest // 10 % 60:02}.{rest % 10}"


def decided(events: Sequence[SpeakerEvent]) -> str:
    """Why, and by which figures; of several decisions for one reason their range, and their closest call."""
    newest = events[-1]
    if newest.reason in PLAIN:
        return REASON_LABELS[newest.reason]
    said = [REASON_LABELS.get(newest.reason, newest.reason.replace("_", " ")), *_likely(events), *_scored(events)]
    said.append(f"{_range(one.evidence_s for one in events)} s of speech")
    if newest.identity is not None:
        named = (f"{one.label} {_percent([one.probability])}" for one in newest.identity.candidates)
        said.append(f"closed set (demonstration): {', '.join(named)}")
    return "; ".join(said)


def _likely(events: Iterable[SpeakerEvent]) -> list[str]:
    values = [one.probability for one in events if one.probability is not None]
    return [f"{_percent(values)} likely"] if values else []


def _scored(events: Sequence[SpeakerEvent]) -> list[str]:
    """The best voice's cosine and what it needs; the runner-up where it came closest."""
    scores = [one.score for one in events if one.score is not None]
    if not scores:
        return []
    threshold = events[-1].threshold
    needs = "" if threshold is None else f" (threshold {threshold:.2f})"
    said = [f"nearest voice at cosine {_range(scores, 2)}{needs}"]
    leads = [(one.margin, one.runner_up) for one in events if one.margin is not None]
    if leads:
        margin, runner_up = min(leads, key=lambda lead: lead[0])
        said.append(f"{runner_up} {margin:.2f} behind")
    return said


def felt(events: Sequence[EmotionEvent]) -> str:
    """The label with its confidence."""
    label = "hard to tell" if events[-1].label == "uncertain" else f"sounds {events[-1].label}"
    return f"{label}, {_percent([one.confidence for one in events])}"


def happened(event: Event) -> tuple[str, str] | None:
    """Whom a moment is about, and what it was; None for events that tell of no moment."""
    if isinstance(event, TurnEvent):
        who = event.party or event.speaker or "unknown"
        if event.phase == "start":
            return who, f"turn {event.turn} begins, dated back to {clock(event.start_s)}"
        shares = ", ".join(f"{label} {_percent([share])}" for label, share in event.emotions.items())
        held = f", {shares}" if shares else ""
        return who, f"turn {event.turn} ends, {event.end_s - event.start_s:.1f} s long{held}"
    if isinstance(event, SpeakerResolvedEvent):
        since = f"since {clock(event.start_s)}"
        return event.was, f"is {event.speaker}, {since}: {_percent([event.probability])} likely one person"
    if isinstance(event, AlertEvent):
        verb = "raised" if event.phase == "start" else "over"
        return event.speaker or "both", f"alert {verb}: {ALERT_LABELS[event.kind]}"
    if isinstance(event, StreamEvent):
        detail = f" ({event.detail})" if event.detail else ""
        return event.party or "sound", f"{STREAM_STATE_LABELS[event.state]}{detail}"
    return None


def _range(values: Iterable[float], places: int = 1) -> str:
    ordered = sorted(values)
    return " to ".join(dict.fromkeys(f"{value:.{places}f}" for value in (ordered[0], ordered[-1])))


def _percent(values: Sequence[float]) -> str:
    return f"{_range((100 * value for value in values), 0)} %"
