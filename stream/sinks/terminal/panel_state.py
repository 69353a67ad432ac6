"""The state of the panel, and the timeline of turns it draws (pure: no terminal)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.text import Text

from stream.events import (
    AlertEvent,
    CallEvent,
    EmotionEvent,
    Event,
    HealthEvent,
    RoomsEvent,
    SpeakerEvent,
    StreamEvent,
    TurnEvent,
)
from stream.events.labels import alert_label
from stream.events.text import printable

SPAN_S = 60.0
"""Length of the timeline."""

TICKS_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200)
MIN_TICK_CELLS = 8
"""Smallest distance of two times on the axis."""

COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")
UNKNOWN_SPEAKER = "?"


@dataclass(slots=True)
class PanelStream:
    """The latest events of one stream."""

    speaker: SpeakerEvent | None = None
    emotion: EmotionEvent | None = None
    audio: StreamEvent | None = None
    turns: deque[TurnEvent] = field(default_factory=lambda: deque(maxlen=200))
    open_turns: dict[str, TurnEvent] = field(default_factory=dict)
    speakers: list[str] = field(default_factory=list)
    alerts: dict[str, str] = field(default_factory=dict)  # labels of the active ones
    end_s: float = 0.0
    latency_ms: float = 0.0

    def colour(self, speaker: str | None) -> str:
        """Return a speaker's colour, by order of appearance."""
        return COLOURS[self.speakers.index(speaker) % len(COLOURS)] if speaker in self.speakers else "white"


class PanelState:
    """The latest events of all streams, and the node's health."""

    def __init__(self) -> None:
        self.streams: dict[str, PanelStream] = {}
        self.health: HealthEvent | None = None

    def apply(self, event: Event) -> None:
        """Apply one event."""
        if isinstance(event, HealthEvent):
            self.health = event
            return
        if isinstance(event, CallEvent | RoomsEvent):  # the panel shows streams
            return
        if isinstance(event, AlertEvent):
            self._alert(event)
            return
        stream = self.streams.setdefault(event.source, PanelStream())
        stream.end_s = max(stream.end_s, event.end_s)
        stream.latency_ms = event.latency_ms
        if isinstance(event, SpeakerEvent):
            stream.speaker = event
        elif isinstance(event, EmotionEvent):
            stream.emotion = event
        elif isinstance(event, StreamEvent):
            stream.audio = event
        elif isinstance(event, TurnEvent):
            self._turn(stream, event)

    def _alert(self, event: AlertEvent) -> None:
        """Note an alert of a stream; those of a call belong to none."""
        if (stream := self.streams.get(event.source)) is None:
            return
        if event.phase == "start":
            stream.alerts[event.alert] = alert_label(event.kind, event.rule)
        else:
            stream.alerts.pop(event.alert, None)

    def most_recent(self, count: int) -> list[str]:
        """Return the names of up to `count` streams, those with the latest audio."""
        order = sorted(self.streams, key=lambda name: -self.streams[name].end_s)
        shown = set(order[:count])
        return [name for name in self.streams if name in shown]

    def _turn(self, stream: PanelStream, event: TurnEvent) -> None:
        if event.speaker is not None and event.speaker not in stream.speakers:
            stream.speakers.append(event.speaker)
        if event.phase == "start":
            stream.open_turns[event.turn] = event
        else:
            stream.turns.append(event)
            stream.open_turns.pop(event.turn, None)


def turn_rows(stream: PanelStream, width: int) -> list[Text]:
    """Return a row per speaker for the last `SPAN_S`, with emotion initials on the speaker's colour, and the axis."""
    view = PanelView(max(0.0, stream.end_s - SPAN_S), SPAN_S, width)
    rows = [_row(stream, speaker, view) for speaker in stream.speakers[-len(COLOURS) :]]
    if any(turn.speaker is None for turn in (*stream.turns, *stream.open_turns.values())):
        rows.append(_row(stream, None, view))
    return [*rows, time_axis(view)] if rows else []


@dataclass(frozen=True, slots=True)
class PanelView:
    """A range of media time shown on a row of `width` cells."""

    begin_s: float
    span_s: float
    width: int

    def cell(self, at_s: float) -> float:
        """Return the position of a time, in cells."""
        return (at_s - self.begin_s) / self.span_s * self.width


Span = tuple[float, float, str]
"""Start and end in seconds, and the letter that fills the range."""


def timeline_row(name: str, colour: str, spans: Iterable[Span], view: PanelView, *, painted: bool = True) -> Text:
    """Return a row: a name of up to eight letters, then the cells of the view; `painted` colours their background."""
    marks = [" "] * view.width
    for start_s, end_s, letter in spans:
        first = max(0, int(view.cell(start_s)))
        last = min(view.width, max(first + 1, round(view.cell(end_s))))
        if end_s > view.begin_s and first < view.width:
            marks[first:last] = [letter] * (last - first)
    row = Text(f"{printable(name)[:8]:<8} ", style=colour)
    for mark in marks:
        row.append(mark, style="" if mark == " " else f"black on {colour}" if painted else colour)
    return row


def time_axis(view: PanelView) -> Text:
    """Return the axis, labelled with minutes and seconds."""
    cells = [" "] * (view.width + 5)
    step = next((step for step in TICKS_S if step / view.span_s * view.width >= MIN_TICK_CELLS), TICKS_S[-1])
    for second in range(int(view.begin_s) // step * step, int(view.begin_s + view.span_s) + 1, step):
        position = round(view.cell(second))
        if second >= view.begin_s and position <= view.width:
            cells[position : position + 5] = format_time(second)
    return Text(" " * 9 + "".join(cells)[: view.width + 5], style="dim")


def format_time(second: float) -> str:
    """Format a time as minutes and seconds."""
    return f"{int(second) // 60:02}:{int(second) % 60:02}"


def _row(stream: PanelStream, speaker: str | None, view: PanelView) -> Text:
    spans: list[Span] = []
    for turn in [*stream.turns, *stream.open_turns.values()]:
        is_open = turn.phase == "start"
        newest = stream.emotion if is_open else None  # of the foremost speaker
        label = turn.emotion or (newest.label if newest is not None and newest.speaker == turn.speaker else "")
        if turn.speaker == speaker:
            spans.append((turn.start_s, stream.end_s if is_open else turn.end_s, label[:1] or "·"))
    return timeline_row(speaker or UNKNOWN_SPEAKER, stream.colour(speaker), spans, view)
