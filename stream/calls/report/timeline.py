"""The timeline of a finished call or stream: turns by speaker, emotions, alerts and gaps on one time axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from stream.calls.report.drawing import INK, LINE, SOFT, SUNK, Drawing, Polyline, Rectangle, TextLabel
from stream.calls.report.session import SessionRecord

COLOURS = {
    "neutral": "#737d8c",
    "happy": "#c98a00",
    "angry": "#d23f2a",
    "sad": "#2f74c0",
    "uncertain": "#a7abb3",
}
MARKS = {"neutral": "–", "happy": "▲", "angry": "!", "sad": "▼", "uncertain": "?"}
DASHES: dict[str, tuple[int, ...]] = {"happy": (8, 3), "sad": (3, 3)}
OTHER = "#8a56c2"
NO_EMOTION = "#a7abb3"
SPEAKER_COLOURS = ("#4a63d8", "#12857c", "#b3762a", "#a04a86", "#5b7d2c", "#7a5bd0", "#b1513f", "#3d7fa6")
ALERT_COLOUR = "#b3261e"

WIDTH, LEFT, ROW_HEIGHT, TOP = 1000, 110, 30, 40
MIN_MARKED_WIDTH, MAX_TICKS, MAX_NAME_LENGTH = 12, 12, 13
MAX_EMOTION_GAP_S = 2.5
"""Emotion points further apart are not connected: no window was scored in between."""


def clock_text(at_s: float) -> str:
    """Format media time as minutes and seconds, with hours if any."""
    hours, rest = divmod(int(at_s), 3600)
    return (f"{hours}:" if hours else "") + f"{rest // 60:02}:{rest % 60:02}"


@dataclass(frozen=True, slots=True)
class TimelineBar:
    """A bar with a letter, if it is wide enough, and a tooltip."""

    start_s: float
    end_s: float
    colour: str
    mark: str
    tip: str


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """A named row of bars."""

    name: str
    colour: str
    bars: Sequence[TimelineBar]


def timeline(recording: SessionRecord, *, beside: Sequence[TimelineRow] = ()) -> Drawing:
    """Draw turns in a row per speaker, coloured and marked by emotion, followed by the rows `beside`.

    Alerts are above the rows, gaps across them, emotion probabilities below.
    """
    rows, labels = [*(_turns(recording, speaker) for speaker in recording.speakers), *beside], _labels(recording)
    top = TOP + 24
    foot = top + max(1, len(rows)) * (ROW_HEIGHT + 4)
    height = foot + 24 + (150 if labels else 0) + 10
    drawing = Drawing(WIDTH, height, f"Timeline of {recording.name}: turns by speaker, emotions and alerts")
    whole_s = max(recording.end_s, 1.0)
    scale = (WIDTH - LEFT - 16) / whole_s

    def x(at_s: float) -> float:
        return LEFT + at_s * scale

    drawing.add(
        TextLabel(16, 26, recording.title, 16, bold=True),
        TextLabel(WIDTH - 16, 26, clock_text(recording.end_s), 13, SOFT, "end"),
    )
    for alert in recording.alerts:
        drawing.add(
            Rectangle(
                x(alert.start_s), TOP, max(3, (alert.end_s - alert.start_s) * scale), 6, ALERT_COLOUR, 2, alert.label
            ),
            TextLabel(x(alert.start_s), TOP + 18, f"! {alert.label}", 10, ALERT_COLOUR),
        )
    for number, row in enumerate(rows):
        _draw_row(drawing, row, top + number * (ROW_HEIGHT + 4), x)
    for start_s, end_s, why in recording.gaps:
        tip = "paused" if why == "paused" else "audio lost"
        drawing.add(Rectangle(x(start_s), top - 2, max(1.5, (end_s - start_s) * scale), foot - top, INK, 0, tip))
    for at_s in _ticks(whole_s):
        drawing.add(TextLabel(x(at_s), foot + 14, clock_text(at_s), 10, SOFT, "middle"))
    if labels:
        _draw_probabilities(drawing, recording, labels, foot + 34, x)
    return drawing


def _turns(recording: SessionRecord, speaker: str | None) -> TimelineRow:
    bars = []
    for turn in recording.turns:
        if turn.speaker == speaker:
            label = turn.emotion or ""
            tip = f"{clock_text(turn.start_s)}–{clock_text(turn.end_s)} {speaker or 'unknown'}, {label or 'no emotion'}"
            colour = COLOURS.get(label, OTHER if label else NO_EMOTION)
            bars.append(TimelineBar(turn.start_s, turn.end_s, colour, MARKS.get(label, label[:1].upper()), tip))
    return TimelineRow(speaker or "unknown", colour_of(speaker), bars)


def _draw_row(drawing: Drawing, row: TimelineRow, y: float, x: Callable[[float], float]) -> None:
    drawing.add(Rectangle(LEFT, y, WIDTH - LEFT - 16, ROW_HEIGHT, SUNK, 5))
    drawing.add(TextLabel(16, y + 20, _short(row.name), 12, row.colour, bold=True))
    for bar in row.bars:
        left, width = x(bar.start_s), max(2.0, x(bar.end_s) - x(bar.start_s))
        drawing.add(Rectangle(left, y + 3, width, ROW_HEIGHT - 6, bar.colour, 3, bar.tip))
        if width > MIN_MARKED_WIDTH:
            drawing.add(TextLabel(left + 5, y + 20, bar.mark, 11, "#ffffff", bold=True))


def _draw_probabilities(
    drawing: Drawing, recording: SessionRecord, labels: Sequence[str], top: float, x: Callable[[float], float]
) -> None:
    plot_height = 100.0
    for share in (0.0, 0.5, 1.0):
        y = top + plot_height * (1 - share)
        drawing.add(
            Polyline([(LEFT, y), (WIDTH - 16, y)], LINE), TextLabel(LEFT - 8, y + 4, f"{share:.0%}", 10, SOFT, "end")
        )
    for number, label in enumerate(labels):
        colour = COLOURS.get(label, OTHER)
        drawing.add(
            Rectangle(LEFT + number * 110, top + plot_height + 10, 9, 9, colour, 2),
            TextLabel(
                LEFT + number * 110 + 14, top + plot_height + 18, f"{MARKS.get(label, '')} {label}".strip(), 11, SOFT
            ),
        )
        for piece in _pieces(recording, label):
            points = [(x(at_s), top + plot_height * (1 - value)) for at_s, value in piece]
            if len(points) == 1:
                points.append((points[0][0] + 2, points[0][1]))
            drawing.add(Polyline(points, colour, 2.2 if label == "angry" else 1.5, DASHES.get(label, ())))


def _pieces(recording: SessionRecord, label: str) -> Iterator[list[tuple[float, float]]]:
    """Yield the curve of a label's probability, split where no window was scored or the speaker changes."""
    piece: list[tuple[float, float]] = []
    before: str | None = None
    for point in recording.emotion_points:
        value = point.probabilities.get(label)
        broken = value is None or (piece and (point.at_s - piece[-1][0] > MAX_EMOTION_GAP_S or point.speaker != before))
        if broken and piece:
            yield piece
            piece = []
        if value is not None:
            piece.append((point.at_s, value))
            before = point.speaker
    if piece:
        yield piece


