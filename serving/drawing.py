"""Labels and boxes drawn into a picture, readable at any size of image."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

COLOURS = ("#e6194b", "#0a7d3c", "#4363d8", "#b35900", "#911eb4", "#00697a", "#c2188f", "#6b4f1d", "#7a0000", "#1f4e00")
"""All dark enough for white text."""
SMALLEST_TEXT_PX = 11
LEAST_SIDE_PX = 240
"""Smaller images are enlarged, so that there is room for the words."""


def draw(image: NDArray[np.uint8], labels: list[dict[str, Any]]) -> Image.Image:
    """A copy of upright RGB [H, W, 3] with `labels` as `predict --json` gives them: boxes at their place, labels of the
    whole image as a list in the top left corner."""
    picture = _large_enough(Image.fromarray(image))
    pen = ImageDraw.Draw(picture, "RGBA")
    text_px = max(SMALLEST_TEXT_PX, round(min(picture.size) * 0.03))
    font = ImageFont.load_default(size=text_px)
    line_px = max(2, round(min(picture.size) * 0.004))
    boxed = [label for label in labels if label["box"]]
    # The surest one last, so that it lies on top.
    for label in reversed(boxed):
        left, top, right, bottom = corners(label["box"], picture.size)
        pen.rectangle((left, top, right, bottom), outline=colour_of(label["name"]), width=line_px)
        _caption(pen, font, picture.size, left, top, label)
    down = 0.0
    for label in (label for label in labels if not label["box"]):
        down += _caption(pen, font, picture.size, 0, down, label, below=True)
        if down > picture.size[1]:
            break
    return picture


def corners(box: dict[str, float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Ratios → left, top, right, bottom in pixels, at least one pixel apart and inside the picture."""
    width, height = size
    left, top = min(box["left"] * width, width - 1), min(box["top"] * height, height - 1)
    right = min(max(left + 1, (box["left"] + box["width"]) * width), width)
    bottom = min(max(top + 1, (box["top"] + box["height"]) * height), height)
    return max(0.0, left), max(0.0, top), right, bottom


def colour_of(name: str) -> str:
    """The same for one name in every picture."""
    return COLOURS[zlib.crc32(name.encode("utf-8", "replace")) % len(COLOURS)]


def _caption(
    pen: ImageDraw.ImageDraw,
    font: Any,
    size: tuple[int, int],
    left: float,
    top: float,
    label: dict[str, Any],
    *,
    below: bool = False,
) -> float:
    """Name and confidence on a filled strip, above `top` if there is room; returns the strip's height in pixels."""
    text = f"{label['name']} {label['confidence']:.0f}%"
    x0, y0, x1, y1 = pen.textbbox((0, 0), text, font=font)
    margin = max(2, round((y1 - y0) * 0.25))
    width, height = x1 - x0 + 2 * margin, y1 - y0 + 2 * margin
    left = max(0.0, min(left, size[0] - width))
    if not below:
        top = top - height if top >= height else top
    pen.rectangle((left, top, left + width, top + height), fill=colour_of(label["name"]))
    pen.text((left + margin - x0, top + margin - y0), text, font=font, fill="white")
    return float(height)


def _large_enough(picture: Image.Image) -> Image.Image:
    side = min(picture.size)
    if side >= LEAST_SIDE_PX:
        return picture
    # Never above 4 000 px: a strip of one pixel's height has to stay a strip.
    factor = min(LEAST_SIDE_PX / side, max(1.0, 4000 / max(picture.size)))
    return picture.resize((round(picture.width * factor), round(picture.height * factor)), Image.Resampling.NEAREST)
