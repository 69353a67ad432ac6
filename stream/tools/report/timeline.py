"""The drawing of a finished call or stream: turns by speaker, emotions, alerts and gaps on one axis of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from stream.events.labels import ALERT_LABELS
from stream.tools.report.drawing import INK, LINE, SOFT, SUNK, Drawing, Polyline, Rectangle, TextLabel
from stream.tools.report.session import SessionRecord

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
PEOPLE = ("#4a63d8", "#12857c", "#b3762a", "#a04a86", "#5b7d2c", "#7a5bd0", "#b1513f", "#3d7fa6")
BAD = "#b3261e"

WIDTH, LEFT, LANE, TOP = 1000, 110, 30, 40
MARKED, MOST_TICKS, LONGEST_NAME = 12, 12, 13
BREAK_S = 2.5
"""Emotions further apart are not joined: nothing was judged in between."""


def clock_text(at_s: float) -> str:
    """Minutes and seconds, and hours where there are some."""
    hours, rest = divmod(int(at_s), 3600)
    return (f"{hours}:" if hours else "") + f"{rest // 60:02}:{rest % 60:02}"


@dataclass(frozen=True, slots=True)
class TimelineBar:
    """Something that lasted: a letter stands on it where there is room, `tip` is told when it is pointed at."""

    start_s: float
    end_s: float
    colour: str
    mark: str
    tip: str


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """A row of the drawing."""

    name: str
    colour: str
    bars: Sequence[TimelineBar]


def timeline(recording: SessionRecord, *, beside: Sequence[TimelineRow] = ()) -> Drawing:
    """Turns, a lane a person, coloured and marked by emotion, and what is to stand beside them on the same axis.

    Alerts and gaps are above; probabilities below.
    """
    lanes, labels = [*(_turns(recording, who) for who in recording.people), *beside], _labels(recording)
    top = TOP + 24
    foot = top + max(1, len(lanes)) * (LANE + 4)
    height = foot + 24 + (150 if labels else 0) + 10
    picture = Drawing(WIDTH, height, f"Timeline of {recording.name}: turns by speaker, emotions and alerts")
    whole_s = max(recording.end_s, 1.0)
    scale = (WIDTH - LEFT - 16) / whole_s

    def x(at_s: float) -> float:
        return LEFT + at_s * scale

    picture.add(
        TextLabel(16, 26, recording.name, 16, bold=True),
        TextLabel(WIDTH - 16, 26, clock_text(recording.end_s), 13, SOFT, "end"),
    )
    for alert in recording.alerts:
        words = ALERT_LABELS.get(alert.kind, alert.kind)
        picture.add(
            Rectangle(x(alert.start_s), TOP, max(3, (alert.end_s - alert.start_s) * scale), 6, BAD, 2, words),
            TextLabel(x(alert.start_s), TOP + 18, f"! {words}", 10, BAD),
        )
    for row, lane in enumerate(lanes):
        _draw_lane(picture, lane, top + row * (LANE + 4), x)
    for start_s, end_s, _ in recording.gaps:
        picture.add(
            Rectangle(x(start_s), top - 2, max(1.5, (end_s - start_s) * scale), foot - top, INK, 0, "sound was lost")
        )
    for at_s in _ticks(whole_s):
        picture.add(TextLabel(x(at_s), foot + 14, clock_text(at_s), 10, SOFT, "middle"))
    if labels:
        _draw_probabilities(picture, recording, labels, foot + 34, x)
    return picture


def _turns(recording: SessionRecord, who: str | None) -> TimelineRow:
    bars = []
    for turn in recording.turns:
        if turn.who == who:
            label = turn.emotion or ""
            tip = f"{clock_text(turn.start_s)}–{clock_text(turn.end_s)} {who or 'unknown'}, {label or 'no emotion'}"
            colour = COLOURS.get(label, OTHER if label else NO_EMOTION)
            bars.append(TimelineBar(turn.start_s, turn.end_s, colour, MARKS.get(label, label[:1].upper()), tip))
    return TimelineRow(who or "unknown", colour_of(who), bars)


def _draw_lane(picture: Drawing, lane: TimelineRow, y: float, x: Callable[[float], float]) -> None:
    picture.add(Rectangle(LEFT, y, WIDTH - LEFT - 16, LANE, SUNK, 5))
    picture.add(TextLabel(16, y + 20, _short(lane.name), 12, lane.colour, bold=True))
    for bar in lane.bars:
        left, wide = x(bar.start_s), max(2.0, x(bar.end_s) - x(bar.start_s))
        picture.add(Rectangle(left, y + 3, wide, LANE - 6, bar.colour, 3, bar.tip))
        if wide > MARKED:
            picture.add(TextLabel(left + 5, y + 20, bar.mark, 11, "#ffffff", bold=True))


def _draw_probabilities(
    picture: Drawing, recording: SessionRecord, labels: Sequence[str], top: float, x: Callable[[float], float]
) -> None:
    tall = 100.0
    for share in (0.0, 0.5, 1.0):
        y = top + tall * (1 - share)
        picture.add(
            Polyline([(LEFT, y), (WIDTH - 16, y)], LINE), TextLabel(LEFT - 8, y + 4, f"{share:.0%}", 10, SOFT, "end")
        )
    for number, label in enumerate(labels):
        colour = COLOURS.get(label, OTHER)
        picture.add(
            Rectangle(LEFT + number * 110, top + tall + 10, 9, 9, colour, 2),
            TextLabel(LEFT + number * 110 + 14, top + tall + 18, f"{MARKS.get(label, '')} {label}".strip(), 11, SOFT),
        )
        for piece in _pieces(recording, label):
            points = [(x(at_s), top + tall * (1 - value)) for at_s, value in piece]
            if len(points) == 1:
                points.append((points[0][0] + 2, points[0][1]))
            picture.add(Polyline(points, colour, 2.2 if label == "angry" else 1.5, DASHES.get(label, ())))


def _pieces(recording: SessionRecord, label: str) -> Iterator[list[tuple[float, float]]]:
    """A label's probability, broken where nothing was judged or another person spoke."""
    piece: list[tuple[float, float]] = []
    before: str | None = None
    for felt in recording.felt:
        value = felt.probabilities.get(label)
        broken = value is None or (piece and (felt.at_s - piece[-1][0] > BREAK_S or felt.who != before))
        if broken and piece:
            yield piece
            piece = []
        if value is not None:
            piece.append((felt.at_s, value))
            before = felt.who
    if piece:
        yield piece


