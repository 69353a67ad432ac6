"""A live panel on a terminal: speaker, emotion, the turns of the last minute, latency and drops.

`PanelState` (in `panel_state`) keeps the latest events; `render` turns it into lines; `PanelSink` redraws at most
`refresh_hz` times a second, at any event rate. Colour is never the only carrier of information: words and letters
repeat it.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from stream.events import Event, HealthEvent, SpeakerEvent
from stream.events.labels import SPEAKER_STATE_LABELS
from stream.events.text import printable
from stream.sinks.terminal.panel_state import PanelState, PanelStream, format_time, turn_rows

MARKS = {"confirmed": "●", "tentative": "◌", "unknown": "?", "silence": "–", "overlap": "⧉"}
STREAM_LINES = 16
"""Approximate number of screen lines per stream."""

NOTICEABLE_TREND = 0.08
"""Smaller changes of arousal are not worth a word."""


class PanelSink:
    """Draws on `console` during a run."""

    def __init__(self, *, console: Console | None = None, refresh_hz: float = 10.0) -> None:
        self._console = console or Console()
        self._period_s = 1.0 / refresh_hz
        self._state = PanelState()
        self._changed = asyncio.Event()
        self._live: Live | None = None
        self._drawing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start drawing."""
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._live.start()
        self._drawing = asyncio.create_task(self._draw(), name="panel")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw a last time and leave the result on the screen."""
        if self._drawing is not None:
            self._drawing.cancel()
        if self._live is not None:
            self._live.update(self._render(), refresh=True)
            self._live.stop()

    async def send(self, event: Event) -> None:
        """Apply an event; the drawing task shows it."""
        self._state.apply(event)
        self._changed.set()

    async def _draw(self) -> None:
        while self._live is not None:
            await self._changed.wait()
            self._changed.clear()
            self._live.update(self._render(), refresh=True)
            await asyncio.sleep(self._period_s)

    def _render(self) -> RenderableType:
        return render(self._state, width=self._console.width, height=self._console.height)


def render(state: PanelState, *, width: int, height: int) -> RenderableType:
    """Render the panel for a screen of this size, in characters."""
    if not state.streams:
        return Text()  # a run that fails before the first event leaves the screen empty
    max_streams = max(1, (height - 3) // STREAM_LINES)
    shown = state.most_recent(max_streams)
    compact = len(state.streams) > max_streams
    parts: list[RenderableType] = [
        Panel(
            Group(*_stream_lines(state.streams[name], width - 4)),
            title=Text(printable(name)),
            title_align="left",
            border_style="dim",
        )
        for name in (shown if not compact else [])
    ]
    if compact:
        fitting = max(1, height - 4)
        parts += [_compact_line(name, state.streams[name], width) for name in state.most_recent(fitting)]
        if len(state.streams) > fitting:
            parts.append(Text(f"… and {len(state.streams) - fitting} more streams", style="dim"))
    parts.append(_footer(state.health, state.streams))
    return Group(*parts)


def _stream_lines(stream: PanelStream, width: int) -> list[RenderableType]:
    lines: list[RenderableType] = [_speaker_line(stream.speaker, stream)]
    lines += _closed_set(stream.speaker)
    lines += _bars(stream, min(40, width - 20))
    lines.append(Text())
    lines += turn_rows(stream, max(10, width - 15))
    for turn in list(stream.turns)[-3:]:
        words = f"{format_time(turn.start_s)}–{format_time(turn.end_s)}  "
        lines.append(
            Text.assemble(
                (words, "dim"), (printable(turn.speaker or "?"), stream.colour(turn.speaker)), f"  {turn.emotion or ''}"
            )
        )
    return lines


def _speaker_line(event: SpeakerEvent | None, stream: PanelStream) -> Text:
    now = Text(f"{format_time(stream.end_s)}  ", style="dim")
    if stream.audio is not None and stream.audio.state in ("stalled", "ended"):
        return now.append(f"■ {stream.audio.state}: {printable(stream.audio.detail)}", style="bold")
    if event is None:
        return now.append("listening …")
    for label in stream.alerts.values():
        now.append(f"! {printable(label)}  ", style="bold red")
    name = printable(event.speaker) if event.speaker else SPEAKER_STATE_LABELS[event.state]
    now.append(f"{MARKS[event.state]} {name}", style=f"bold {stream.colour(event.speaker)}")
    for other in event.speakers[1:]:
        name = printable(other.speaker) if other.speaker else SPEAKER_STATE_LABELS["unknown"]
        now.append(" + ", style="dim").append(name, style=f"bold {stream.colour(other.speaker)}")
    if event.score is not None:
        state = f"{event.state}, overlap?" if event.mixed else event.state
        words = dict.fromkeys((state, event.reason.replace("_", " "), f"score {event.score:.2f}"))  # each once
        now.append(f"  {', '.join(words)}", style="dim")
    return now


def _closed_set(event: SpeakerEvent | None) -> list[RenderableType]:
    """Return the candidates of the closed-set model, if one is loaded."""
    if event is None or event.identity is None:
        return []
    named = ", ".join(f"{one.label} {one.probability:.0%}" for one in event.identity.candidates)
    return [Text(f"closed set (demonstration): {named}", style="dim", no_wrap=True, overflow="ellipsis")]


def _bars(stream: PanelStream, width: int) -> list[RenderableType]:
    event = stream.emotion
    if event is None or (not event.probabilities and event.arousal is None):
        return [Text("silence" if event is not None else "", style="dim"), Text(), Text(), Text()]
    rows: list[RenderableType] = []
    for label, probability in event.probabilities.items():
        current = label == event.label
        filled = round(probability * width)
        row = Text(f"{'▸' if current else ' '} {label[:9]:<9} ", style="bold" if current else "")
        row.append("█" * filled, style="green" if current else "white")
        row.append("░" * (width - filled), style="dim")
        rows.append(row.append(f" {probability:4.0%}"))
    if event.arousal is not None:
        rows.append(Text(f"  arousal   {event.arousal:.0%}{_trend_words(event.arousal_trend)}", style="dim"))
    if event.label == "uncertain" and event.probabilities:
        rows[0] = Text.assemble(rows[0], ("  uncertain", "italic"))  # type: ignore[arg-type]
    return rows


def _trend_words(trend: float | None) -> str:
    """Return an arrow and a word for a trend that stands out."""
    if trend is None or abs(trend) < NOTICEABLE_TREND:
        return ""
    return "  ↗ rising" if trend > 0 else "  ↘ falling"


def _compact_line(name: str, stream: PanelStream, width: int) -> Text:
    label = stream.emotion.label if stream.emotion is not None else ""
    line = (
        Text(f"{printable(name)[:20]:<20} ", style="bold")
        .append_text(_speaker_line(stream.speaker, stream))
        .append(f"  {label}")
    )
    line.truncate(width)
    return line


def _footer(health: HealthEvent | None, streams: dict[str, PanelStream]) -> Text:
    newest = max((stream.latency_ms for stream in streams.values()), default=0.0)
    parts = [f"latency {newest:.0f} ms"]
    if health is not None:
        if health.latency_p50_ms is not None and health.latency_p95_ms is not None:
            parts[0] += f" (p50 {health.latency_p50_ms:.0f}, p95 {health.latency_p95_ms:.0f})"
        parts += [f"dropped {sum(lane.dropped for lane in health.lanes)}", f"audio {health.audio_s:.0f} s"]
        if health.real_time_factor is not None:
            parts.append(f"real-time {health.real_time_factor:.3f}")
    return Text(" " + "   ".join(parts), style="dim")
