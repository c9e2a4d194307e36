"""Judging labels and boxes as files have them: from pixels or ratios, turned or not, to ratios of the upright image."""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING

from tenshot.datasets.annotations import Box

if TYPE_CHECKING:
    from tenshot.datasets.formats.base import RawBox, RawRecord
    from tenshot.datasets.images import Header

Edges = tuple[float, float, float, float]
"""left, top, right, bottom."""

MAX_LABEL = 255
_ASPECT_TOLERANCE = 0.02
_SLACK = 1e-6
"""Ratio by which rounding may put an edge outside without the box being called clipped."""


def clean_label(text: str) -> str:
    """The label without spaces around it. Raises ValueError: empty, over 255 characters, control characters."""
    label = text.strip()
    if not label:
        raise ValueError("a label is empty, expected 1 to 255 characters")
    if len(label) > MAX_LABEL:
        raise ValueError(f"label {label[:20]!r}… has {len(label)} characters, expected at most {MAX_LABEL}")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in label):
        raise ValueError(f"label {label!r} holds control characters")
    return label


def frame_of(record: RawRecord, header: Header) -> tuple[tuple[int, int], bool]:
    """Width and height (px) that the record's boxes refer to, and whether they must be turned with the image.

    Raises ValueError where the declared size is that of another picture. One with the same sides' ratio is taken as the
    same picture, scaled since it was annotated.
    """
    upright, stored = header.upright_wh_px, (header.width_px, header.height_px)
    declared = record.declared_wh_px
    if declared is None or declared == upright:
        return upright, False
    if declared == stored:
        return stored, True
    if record.unit == "ratio" or not record.boxes:
        return upright, False
    if abs(declared[0] / declared[1] * upright[1] / upright[0] - 1) <= _ASPECT_TOLERANCE:
        return declared, False
    raise ValueError(f"declares {declared[0]}×{declared[1]} px, but the image is {upright[0]}×{upright[1]} px")


def turn(edges: Edges, orientation: int) -> Edges:
    """Edges as ratios of the stored image → as ratios of the upright one, for an EXIF orientation 1–8."""
    left, top, right, bottom = edges
    if orientation >= 5:
        left, top, right, bottom = top, left, bottom, right
    if orientation in (2, 3, 6, 7):
        left, right = 1 - right, 1 - left
    if orientation in (3, 4, 7, 8):
        top, bottom = 1 - bottom, 1 - top
    return left, top, right, bottom


def clip(edges: Edges) -> Edges:
    """The part of a box (ratios) within the image. Raises ValueError: not finite, no area, wholly outside."""
    if not all(math.isfinite(edge) for edge in edges):
        raise ValueError(f"the box {_shown(edges)} is not made of finite numbers")
    left, top, right, bottom = edges
    if right <= left or bottom <= top:
        raise ValueError(f"the box {_shown(edges)} has no area")
    inside = max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)
    if inside[2] - inside[0] <= _SLACK or inside[3] - inside[1] <= _SLACK:
        raise ValueError(f"the box {_shown(edges)} lies outside the image")
    return inside


def box_of(raw: RawBox, record: RawRecord, wh_px: tuple[int, int], orientation: int) -> Box:
    """The judged box. `orientation` is 1 unless the box has to be turned. Raises ValueError."""
    width, height = wh_px if record.unit == "px" else (1, 1)
    edges = raw.left / width, raw.top / height, raw.right / width, raw.bottom / height
    left, top, right, bottom = turn(clip(edges), orientation)
    return Box(clean_label(raw.label), left, top, right - left, bottom - top)


def was_clipped(raw: RawBox, record: RawRecord, wh_px: tuple[int, int]) -> bool:
    """Whether part of the box lay outside the image, by more than rounding (half a pixel)."""
    width, height = wh_px if record.unit == "px" else (1, 1)
    slack_x, slack_y = 0.5 / wh_px[0], 0.5 / wh_px[1]
    return (
        min(raw.left / width, 1 - raw.right / width) < -slack_x
        or min(raw.top / height, 1 - raw.bottom / height) < -slack_y
    )


def _shown(edges: Edges) -> str:
    return "(" + ", ".join(f"{edge:.4g}" for edge in edges) + ", as ratios)"
