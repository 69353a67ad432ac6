"""The timeline of a stream: on a terminal with a row per speaker, or as a file like a report, with live labels.

Rows show the live label at each moment under the name it had then; later corrections are in the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rich.text import Text

from stream.calls.report.drawing import SOFT
from stream.calls.report.page import page
from stream.calls.report.session import session_records
from stream.calls.report.timeline import NO_EMOTION, TimelineBar, TimelineRow, colour_of, stack, timeline
from stream.errors import SettingsError
from stream.events import Event, SpeakerEvent
from stream.sinks.terminal.panel_state import COLOURS, PanelView, time_axis, timeline_row
from stream.tools.evaluation.segments import Segment
from stream.tools.private_files import write_private
from stream.tools.replay.decisions import MARKS, DecisionSpan, LogLine, speaker_spans
from stream.tools.replay.explain import describe_decision, format_time

FILLED: Mapping[str, str] = {"confirmed": "█", "tentative": "░", "unknown": "▒", "overlap": "▚"}
ROWS: Mapping[str, str] = {"tentative": "not yet", "unknown": "unknown", "overlap": "overlap"}
TRUTH = "━"
SUFFIXES = (".html", ".png", ".svg")


@dataclass(frozen=True, slots=True)
class ReplayedStream:
    """A stream or call: its events, log, and reference segments if available."""

    name: str
    events: tuple[Event, ...]
    lines: tuple[LogLine, ...]
    reference: tuple[Segment, ...] = ()

    @property
    def end_s(self) -> float:
        """End of its events and reference."""
        return max([event.end_s for event in self.events] + [one.end_s for one in self.reference], default=0.0)


def render_strip(stream: ReplayedStream, view: PanelView) -> list[Text]:
    """Return rows for a terminal: live labels, reference, time axis."""
    live = {
        name: seen for name, row in _rows(stream).items() if (seen := [one for one in row if _is_visible(one, view)])
    }
    truth = _by_speaker(one for one in stream.reference if _is_visible(one, view))
    people = list(dict.fromkeys([*live, *truth]))
    colours = {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(people)}
    colours |= dict.fromkeys(ROWS.values(), "white")
    spans = [
        (name, [(one.start_s, one.end_s, FILLED[one.events[0].state]) for one in row]) for name, row in live.items()
    ]
    rows = [timeline_row(name, colours[name], row, view, painted=False) for name, row in spans]
    if truth:
        rows.append(Text("reference", style="dim"))
        spans = [(name, [(one.start_s, one.end_s, TRUTH) for one in row]) for name, row in truth.items()]
        rows += [timeline_row(name, colours[name], row, view, painted=False) for name, row in spans]
    return [*rows, time_axis(view)] if rows else []


def _is_visible(one: DecisionSpan[SpeakerEvent] | Segment, view: PanelView) -> bool:
    return one.end_s > view.begin_s and one.start_s < view.begin_s + view.span_s


def write_plot(path: Path, streams: Sequence[ReplayedStream]) -> None:
    """Write a page with timelines and logs, or an image. Raises `SettingsError`."""
    drawings = [timeline(record, beside=_live_rows(one)) for one in streams for record in session_records(one.events)]
    if path.suffix == ".png":
        content = stack(drawings).png()
    elif path.suffix == ".svg":
        content = stack(drawings).svg().encode()
    else:
        parts = (
            f"<header><h1>{escape(one.name)}</h1></header><section><h2>Timeline</h2>{drawing.svg()}</section>"
            f"<section><h2>Decisions</h2>{_table(one.lines)}</section>"
            for one, drawing in zip(streams, drawings, strict=True)
        )
        content = page("".join(parts), title=path.stem).encode()
    try:
        write_private(path, content)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written ({error.strerror or error}); choose another file") from None


def _rows(stream: ReplayedStream) -> dict[str, list[DecisionSpan[SpeakerEvent]]]:
    """Return spans by row: speakers in order of appearance, then the rows without a speaker."""
    rows: dict[str, list[DecisionSpan[SpeakerEvent]]] = {}
    for one in _spans(stream):
        for name in _row_names(one.events[0]):
            rows.setdefault(name, []).append(one)
    order = {name: at for at, name in enumerate(ROWS.values())}
    return dict(sorted(rows.items(), key=lambda row: order.get(row[0], -1)))


def _spans(stream: ReplayedStream) -> Iterator[DecisionSpan[SpeakerEvent]]:
    """Yield the spans of speech, source by source."""
    for source in dict.fromkeys(event.source for event in stream.events):
        for one in speaker_spans((event for event in stream.events if event.source == source), stream.end_s):
            if one.events[0].state != "silence":
                yield one


def _row_names(event: SpeakerEvent) -> list[str]:
    """Return the rows of a decision: everyone known who speaks, or one that says why there is no name."""
    if event.state == "overlap":
        return [one.speaker for one in event.speakers if one.speaker is not None] or [ROWS["overlap"]]
    return [ROWS.get(event.state) or event.speaker or ROWS["unknown"]]


def _by_speaker(segments: Iterable[Segment]) -> dict[str, list[Segment]]:
    by_speaker: dict[str, list[Segment]] = {}
    for segment in segments:
        by_speaker.setdefault(segment.speaker, []).append(segment)
    return dict(sorted(by_speaker.items()))


def _live_rows(stream: ReplayedStream) -> list[TimelineRow]:
    """Return rows with the live labels and the reference, to show beside the turns."""
    live = [
        TimelineBar(one.start_s, one.end_s, _colour(one.events[0]), MARKS[one.events[0].state], _tip(one))
        for one in _spans(stream)
    ]
    truth = [
        TimelineRow(
            f"= {name}",
            colour_of(name),
            [TimelineBar(one.start_s, one.end_s, colour_of(name), "", name) for one in spans],
        )
        for name, spans in _by_speaker(stream.reference).items()
    ]
    return [TimelineRow("live", SOFT, live), *truth] if live or truth else []


def _colour(event: SpeakerEvent) -> str:
    return colour_of(event.speaker) if event.speaker is not None else NO_EMOTION


def _tip(one: DecisionSpan[SpeakerEvent]) -> str:
    event = one.events[0]
    label = " + ".join(_row_names(event))
    return f"{format_time(one.start_s)}–{format_time(one.end_s)} {label}: {describe_decision(one.events)}"


def _table(lines: Sequence[LogLine]) -> str:
    rows = "".join(
        f'<tr><td class="whole">{line.when}</td><td class="whole">{line.mark} {escape(line.subject)}</td>'
        f"<td>{escape(line.text)}</td></tr>"
        for line in lines
    )
    return (
        f"<table><thead><tr><th>Time</th><th>Speaker</th><th>Explanation</th></tr></thead><tbody>{rows}</tbody></table>"
    )
