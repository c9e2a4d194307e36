"""Whether an export answers as its version does. Pure: answers in, figures and a verdict out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tenshot.projects.errors import ExportError

Answer = dict[str, Any]
Label = dict[str, Any]

CONFIDENCE = 0.1
"""Of 100: larger differences of a confidence are a deviation. Two runtimes sum in different orders."""
BOX = 0.002
"""As a ratio of the image's side, for each of a box's four edges."""
NOVELTY = 0.001
MOST_UNMATCHED = 0.02
"""Share of the faint boxes (those below their thresholds) that may be found by one side only: of boxes that are nearly
equal suppression keeps one, and rounding decides which."""


@dataclass(frozen=True, slots=True)
class Parity:
    images: int
    own_images: int
    """Of the project's dataset; the others were generated."""
    labels: int
    """Labels or boxes that were compared."""
    confidence: float
    """Largest difference, of 100."""
    box: float
    """Largest difference of an edge, as a ratio."""
    novelty: float
    unmatched: int
    """Faint boxes that one side alone found."""

    def to_json(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "own_images": self.own_images,
            "labels": self.labels,
            "largest_confidence_difference": self.confidence,
            "largest_box_difference": self.box,
            "largest_novelty_difference": self.novelty,
            "unmatched_faint_boxes": self.unmatched,
            "tolerance": {"confidence": CONFIDENCE, "box": BOX, "novelty": NOVELTY},
        }


@dataclass(slots=True)
class _Seen:
    labels: int = 0
    confidence: float = 0.0
    box: float = 0.0
    novelty: float = 0.0
    unmatched: int = 0


def compare(
    names: Sequence[str],
    thresholds: dict[str, float],
    expected: tuple[Sequence[Answer], Sequence[Answer]],
    got: tuple[Sequence[Answer], Sequence[Answer]],
    own_images: int = 0,
) -> Parity:
    """`names` of the images; of each side the answers at the labels' own thresholds, and those at confidence 0.

    Raises ExportError that names the first image whose answer deviates, and how.
    """
    seen = _Seen()
    for i, name in enumerate(names):
        _compare_one(name, expected[0][i], got[0][i], thresholds, seen)
        _compare_one(name, expected[1][i], got[1][i], None, seen)
    boxes = sum(len(answer["labels"]) for answer in expected[1])
    if seen.unmatched > MOST_UNMATCHED * boxes:
        raise ExportError(
            f"the export and its version disagree on {seen.unmatched} of {boxes} faint boxes; "
            f"at most {MOST_UNMATCHED:.0%} may differ"
        )
    return Parity(
        len(names), own_images, seen.labels, seen.confidence, seen.box, seen.novelty, seen.unmatched
    )  # fmt: skip


def _compare_one(name: str, expected: Answer, got: Answer, thresholds: dict[str, float] | None, seen: _Seen) -> None:
    """`thresholds`: those that the answers were cut at, or None if they were not cut."""
    if ("error" in expected) != ("error" in got):
        side = "version" if "error" in expected else "export"
        raise ExportError(f"{name}: the {side} alone refuses this image")
    difference = abs(expected.get("novelty", 0.0) - got.get("novelty", 0.0))
    if ("novelty" in expected) != ("novelty" in got) or difference > NOVELTY:
        raise ExportError(f"{name}: novelty {got.get('novelty')}, expected {expected.get('novelty')}")
    seen.novelty = max(seen.novelty, difference)
    left = list(got["labels"])
    alone = []
    for label in expected["labels"]:
        found = _nearest(label, left)
        if found is None:
            alone.append(label)
            continue
        left.remove(found)
        seen.labels += 1
        seen.confidence = max(seen.confidence, abs(found["confidence"] - label["confidence"]))
        seen.box = max(seen.box, _apart(found["box"], label["box"]))
    for label in (*alone, *left):
        _excuse(name, label, label in alone, thresholds, seen)


def _excuse(name: str, label: Label, missing: bool, thresholds: dict[str, float] | None, seen: _Seen) -> None:
    if thresholds is not None and abs(label["confidence"] - 100 * thresholds.get(label["name"], 0.5)) <= CONFIDENCE:
        return  # it lies on its threshold: rounding decides
    if thresholds is None and label["box"] is not None:
        seen.unmatched += 1
        return
    side = "lacks" if missing else "finds"
    where = f" at {label['box']}" if label["box"] else ""
    raise ExportError(
        f"{name}: the export {side} {label['name']!r} with {label['confidence']:.2f} %{where}, unlike its version"
    )


def _nearest(label: Label, among: list[Label]) -> Label | None:
    """The one that is the same within the tolerances."""
    near = [
        other
        for other in among
        if other["name"] == label["name"]
        and abs(other["confidence"] - label["confidence"]) <= CONFIDENCE
        and _apart(other["box"], label["box"]) <= BOX
    ]
    return min(near, key=lambda other: _apart(other["box"], label["box"]), default=None)


def _apart(one: dict[str, float] | None, other: dict[str, float] | None) -> float:
    """Largest difference of an edge; 0 where neither has a box."""
    if one is None or other is None:
        return 0.0 if one is other else 1.0
    return max(abs(a - b) for a, b in zip(_edges(one), _edges(other), strict=True))


def _edges(box: dict[str, float]) -> tuple[float, float, float, float]:
    return box["left"], box["top"], box["left"] + box["width"], box["top"] + box["height"]
