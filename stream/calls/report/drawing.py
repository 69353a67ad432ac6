"""A drawing of rectangles, lines and text, rendered as SVG, or as PNG by Pillow.

Coordinates are pixels at scale 1, y downwards. Text is placed by its baseline. Colours are `#rrggbb`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from xml.sax.saxutils import escape

from stream.errors import SettingsError, missing_extra

Anchor = Literal["start", "middle", "end"]
FONT = "system-ui, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
PLAIN, BOLD = ("DejaVuSans.ttf", "LiberationSans-Regular.ttf"), ("DejaVuSans-Bold.ttf", "LiberationSans-Bold.ttf")
INK, SOFT, LINE, SUNK = "#1d1f24", "#5b5f68", "#e0dfd9", "#eeeeea"


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A filled rectangle with rounded corners; `tip` is its tooltip."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    radius: float = 0.0
    tip: str = ""


@dataclass(frozen=True, slots=True)
class Polyline:
    """Straight lines through points, optionally dashed."""

    points: Sequence[tuple[float, float]]
    colour: str
    width: float = 1.0
    dash: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TextLabel:
    """A line of text."""

    x: float
    y: float
    text: str
    size: int = 12
    colour: str = INK
    anchor: Anchor = "start"
    bold: bool = False


@dataclass(slots=True)
class Drawing:
    """Shapes in drawing order; `title` is the text for screen readers."""

    width: int
    height: int
    title: str
    shapes: list[Rectangle | Polyline | TextLabel] = field(default_factory=list)

    def add(self, *shapes: Rectangle | Polyline | TextLabel) -> None:
        """Add shapes on top."""
        self.shapes.extend(shapes)

    def svg(self) -> str:
        """Render as an SVG element, without styles or scripts."""
        body = "".join(_svg(shape) for shape in self.shapes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'font-family="{escape(FONT)}"><title>{escape(self.title)}</title>{body}</svg>'
        )

    def png(self, *, scale: int = 2) -> bytes:
        """Render as PNG. Raises `SettingsError` if Pillow is missing."""
        try:
            from PIL import Image, ImageDraw  # noqa: PLC0415 - an extra
        except ImportError:
            raise SettingsError(missing_extra("a PNG", library="Pillow", extra="png")) from None
        fine = 2 * scale  # drawn at twice the size and reduced: Pillow does not anti-alias shapes
        image = Image.new("RGB", (self.width * fine, self.height * fine), "#ffffff")
        pen = ImageDraw.Draw(image)
        for shape in self.shapes:
            _paint(pen, shape, fine)
        out = io.BytesIO()
        image.reduce(2).save(out, "PNG", optimize=True)
        return out.getvalue()


def _svg(shape: Rectangle | Polyline | TextLabel) -> str:
    if isinstance(shape, Rectangle):
        tip = f"<title>{escape(shape.tip)}</title>" if shape.tip else ""
        place = f'x="{shape.x:.1f}" y="{shape.y:.1f}" width="{max(0.0, shape.width):.1f}" height="{shape.height:.1f}"'
        return f'<rect {place} rx="{shape.radius:g}" fill="{shape.colour}">{tip}</rect>'
    if isinstance(shape, Polyline):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
        dash = f' stroke-dasharray="{" ".join(map(str, shape.dash))}"' if shape.dash else ""
        stroke = f'stroke="{shape.colour}" stroke-width="{shape.width:g}"{dash}'
        return f'<polyline points="{points}" fill="none" {stroke}/>'
    weight = ' font-weight="600"' if shape.bold else ""
    return (
        f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size}" fill="{shape.colour}" '
        f'text-anchor="{shape.anchor}"{weight}>{escape(shape.text)}</text>'
    )


def _paint(pen: Any, shape: Rectangle | Polyline | TextLabel, scale: int) -> None:
    if isinstance(shape, Rectangle):
        if shape.width > 0:
            box = (shape.x, shape.y, max(shape.x + 1 / scale, shape.x + shape.width), shape.y + shape.height)
            pen.rounded_rectangle([value * scale for value in box], shape.radius * scale, shape.colour)
    elif isinstance(shape, Polyline):
        for piece in _dashed(shape):
            pen.line(
                [(x * scale, y * scale) for x, y in piece], shape.colour, max(1, round(shape.width * scale)), "curve"
            )
    else:
        font = _font(shape.size * scale, bold=shape.bold)
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
        pen.text((shape.x * scale, shape.y * scale), shape.text, shape.colour, font, anchor)


def _dashed(path: Polyline) -> list[Sequence[tuple[float, float]]]:
    """Return the drawn parts of a path: all of it, or every other dash."""
    if not path.dash:
        return [path.points]
    pieces: list[Sequence[tuple[float, float]]] = []
    rest, drawn, number = float(path.dash[0]), True, 0
    for (x0, y0), (x1, y1) in zip(path.points, path.points[1:], strict=False):
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        done = 0.0
        while done < length:
            step = min(rest, length - done)
            if drawn:
                ends = [(x0 + (x1 - x0) * at / length, y0 + (y1 - y0) * at / length) for at in (done, done + step)]
                pieces.append(ends)
            done, rest = done + step, rest - step
            if rest <= 0:
                number += 1
                drawn, rest = not drawn, float(path.dash[number % len(path.dash)])
    return pieces


def _font(size: int, *, bold: bool) -> Any:
    """Return a font with wide Unicode coverage if the system has one, else Pillow's own."""
    from PIL import ImageFont  # noqa: PLC0415 - an extra

    for name in BOLD if bold else PLAIN:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)
