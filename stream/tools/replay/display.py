"""Output of `tonewatch replay`: log, timeline and summary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream.errors import SettingsError
from stream.events import NODE, Event
from stream.sinks.terminal.panel_state import PanelView
from stream.sinks.terminal.summary import RunSummary
from stream.tools.evaluation.segments import Segment
from stream.tools.replay import plot
from stream.tools.replay.decisions import CORRECTION_MARK, EMOTION_MARK, LogLine, build_log
from stream.tools.replay.explain import format_time
from stream.tools.replay.plot import ReplayedStream

MARGIN = 15
"""Columns beside the cells of a timeline: the name before them, and the last time on the axis."""

_STYLES = {"●": "bold", "?": "bold", "⧉": "bold", EMOTION_MARK: "green", CORRECTION_MARK: "yellow"}
_SEXAGESIMAL = 60
_HOURS_MINUTES_SECONDS = 3


@dataclass(frozen=True, slots=True)
class DisplayPart:
    """The displayed part of a recording in seconds; None: to its end."""

    start_s: float = 0.0
    end_s: float | None = None

    @classmethod
    def of(cls, since: str | None, until: str | None) -> Self:
        """Parse the options --from and --to. Raises `SettingsError`."""
        start_s = 0.0 if since is None else _parse_time(since, "--from")
        end_s = None if until is None else _parse_time(until, "--to")
        if end_s is not None and end_s <= start_s:
            raise SettingsError(f"--to {until} is not after --from {since or 0}; choose a later time")
        return cls(start_s, end_s)

    def lines(self, lines: Iterable[LogLine]) -> list[LogLine]:
        """Return the lines that overlap the part."""
        return [
            line for line in lines if line.end_s >= self.start_s and (self.end_s is None or line.start_s < self.end_s)
        ]


def _parse_time(text: str, option: str) -> float:
    """Convert `72`, `72.5`, `01:12` or `1:02:03` to seconds."""
    parts = text.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    in_range = all(0 <= number < float("inf") for number in numbers)
    in_range = in_range and all(number < _SEXAGESIMAL for number in numbers[1:])
    if not 1 <= len(numbers) <= _HOURS_MINUTES_SECONDS or not in_range:
        raise SettingsError(f"invalid {option} {text!r}; use seconds, MM:SS or H:MM:SS")
    at_s = 0.0
    for number in numbers:
        at_s = at_s * _SEXAGESIMAL + number
    return at_s


def replayed_streams(
    events: Sequence[Event],
    *,
    fold: bool,
    only: str | None = None,
    reference: Mapping[str, Sequence[Segment]] | None = None,
) -> list[ReplayedStream]:
    """Group events by stream or call. Raises `SettingsError` if `only` or the reference names none of them."""
    groups: defaultdict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        if event.source != NODE:
            groups[event.session, event.call or event.source].append(event)
    names = list(dict.fromkeys(name for _, name in groups))
    if only is not None and only not in names:
        raise SettingsError(f"no events of {only!r}; available: {', '.join(names) or 'none'}")
    shown = {key: own for key, own in groups.items() if only in (None, key[1])}
    return [
        ReplayedStream(
            name,
            tuple(own),
            tuple(build_log(own, fold=fold)),
            _reference_of(reference or {}, name, alone=len(shown) == 1),
        )
        for (_, name), own in shown.items()
    ]


def _reference_of(reference: Mapping[str, Sequence[Segment]], name: str, *, alone: bool) -> tuple[Segment, ...]:
    """Return the reference of a stream: by name, or the only one for the only stream."""
    if name in reference or not reference:
        return tuple(reference.get(name, ()))
    if alone and len(reference) == 1:
        return tuple(next(iter(reference.values())))
    raise SettingsError(f"the reference has no recording {name!r}; it has {', '.join(list(reference)[:5])}")


def print_streams(streams: Sequence[ReplayedStream], *, part: DisplayPart, explain: bool, console: Console) -> None:
    """Print each stream's timeline, with its log if `explain`. Raises `SettingsError` for a part after the end."""
    for one in streams:
        if part.start_s >= one.end_s > 0:
            raise SettingsError(
                f"--from is after the end of {one.name} ({format_time(one.end_s)}); choose an earlier time"
            )
        console.print(Text(one.name, style="bold"))
        if explain:
            _print_log(part.lines(one.lines), console)
            console.print()
        end_s = min(part.end_s or one.end_s, one.end_s)
        view = PanelView(part.start_s, max(end_s - part.start_s, 1.0), max(10, console.width - MARGIN))
        for row in plot.render_strip(one, view):
            console.print(row)
        console.print()


def print_summary(events: Iterable[Event], console: Console) -> None:
    """Print the speaking time of each speaker and the processing figures."""
    summary = RunSummary()
    for event in events:
        summary.add(event)
    for part in summary.render():
        console.print(part)


def _print_log(lines: Sequence[LogLine], console: Console) -> None:
    """Print a grid with wrapped text on a terminal, else one whole line per entry for other programs."""
    if not console.is_terminal:
        width = max((len(line.subject) for line in lines), default=0)
        for line in lines:
            console.print(
                f"{line.when:<15}  {line.mark} {line.subject:<{width}}  {line.text}", soft_wrap=True, markup=False
            )
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(max_width=20)
    grid.add_column()
    for line in lines:
        style = _STYLES.get(line.mark, "dim")
        grid.add_row(line.when, Text(f"{line.mark} {line.subject}", style=style), Text(line.text))
    console.print(grid)
