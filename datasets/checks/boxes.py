"""Boxes that are too small to be found, or as large as the image."""

from __future__ import annotations

from collections.abc import Iterator

from tenshot.datasets.annotations import Box, Entry
from tenshot.datasets.findings import Finding, Inspection, finding

TINY_RATIO = 0.01
TINY_PX_AT_640 = 8.0
"""A box narrower than the detector's finest stride, when the image's longer side is 640 px, cannot be found."""
GIANT_RATIO = 0.95


def check(found: Inspection) -> Iterator[Finding]:
    boxes = [(entry, box) for entry in found.entries for box in entry.boxes]
    tiny = [_box_shown(entry, box) for entry, box in boxes if is_tiny(entry, box)]
    if tiny:
        message = (
            f"{len(tiny)} of {len(boxes)} boxes are tiny: under 1 % of a side, or under 8 px with the image at 640"
        )
        yield finding(
            "warning", "tiny-boxes", message, "cut the images into tiles, or leave out what is so small", tiny
        )
    giant = [_box_shown(e, b) for e, b in boxes if b.width > GIANT_RATIO and b.height > GIANT_RATIO]
    if giant:
        message = f"{len(giant)} of {len(boxes)} boxes fill the whole image"
        yield finding("warning", "giant-boxes", message, "draw them around the object, or use classification", giant)


def is_tiny(entry: Entry, box: Box) -> bool:
    """Whether a box is too small to be found; see TINY_RATIO and TINY_PX_AT_640."""
    return min(box.width, box.height) < TINY_RATIO or shorter_side_px(entry, box, 640) < TINY_PX_AT_640


def shorter_side_px(entry: Entry, box: Box, longest_px: int) -> float:
    """Of the box, when the image is scaled so that its longer side is `longest_px`."""
    scale = longest_px / max(entry.width_px, entry.height_px)
    return min(box.width * entry.width_px, box.height * entry.height_px) * scale


def _box_shown(entry: Entry, box: Box) -> str:
    return f"{entry.name}: {box.label} {box.width * entry.width_px:.0f}×{box.height * entry.height_px:.0f} px"
