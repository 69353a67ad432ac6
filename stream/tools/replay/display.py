"""What `tonewatch replay` prints: the log, the timeline, the account; and the file it draws."""

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
from stream.tools.replay.decisions import CORRECTION, SOUNDS, LogLine, log
from stream.tools.replay.explain import clock
from stream.tools.replay.plot import ReplayedStream

MARGIN = 15
"""Columns beside the cells of a strip: the name before them, and the last time on the axis."""

_STYLES = {"●": "bold", "?": "bold", "⧉": "bold", SOUNDS: "green", CORRECTION: "yellow"}
_SEXAGESIMAL = 60
_HOURS_MINUTES_SECONDS = 3


@dataclass(frozen=True, slots=True)
class DisplayPart:
    """What is shown of a recording, in seconds; None: to its end."""

    start_s: float = 0.0
    end_s: float | None = None

    @classmethod
    def of(cls, since: str | None, until: str | None) -> Self:
        """From what was typed. Raises `SettingsError`."""
        start_s = 0.0 if since is None else _moment(since, "--from")
        end_s = None if until is None else _moment(until, "--to")
        if end_s is not None and end_s <= start_s:
            raise SettingsError(f"--to must lie behind --from; {until} is not behind {since or 'the beginning'}")
        return cls(start_s, end_s)

    def lines(self, lines: Iterable[LogLine]) -> list[LogLine]:
        """Those that touch the part."""
        return [
            line for line in lines if line.end_s >= self.start_s and (self.end_s is None or line.start_s < self.end_s)
        ]


def _moment(text: str, option: str) -> float:
    """`72`, `72.5`, `01:12` or `1:02:03` in seconds."""
    parts = text.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= _HOURS_MINUTES_SECONDS or not all(0 <= number < float("inf") for number in numbers):
        raise SettingsError(f"{option} takes seconds, MM:SS or H:MM:SS, not {text!r}")
    at_s = 0.0
    for number in numbers:
        at_s = at_s * _SEXAGESIMAL + number
    return at_s


def heard_of(
    events: Sequence[Event],
    *,
    fold: bool,
    only: str | None = None,
    reference: Mapping[str, Sequence[Segment]] | None = None,
) -> list[ReplayedStream]:
    """What was heard, a stream or call each. Raises `SettingsError` where it is not what was asked for."""
    groups: defaultdict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        if event.source != NODE:
            groups[event.session, event.call or event.source].append(event)
    names = list(dict.fromkeys(name for _, name in groups))
    if only is not None and only not in names:
        raise SettingsError(f"nothing was heard of {only!r}; there is {', '.join(names) or 'no event of a stream'}")
    shown = {key: told for key, told in groups.items() if only in (None, key[1])}
    return [
        ReplayedStream(
            name, tuple(told), tuple(log(told, fold=fold)), _truth(reference or {}, name, alone=len(shown) == 1)
        )
        for (_, name), told in shown.items()
    ]


def _truth(reference: Mapping[str, Sequence[Segment]], name: str, *, alone: bool) -> tuple[Segment, ...]:
    """The reference of a stream: by its name, or the only one there is for the only stream."""
    if name in reference or not reference:
        return tuple(reference.get(name, ()))
    if alone and len(reference) == 1:
        return tuple(next(iter(reference.values())))
    raise SettingsError(f"the reference says nothing of {name}; it knows {', '.join(list(reference)[:5])}")


def show(heard: Sequence[ReplayedStream], *, part: DisplayPart, explain: bool, console: Console) -> None:
    """Print each stream's log, if asked for, and its timeline. Raises `SettingsError` for a part behind the end."""
    for one in heard:
        if part.start_s >= one.end_s > 0:
            raise SettingsError(f"--from lies behind the end: {one.name} is {clock(one.end_s)} long")
        console.print(Text(one.name, style="bold"))
        if explain:
            _print_log(part.lines(one.lines), console)
            console.print()
        end_s = min(part.end_s or one.end_s, one.end_s)
        view = PanelView(part.start_s, max(end_s - part.start_s, 1.0), max(10, console.width - MARGIN))
        for row in plot.strip(one, view):
            console.print(row)
        console.print()


def show_account(events: Iterable[Event], console: Console) -> None:
    """Print who spoke how long, and what it took."""
    account = RunSummary()
    for event in events:
        account.take(event)
    for said in account.render():
        console.print(said)


def _print_log(lines: Sequence[LogLine], console: Console) -> None:
    """A grid that folds long reasons on a terminal; whole lines behind a pipe, for other programs to search."""
    if not console.is_terminal:
        wide = max((len(line.who) for line in lines), default=0)
        for line in lines:
            console.print(f"{line.when:<15}  {line.mark} {line.who:<{wide}}  {line.why}", soft_wrap=True, markup=False)
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(max_width=20)
    grid.add_column()
    for line in lines:
        style = _STYLES.get(line.mark, "dim")
        grid.add_row(line.when, Text(f"{line.mark} {line.who}", style=style), Text(line.why))
    console.print(grid)