def _labels(recording: SessionRecord) -> list[str]:
    return list(dict.fromkeys(label for felt in recording.felt for label in felt.probabilities))


def _ticks(whole_s: float) -> list[float]:
    step = next((step for step in (5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600) if whole_s / step <= MOST_TICKS), 7200)
    return [float(at_s) for at_s in range(0, int(whole_s) + 1, step)]


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def colour_of(who: str | None) -> str:
    """A person's colour: the same as on the page."""
    if who is None:
        return SOFT
    if who in ("customer", "agent"):
        return PEOPLE[("customer", "agent").index(who)]
    if who[:1] == "S" and who[1:].isdigit():
        return PEOPLE[(int(who[1:]) - 1) % len(PEOPLE)]
    hashed = 0
    for letter in who:
        hashed = (hashed * 31 + ord(letter)) % 2**32
    return PEOPLE[hashed % len(PEOPLE)]


def stacked(pictures: Sequence[Drawing]) -> Drawing:
    """One below the other."""
    whole = Drawing(
        WIDTH, sum(picture.height for picture in pictures), "; ".join(picture.title for picture in pictures)
    )
    y = 0.0
    for picture in pictures:
        for shape in picture.shapes:
            if isinstance(shape, Polyline):
                moved: Rectangle | Polyline | TextLabel = Polyline(
                    [(px, py + y) for px, py in shape.points], shape.colour, shape.width, shape.dash
                )
            else:
                moved = type(shape)(**{**{name: getattr(shape, name) for name in shape.__slots__}, "y": shape.y + y})
            whole.add(moved)
        y += picture.height
    return whole
