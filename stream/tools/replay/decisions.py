"""What was told of a stream, as lines in the order of the sound: decisions that held, and moments (pure).

A decision counts from the media time at which its window ended, since before that it could not be told, to the moment
of the next one. Decisions in a row that say the same for the same reason are one line, with the range of their figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, TypeVar

from stream.events import EmotionEvent, Event, SpeakerEvent, SpeakerResolvedEvent
from stream.tools.replay import explain

MARKS: Mapping[str, str] = {"confirmed": "●", "tentative": "◌", "unknown": "?", "silence": "–", "overlap": "⧉"}
SOUNDS, MOMENT, CORRECTION = "♪", "▸", "↺"

Kind = TypeVar("Kind", SpeakerEvent, EmotionEvent)


@dataclass(frozen=True, slots=True)
class DecisionSpan(Generic[Kind]):
    """Events that said the same, and from when to when that was what was told."""

    start_s: float
    end_s: float
    events: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log. A moment ends where it starts."""

    start_s: float
    end_s: float
    mark: str
    who: str
    why: str

    @property
    def when(self) -> str:
        """Its time or times, for people."""
        return explain.clock(self.start_s) + (f"–{explain.clock(self.end_s)}" if self.end_s > self.start_s else "")


def held(told: Sequence[Kind], end_s: float, same: Callable[[Kind], object]) -> Iterator[DecisionSpan[Kind]]:
    """Events of one kind and stream until the next; those for which `same` is equal, in a row, as one."""
    ends = [*(event.end_s for event in told[1:]), end_s]
    for _, run in groupby(zip(told, ends, strict=False), lambda pair: same(pair[0])):
        pairs = list(run)
        start_s, until_s = pairs[0][0].end_s, pairs[-1][1]
        if until_s > start_s:
            yield DecisionSpan(start_s, until_s, tuple(event for event, _ in pairs))


def decisions(told: Iterable[Event], end_s: float, *, fold: bool = True) -> list[DecisionSpan[SpeakerEvent]]:
    """Who was told when, of one stream."""
    events = [event for event in told if isinstance(event, SpeakerEvent)]
    return list(held(events, end_s, lambda one: (one.state, one.speaker, one.reason) if fold else one.seq))


def feelings(told: Iterable[Event], end_s: float, *, fold: bool = True) -> list[DecisionSpan[EmotionEvent]]:
    """How they sounded, of one stream."""
    events = [event for event in told if isinstance(event, EmotionEvent)]
    return list(held(events, end_s, lambda one: (one.label, one.speaker) if fold else one.seq))


def log(told: Sequence[Event], *, fold: bool = True) -> list[LogLine]:
    """Everything that was told of a stream, or of a call with its tracks."""
    end_s = max((event.end_s for event in told), default=0.0)
    names = {event.was: event.speaker for event in told if isinstance(event, SpeakerResolvedEvent)}
    lines: list[LogLine] = []
    for source in dict.fromkeys(event.source for event in told):
        mine = [event for event in told if event.source == source]
        lines += [_decision(one, names) for one in decisions(mine, end_s, fold=fold)]
        lines += [_feeling(one) for one in feelings(mine, end_s, fold=fold) if one.events[0].label != "silence"]
        lines += [line for event in mine if (line := _moment(event)) is not None]
    return sorted(lines, key=lambda line: line.start_s)


def _decision(one: DecisionSpan[SpeakerEvent], names: Mapping[str, str]) -> LogLine:
    event = one.events[-1]
    who = event.speaker or {"silence": "nobody", "tentative": "somebody", "overlap": "several"}.get(
        event.state, "unknown"
    )
    if event.speaker is not None and event.speaker in names:
        who = f"{event.speaker} ({names[event.speaker]})"
    return LogLine(one.start_s, one.end_s, MARKS[event.state], who, explain.decided(one.events))


def _feeling(one: DecisionSpan[EmotionEvent]) -> LogLine:
    event = one.events[-1]
    who = event.party or event.speaker or "somebody"
    return LogLine(one.start_s, one.end_s, SOUNDS, who, explain.felt(one.events))


def _moment(event: Event) -> LogLine | None:
    said = explain.happened(event)
    if said is None:
        return None
    mark = CORRECTION if isinstance(event, SpeakerResolvedEvent) else MOMENT
    return LogLine(event.end_s, event.end_s, mark, *said)