def _labels(recording: SessionRecord) -> list[str]:
    return list(dict.fromkeys(label for point in recording.emotion_points for label in point.probabilities))


def _ticks(whole_s: float) -> list[float]:
    step = next((step for step in (5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600) if whole_s / step <= MAX_TICKS), 7200)
    return [float(at_s) for at_s in range(0, int(whole_s) + 1, step)]


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 1] + "…"


def colour_of(speaker: str | None) -> str:
    """Return a speaker's colour, the same as on the dashboard."""
    if speaker is None:
        return SOFT
    if speaker in ("customer", "agent"):
        return SPEAKER_COLOURS[("customer", "agent").index(speaker)]
    if speaker[:1] == "S" and speaker[1:].isdigit():
        return SPEAKER_COLOURS[(int(speaker[1:]) - 1) % len(SPEAKER_COLOURS)]
    hashed = 0
    for letter in speaker:
        hashed = (hashed * 31 + ord(letter)) % 2**32
    return SPEAKER_COLOURS[hashed % len(SPEAKER_COLOURS)]


def stack(drawings: Sequence[Drawing]) -> Drawing:
    """Place drawings below each other."""
    whole = Drawing(
        WIDTH, sum(drawing.height for drawing in drawings), "; ".join(drawing.title for drawing in drawings)
    )
    y = 0.0
    for drawing in drawings:
        for shape in drawing.shapes:
            if isinstance(shape, Polyline):
                moved: Rectangle | Polyline | TextLabel = Polyline(
                    [(px, py + y) for px, py in shape.points], shape.colour, shape.width, shape.dash
                )
            else:
                moved = type(shape)(**{**{name: getattr(shape, name) for name in shape.__slots__}, "y": shape.y + y})
            whole.add(moved)
        y += drawing.height
    return whole
