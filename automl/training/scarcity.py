"""What a training warns of before it begins: labels of which too little is there to tell how well they are recognised,
and boxes too small to be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tenshot.datasets.checks.boxes import is_tiny

if TYPE_CHECKING:
    from tenshot.datasets.annotations import Entry

MOST_NAMED = 5


def warnings_of(entries: Sequence[Entry], groups: Mapping[str, int]) -> list[str]:
    """`groups`: image → group of near duplicates, which no split of cross-validation tears apart."""
    lone, alike = _lone(entries, groups)
    found = []
    if lone:
        found.append(
            f"{_named(lone)} in one image only: cross-validation never sees such a label both in training and in a test"
        )
    if alike:
        found.append(f"{_named(alike)} only in near duplicates of one image, which count as one")
    boxes = [(entry, box) for entry in entries for box in entry.boxes]
    if tiny := sum(is_tiny(entry, box) for entry, box in boxes):
        found.append(f"{tiny} of {len(boxes)} boxes are a few pixels in size, too small to be learned well")
    return found


def _lone(entries: Sequence[Entry], groups: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """Labels of one image, and labels of several that are all near duplicates of one another."""
    images: dict[str, list[str]] = {}
    for entry in entries:
        for label in {*entry.labels, *(box.label for box in entry.boxes)}:
            images.setdefault(label, []).append(entry.image)
    lone = sorted(label for label, found in images.items() if len(found) == 1)
    alike = [label for label, found in images.items() if len(found) > 1 and len({groups[i] for i in found}) == 1]
    return lone, sorted(alike)


def _named(labels: Sequence[str]) -> str:
    shown = ", ".join(repr(label) for label in labels[:MOST_NAMED])
    if len(labels) > MOST_NAMED:
        return f"{len(labels)} labels ({shown}, …) are"
    return f"{shown} {'is' if len(labels) == 1 else 'are'}"
