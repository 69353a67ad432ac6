"""The decisions of a stream as a log in media time: spans of equal decisions, and momentary events (pure).

A decision counts from the media time at which its window ended, the earliest at which it is available, to the next
decision. Consecutive decisions with equal result and reason are one line, with the range of their figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, TypeVar

from stream.events import EmotionEvent, Event, SpeakerEvent, SpeakerResolvedEvent
from stream.tools.replay import explain

MARKS: Mapping[str, str] = {"confirmed": "●", "tentative": "◌", "unknown": "?", "silence": "–", "overlap": "⧉"}
EMOTION_MARK, MOMENT_MARK, CORRECTION_MARK = "♪", "▸", "↺"

Kind = TypeVar("Kind", SpeakerEvent, EmotionEvent)


@dataclass(frozen=True, slots=True)
class DecisionSpan(Generic[Kind]):
    """Consecutive events with equal result, and the time during which that result was current."""

    start_s: float
    end_s: float
    events: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log; for a momentary event start and end are equal."""

    start_s: float
    end_s: float
    mark: str
    subject: str
    text: str

    @property
    def when(self) -> str:
        """Formatted time or time range."""
        return explain.format_time(self.start_s) + (
            f"–{explain.format_time(self.end_s)}" if self.end_s > self.start_s else ""
        )


def merge_spans(events: Sequence[Kind], end_s: float, same: Callable[[Kind], object]) -> Iterator[DecisionSpan[Kind]]:
    """Yield spans of consecutive events of one type and stream for which `same` is equal."""
    ends = [*(event.end_s for event in events[1:]), end_s]
    for _, run in groupby(zip(events, ends, strict=False), lambda pair: same(pair[0])):
        pairs = list(run)
        start_s, until_s = pairs[0][0].end_s, pairs[-1][1]
        if until_s > start_s:
            yield DecisionSpan(start_s, until_s, tuple(event for event, _ in pairs))


def speaker_spans(events: Iterable[Event], end_s: float, *, fold: bool = True) -> list[DecisionSpan[SpeakerEvent]]:
    """Return the spans of equal speaker decisions of one stream."""
    selected = [event for event in events if isinstance(event, SpeakerEvent)]
    return list(merge_spans(selected, end_s, lambda one: (one.state, _names(one), one.reason) if fold else one.seq))


def emotion_spans(events: Iterable[Event], end_s: float, *, fold: bool = True) -> list[DecisionSpan[EmotionEvent]]:
    """Return the spans of equal emotion labels of one stream."""
    selected = [event for event in events if isinstance(event, EmotionEvent)]
    return list(merge_spans(selected, end_s, lambda one: (one.label, one.speaker) if fold else one.seq))


def build_log(events: Sequence[Event], *, fold: bool = True) -> list[LogLine]:
    """Return the log of a stream, or of a call with its tracks."""
    end_s = max((event.end_s for event in events), default=0.0)
    names = {event.previous: event.speaker for event in events if isinstance(event, SpeakerResolvedEvent)}
    lines: list[LogLine] = []
    for source in dict.fromkeys(event.source for event in events):
        mine = [event for event in events if event.source == source]
        lines += [_speaker_line(one, names) for one in speaker_spans(mine, end_s, fold=fold)]
        lines += [
            _emotion_line(one) for one in emotion_spans(mine, end_s, fold=fold) if one.events[0].label != "silence"
        ]
        lines += [line for event in mine if (line := _moment_line(event)) is not None]
    return sorted(lines, key=lambda line: line.start_s)


def _speaker_line(one: DecisionSpan[SpeakerEvent], names: Mapping[str, str]) -> LogLine:
    event = one.events[-1]
    if event.speaker is None and len(event.speakers) <= 1:
        subject = {"silence": "silence", "tentative": "tentative", "overlap": "several"}.get(event.state, "unknown")
    else:
        subject = " + ".join(_corrected(name, names) for name in _names(event))
    return LogLine(one.start_s, one.end_s, MARKS[event.state], subject, explain.describe_decision(one.events))


def _names(event: SpeakerEvent) -> list[str]:
    """Return the names of everyone who speaks, the foremost one first."""
    return [event.speaker or "unknown", *(other.speaker or "unknown" for other in event.speakers[1:])]


def _corrected(name: str, names: Mapping[str, str]) -> str:
    return f"{name} ({names[name]})" if name in names else name


def _emotion_line(one: DecisionSpan[EmotionEvent]) -> LogLine:
    event = one.events[-1]
    subject = event.party or event.speaker or "unknown"
    return LogLine(one.start_s, one.end_s, EMOTION_MARK, subject, explain.describe_emotion(one.events))


def _moment_line(event: Event) -> LogLine | None:
    description = explain.describe_event(event)
    if description is None:
        return None
    mark = CORRECTION_MARK if isinstance(event, SpeakerResolvedEvent) else MOMENT_MARK
    return LogLine(event.end_s, event.end_s, mark, *description)
