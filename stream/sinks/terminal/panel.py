"""A live panel on a terminal: who speaks, how it sounds, the turns of the last minute, latency and drops.

`PanelState` (in `timeline.py`) keeps what events said; `render` turns it into lines; `PanelSink` redraws at most
`refresh_hz` times a second, however many events come. Colour never carries meaning alone: words and letters say the
same.
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
from stream.sinks.terminal.panel_state import PanelState, PanelStream, clock, strip

MARKS = {"confirmed": "●", "tentative": "◌", "unknown": "?", "silence": "–", "overlap": "⧉"}
STREAM_LINES = 15
"""Lines of the screen one stream takes, about."""


class PanelSink:
    """Draws on `console` while the run goes on."""

    def __init__(self, *, console: Console | None = None, refresh_hz: float = 10.0) -> None:
        self._console = console or Console()
        self._period_s = 1.0 / refresh_hz
        self._state = PanelState()
        self._changed = asyncio.Event()
        self._live: Live | None = None
        self._drawing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Take the lower part of the screen."""
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._live.start()
        self._drawing = asyncio.create_task(self._draw(), name="panel")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw a last time and leave the picture standing."""
        if self._drawing is not None:
            self._drawing.cancel()
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
            self._live.stop()

    async def send(self, event: Event) -> None:
        """Remember; the drawing task does the rest."""
        self._state.apply(event)
        self._changed.set()

    async def _draw(self) -> None:
        while self._live is not None:
            await self._changed.wait()
            self._changed.clear()
            self._live.update(self._picture(), refresh=True)
            await asyncio.sleep(self._period_s)

    def _picture(self) -> RenderableType:
        return render(self._state, width=self._console.width, height=self._console.height)


def render(state: PanelState, *, width: int, height: int) -> RenderableType:
    """The whole panel for a screen of this size."""
    if not state.streams:
        return Text()  # a run that fails before it hears anything leaves nothing on the screen
    most = max(1, (height - 3) // STREAM_LINES)
    shown = state.busiest(most)
    compact = len(state.streams) > most
    parts: list[RenderableType] = [
        Panel(Group(*_stream_lines(state.streams[name], width - 4)), title=name, title_align="left", border_style="dim")
        for name in (shown if not compact else [])
    ]
    if compact:
        fitting = max(1, height - 4)
        parts += [_one_line(name, state.streams[name], width) for name in state.busiest(fitting)]
        if len(state.streams) > fitting:
            parts.append(Text(f"… and {len(state.streams) - fitting} more streams", style="dim"))
    parts.append(_footer(state.health, state.streams))
    return Group(*parts)


def _stream_lines(stream: PanelStream, width: int) -> list[RenderableType]:
    lines: list[RenderableType] = [_who(stream.speaker, stream)]
    lines += _closed_set(stream.speaker)
    lines += _bars(stream, min(40, width - 20))
    lines.append(Text())
    lines += strip(stream, max(10, width - 15))
    for turn in list(stream.turns)[-3:]:
        words = f"{clock(turn.start_s)}–{clock(turn.end_s)}  "
        lines.append(
            Text.assemble((words, "dim"), (turn.speaker or "?", stream.colour(turn.speaker)), f"  {turn.emotion or ''}")
        )
    return lines


def _who(event: SpeakerEvent | None, stream: PanelStream) -> Text:
    now = Text(f"{clock(stream.end_s)}  ", style="dim")
    if stream.sound is not None and stream.sound.state in ("stalled", "ended"):
        return now.append(f"■ {stream.sound.state}: {stream.sound.detail}", style="bold")
    if event is None:
        return now.append("listening …")
    name = event.speaker or {"silence": "silence", "tentative": "somebody …"}.get(event.state, "somebody unknown")
    now.append(f"{MARKS[event.state]} {name}", style=f"bold {stream.colour(event.speaker)}")
    if event.score is not None:
        state = f"{event.state}, overlap?" if event.mixed else event.state
        now.append(f"  {state}, {event.reason.replace('_', ' ')}, score {event.score:.2f}", style="dim")
    return now


def _closed_set(event: SpeakerEvent | None) -> list[RenderableType]:
    """Whom a closed-set model would call the speaker: nothing where none listens."""
    if event is None or event.identity is None:
        return []
    named = ", ".join(f"{one.label} {one.probability:.0%}" for one in event.identity.candidates)
    return [Text(f"closed set (demonstration): {named}", style="dim", no_wrap=True, overflow="ellipsis")]


def _bars(stream: PanelStream, width: int) -> list[RenderableType]:
    event = stream.emotion
    if event is None or not event.probabilities:
        return [Text("silence" if event is not None else "", style="dim"), Text(), Text(), Text()]
    rows: list[RenderableType] = []
    for label, probability in event.probabilities.items():
        held = label == event.label
        filled = round(probability * width)
        row = Text(f"{'▸' if held else ' '} {label[:9]:<9} ", style="bold" if held else "")
        row.append("█" * filled, style="green" if held else "white")
        row.append("░" * (width - filled), style="dim")
        rows.append(row.append(f" {probability:4.0%}"))
    if event.label == "uncertain":
        rows[0] = Text.assemble(rows[0], ("  uncertain", "italic"))  # type: ignore[arg-type]
    return rows


def _one_line(name: str, stream: PanelStream, width: int) -> Text:
    label = stream.emotion.label if stream.emotion is not None else ""
    line = Text(f"{name[:20]:<20} ", style="bold").append_text(_who(stream.speaker, stream)).append(f"  {label}")
    line.truncate(width)
    return line


def _footer(health: HealthEvent | None, streams: dict[str, PanelStream]) -> Text:
    newest = max((stream.latency_ms for stream in streams.values()), default=0.0)
    said = [f"latency {newest:.0f} ms"]
    if health is not None:
        if health.latency_p50_ms is not None and health.latency_p95_ms is not None:
            said[0] += f" (p50 {health.latency_p50_ms:.0f}, p95 {health.latency_p95_ms:.0f})"
        said += [f"dropped {sum(lane.dropped for lane in health.lanes)}", f"heard {health.audio_s:.0f} s"]
        if health.real_time_factor is not None:
            said.append(f"real-time {health.real_time_factor:.3f}")
    return Text(" " + "   ".join(said), style="dim")
