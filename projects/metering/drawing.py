"""A few shapes on a page, written as SVG, PNG or HTML. Lengths are pixels from the upper left corner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Literal

from tenshot.projects.errors import UnknownNameError, UsageError

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
PNG_SCALE = 2
"""Pixels of a PNG for one of the drawing, for sharp screens."""
BACKGROUND = "#ffffff"


@dataclass(frozen=True, slots=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    fill: str
    tip: str = ""
    """What is told when the pointer rests on it."""


@dataclass(frozen=True, slots=True)
class Line:
    x1: float
    y1: float
    x2: float
    y2: float
    stroke: str


@dataclass(frozen=True, slots=True)
class Label:
    x: float
    y: float
    """Of the line that the letters stand on."""
    text: str
    size: float = 12
    fill: str = "#333333"
    anchor: Literal["start", "middle", "end"] = "start"
    bold: bool = False


@dataclass
class Drawing:
    width: float
    height: float
    title: str
    shapes: list[Box | Line | Label] = field(default_factory=list)


def svg(drawing: Drawing) -> str:
    size = f'width="{drawing.width:g}" height="{drawing.height:g}" viewBox="0 0 {drawing.width:g} {drawing.height:g}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{FONT}">',
            f"<title>{escape(drawing.title)}</title>",
            f'<rect width="100%" height="100%" fill="{BACKGROUND}"/>',
            *map(_element, drawing.shapes),
            "</svg>\n",
        ]
    )


def html(drawing: Drawing) -> str:
    title = escape(drawing.title)
    head = f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title></head>\n'
    return f'{head}<body style="margin: 2em; background: {BACKGROUND}">\n{svg(drawing)}</body>\n</html>\n'


def png(drawing: Drawing) -> bytes:
    from PIL import Image, ImageDraw, ImageFont

    def scaled(*values: float) -> list[float]:
        return [value * PNG_SCALE for value in values]

    image = Image.new("RGB", (round(drawing.width * PNG_SCALE), round(drawing.height * PNG_SCALE)), BACKGROUND)
    pen = ImageDraw.Draw(image)
    anchors = {"start": "ls", "middle": "ms", "end": "rs"}
    for shape in drawing.shapes:
        if isinstance(shape, Box):
            right, bottom = max(shape.x + shape.width, shape.x + 0.5), shape.y + shape.height
            pen.rectangle(scaled(shape.x, shape.y, right, bottom), fill=shape.fill)
        elif isinstance(shape, Line):
            pen.line(scaled(shape.x1, shape.y1, shape.x2, shape.y2), fill=shape.stroke, width=1)
        else:
            font, anchor = ImageFont.load_default(shape.size * PNG_SCALE), anchors[shape.anchor]
            weight = 0.5 if shape.bold else 0
            at = (shape.x * PNG_SCALE, shape.y * PNG_SCALE)
            pen.text(at, shape.text, font=font, fill=shape.fill, anchor=anchor, stroke_width=weight)
    stream = BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


WRITERS: dict[str, Callable[[Drawing], bytes]] = {
    ".svg": lambda drawing: svg(drawing).encode(),
    ".html": lambda drawing: html(drawing).encode(),
    ".png": png,
}
"""Ending of a file → what writes it."""


def check(path: Path) -> None:
    """Raises UnknownNameError for a file whose ending nothing writes."""
    if path.suffix.lower() not in WRITERS:
        raise UnknownNameError("ending of a chart", path.suffix or path.name, WRITERS)


def write(path: Path, drawing: Drawing) -> None:
    """Raises UnknownNameError, UsageError if the file cannot be written."""
    check(path)
    try:
        path.write_bytes(WRITERS[path.suffix.lower()](drawing))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", hint="name a file in a folder of yours"
        ) from None


def _element(shape: Box | Line | Label) -> str:
    if isinstance(shape, Box):
        where = f'x="{shape.x:.2f}" y="{shape.y:.2f}" width="{shape.width:.2f}" height="{shape.height:.2f}"'
        tip = f"<title>{escape(shape.tip)}</title>" if shape.tip else ""
        return f'<rect {where} fill="{shape.fill}">{tip}</rect>'
    if isinstance(shape, Line):
        where = f'x1="{shape.x1:.2f}" y1="{shape.y1:.2f}" x2="{shape.x2:.2f}" y2="{shape.y2:.2f}"'
        return f'<line {where} stroke="{shape.stroke}"/>'
    weight = ' font-weight="600"' if shape.bold else ""
    look = f'font-size="{shape.size:g}" fill="{shape.fill}" text-anchor="{shape.anchor}"{weight}'
    return f'<text x="{shape.x:.2f}" y="{shape.y:.2f}" {look}>{escape(shape.text)}</text>'
