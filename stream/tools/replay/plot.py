"""The timeline of a stream: on a terminal, a row a speaker; as a file, the report's drawing with what was told live.

Rows show what was told at each moment, under the name it was told by; what turned out later stands in the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rich.text import Text

from stream.errors import SettingsError
from stream.events import Event, SpeakerEvent
from stream.sinks.terminal.panel_state import COLOURS, PanelView, axis, lane
from stream.tools.evaluation.segments import Segment
from stream.tools.replay.decisions import MARKS, DecisionSpan, LogLine, decisions
from stream.tools.replay.explain import clock, decided
from stream.tools.report.drawing import SOFT
from stream.tools.report.html import page
from stream.tools.report.session import recordings
from stream.tools.report.timeline import NO_EMOTION, TimelineBar, TimelineRow, colour_of, stacked, timeline

FILLED: Mapping[str, str] = {"confirmed": "█", "tentative": "░", "unknown": "▒", "overlap": "▚"}
ROWS: Mapping[str, str] = {"tentative": "not yet", "unknown": "unknown", "overlap": "overlap"}
TRUTH = "━"
SUFFIXES = (".html", ".png", ".svg")


@dataclass(frozen=True, slots=True)
class ReplayedStream:
    """A stream or call: its events, the lines of its log, and who really spoke when, where that is known."""

    name: str
    events: tuple[Event, ...]
    lines: tuple[LogLine, ...]
    reference: tuple[Segment, ...] = ()

    @property
    def end_s(self) -> float:
        """How far it was heard, or is known."""
        return max([event.end_s for event in self.events] + [one.end_s for one in self.reference], default=0.0)


def strip(heard: ReplayedStream, view: PanelView) -> list[Text]:
    """Rows for a terminal: who was told, then the reference, then the axis."""
    told = {name: seen for name, row in _told(heard).items() if (seen := [one for one in row if _shows(one, view)])}
    truth = _by_person(one for one in heard.reference if _shows(one, view))
    people = list(dict.fromkeys([*told, *truth]))
    colours = {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(people)}
    colours |= dict.fromkeys(ROWS.values(), "white")
    spans = [
        (name, [(one.start_s, one.end_s, FILLED[one.events[0].state]) for one in row]) for name, row in told.items()
    ]
    rows = [lane(name, colours[name], row, view, painted=False) for name, row in spans]
    if truth:
        rows.append(Text("reference", style="dim"))
        spans = [(name, [(one.start_s, one.end_s, TRUTH) for one in row]) for name, row in truth.items()]
        rows += [lane(name, colours[name], row, view, painted=False) for name, row in spans]
    return [*rows, axis(view)] if rows else []


def _shows(one: DecisionSpan[SpeakerEvent] | Segment, view: PanelView) -> bool:
    return one.end_s > view.begin_s and one.start_s < view.begin_s + view.span_s


def write(path: Path, heard: Sequence[ReplayedStream]) -> None:
    """Draw into a file: a page with the log, or a picture. Raises `SettingsError`."""
    drawn = [timeline(one, beside=_lanes(theirs)) for theirs in heard for one in recordings(theirs.events)]
    if path.suffix == ".png":
        content = stacked(drawn).png()
    elif path.suffix == ".svg":
        content = stacked(drawn).svg().encode()
    else:
        parts = (
            f"<header><h1>{escape(one.name)}</h1></header><section><h2>Timeline</h2>{picture.svg()}</section>"
            f"<section><h2>Decisions</h2>{_table(one.lines)}</section>"
            for one, picture in zip(heard, drawn, strict=True)
        )
        content = page("".join(parts), title=path.stem).encode()
    try:
        path.write_bytes(content)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror or error}") from None


def _told(heard: ReplayedStream) -> dict[str, list[DecisionSpan[SpeakerEvent]]]:
    """Spans by the row they belong to: people in the order they were told, then those nobody was told for."""
    found: dict[str, list[DecisionSpan[SpeakerEvent]]] = {}
    for source in dict.fromkeys(event.source for event in heard.events):
        for one in decisions((event for event in heard.events if event.source == source), heard.end_s):
            event = one.events[0]
            if event.state != "silence":
                found.setdefault(ROWS.get(event.state) or event.speaker or ROWS["unknown"], []).append(one)
    order = {name: at for at, name in enumerate(ROWS.values())}
    return dict(sorted(found.items(), key=lambda row: order.get(row[0], -1)))


def _by_person(segments: Iterable[Segment]) -> dict[str, list[Segment]]:
    found: dict[str, list[Segment]] = {}
    for segment in segments:
        found.setdefault(segment.speaker, []).append(segment)
    return dict(sorted(found.items()))


def _lanes(heard: ReplayedStream) -> list[TimelineRow]:
    """What was told live, and the reference, beside the turns."""
    live = [
        TimelineBar(one.start_s, one.end_s, _colour(one.events[0]), MARKS[one.events[0].state], _tip(one))
        for spans in _told(heard).values()
        for one in spans
    ]
    truth = [
        TimelineRow(
            f"= {name}",
            colour_of(name),
            [TimelineBar(one.start_s, one.end_s, colour_of(name), "", name) for one in spans],
        )
        for name, spans in _by_person(heard.reference).items()
    ]
    return [TimelineRow("told live", SOFT, live), *truth] if live or truth else []


def _colour(event: SpeakerEvent) -> str:
    return colour_of(event.speaker) if event.speaker is not None else NO_EMOTION


def _tip(one: DecisionSpan[SpeakerEvent]) -> str:
    event = one.events[0]
    return (
        f"{clock(one.start_s)}–{clock(one.end_s)} {event.speaker or ROWS.get(event.state, '')}: {decided(one.events)}"
    )


def _table(lines: Sequence[LogLine]) -> str:
    rows = "".join(
        f'<tr><td class="whole">{line.when}</td><td class="whole">{line.mark} {escape(line.who)}</td>'
        f"<td>{escape(line.why)}</td></tr>"
        for line in lines
    )
    return f"<table><thead><tr><th>When</th><th>Who</th><th>Why</th></tr></thead><tbody>{rows}</tbody></table>"
