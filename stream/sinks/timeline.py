"""What the panel remembers of the events, and the strip of turns it draws (pure: no terminal)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from rich.text import Text

from stream.events import AlertEvent, CallEvent, EmotionEvent, Event, HealthEvent, SpeakerEvent, StreamEvent, TurnEvent

SPAN_S = 60.0
"""How much of the past the strip shows."""

COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")
NOBODY = "?"


@dataclass(slots=True)
class StreamState:
    """The newest of everything about one stream."""

    speaker: SpeakerEvent | None = None
    emotion: EmotionEvent | None = None
    sound: StreamEvent | None = None
    turns: deque[TurnEvent] = field(default_factory=lambda: deque(maxlen=200))
    open_turn: TurnEvent | None = None
    speakers: list[str] = field(default_factory=list)
    end_s: float = 0.0
    latency_ms: float = 0.0

    def colour(self, speaker: str | None) -> str:
        """A speaker's own colour, by order of appearance."""
        return COLOURS[self.speakers.index(speaker) % len(COLOURS)] if speaker in self.speakers else "white"


class PanelState:
    """All streams, and the node's health."""

    def __init__(self) -> None:
        self.streams: dict[str, StreamState] = {}
        self.health: HealthEvent | None = None

    def apply(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, HealthEvent):
            self.health = event
            return
        if isinstance(event, CallEvent | AlertEvent):  # the panel shows streams
            return
        stream = self.streams.setdefault(event.source, StreamState())
        stream.end_s = max(stream.end_s, event.end_s)
        stream.latency_ms = event.latency_ms
        if isinstance(event, SpeakerEvent):
            stream.speaker = event
        elif isinstance(event, EmotionEvent):
            stream.emotion = event
        elif isinstance(event, StreamEvent):
            stream.sound = event
        elif isinstance(event, TurnEvent):
            self._turn(stream, event)

    def busiest(self, most: int) -> list[str]:
        """The streams to show when not all fit: those heard last."""
        order = sorted(self.streams, key=lambda name: -self.streams[name].end_s)
        shown = set(order[:most])
        return [name for name in self.streams if name in shown]

    def _turn(self, stream: StreamState, event: TurnEvent) -> None:
        if event.speaker is not None and event.speaker not in stream.speakers:
            stream.speakers.append(event.speaker)
        if event.phase == "start":
            stream.open_turn = event
        else:
            stream.turns.append(event)
            stream.open_turn = None


def strip(stream: StreamState, width: int) -> list[Text]:
    """A row a speaker over the last `SPAN_S`, each cell an emotion's initial on the speaker's colour; then the axis."""
    begin_s = max(0.0, stream.end_s - SPAN_S)
    rows = [_row(stream, speaker, begin_s, width) for speaker in stream.speakers[-len(COLOURS) :]]
    if any(turn.speaker is None for turn in stream.turns):
        rows.append(_row(stream, None, begin_s, width))
    if not rows:
        return []
    axis = [" "] * (width + 5)
    for second in range(int(begin_s) // 10 * 10, int(begin_s + SPAN_S) + 1, 10):
        place = round((second - begin_s) / SPAN_S * width)
        if second >= begin_s and place <= width:
            axis[place : place + 5] = clock(second)
    return [*rows, Text(" " * 9 + "".join(axis)[: width + 5], style="dim")]


def clock(second: float) -> str:
    """Minutes and seconds."""
    return f"{int(second) // 60:02}:{int(second) % 60:02}"


def _row(stream: StreamState, speaker: str | None, begin_s: float, width: int) -> Text:
    cells = Text(f"{(speaker or NOBODY)[:8]:<8} ", style=stream.colour(speaker))
    marks = [" "] * width
    turns = [*stream.turns, *([stream.open_turn] if stream.open_turn is not None else [])]
    for turn in turns:
        end_s = stream.end_s if turn is stream.open_turn else turn.end_s
        if turn.speaker != speaker or end_s <= begin_s:
            continue
        label = turn.emotion or (stream.emotion.label if stream.emotion and turn is stream.open_turn else "")
        first = max(0, int((turn.start_s - begin_s) / SPAN_S * width))
        last = min(width, max(first + 1, round((end_s - begin_s) / SPAN_S * width)))
        marks[first:last] = [label[:1] or "·"] * (last - first)
    for mark in marks:
        cells.append(mark, style=f"black on {stream.colour(speaker)}" if mark != " " else "")
    return cells
