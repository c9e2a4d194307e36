"""Choosing how a detector is asked, on out-of-fold predictions: input size, second look and
non-maximum suppression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tenshot.automl.bundle import Suppression
from tenshot.automl.detectors.recipe import rounded_size
from tenshot.automl.evaluation.outcomes import Boxes, DetectionOutcome
from tenshot.automl.search.detection_choice import image_scores, surely_better
from tenshot.automl.search.detection_space import SuppressionGrid

GAIN = 0.005
"""mAP50 by which another way must beat the bundle's default to replace it."""
SCALE_GAIN = 0.01
"""The same for another size of the input."""
SECOND_GAIN = 0.02
"""The same for a second network, which makes every answer slower."""
LOSS = 0.002
"""mAP50 that a limit on the number of boxes may cost."""


@dataclass(frozen=True)
class Way:
    """How a trained detector is asked."""

    suppression: Suppression = field(default_factory=Suppression)
    scale: float = 1.0
    """Size of its input as a multiple of the size that it was trained at."""
    second: bool = False
    """Whether a second network looks at the boxes (`second_look`)."""

    @property
    def name(self) -> str:
        """For a file."""
        any_label = "-any" if self.suppression.class_agnostic else ""
        return f"iou{self.suppression.iou:g}{any_label}-x{self.scale:g}{'-second' if self.second else ''}"

    def side(self, image_size: int) -> int:
        return image_size if self.scale == 1.0 else rounded_size(self.scale * image_size)


def grid(rules: SuppressionGrid, labels: int, second: bool = False) -> list[Way]:
    """The bundle's default first, then the configured ones; class-agnostic as well if there are several labels; then
    the same at other sizes of the input, and with a second look."""
    each = [Suppression(iou=iou) for iou in rules.iou]
    if labels > 1:
        each += [replace(one, class_agnostic=True) for one in each]
    each = [Suppression(), *(one for one in each if one != Suppression())]
    plain = [Way(one, scale) for scale in (1.0, *(s for s in rules.scale if s != 1.0)) for one in each]
    return plain + ([Way(one, second=True) for one in each] if second else [])


def choose(ways: Sequence[tuple[Way, DetectionOutcome]], limits: Sequence[int]) -> tuple[Way, DetectionOutcome]:
    """The scale, or the second look, that is surely better than the first way, if there is one; of those ways the
    suppression with the best mAP50, unless it gains next to nothing; limited in its number of boxes. With its
    outcome."""
    by_effort: dict[tuple[float, bool], list[tuple[Way, DetectionOutcome]]] = {}
    for way in ways:
        by_effort.setdefault((way[0].scale, way[0].second), []).append(way)
    first, *others = by_effort.values()
    better = [other for other in others if _pays(other[0], first[0][1])]
    ways = max(better, key=lambda other: map50(other[0][1]), default=first)
    best = max(ways, key=lambda way: map50(way[1]))
    how, outcome = best if map50(best[1]) > map50(ways[0][1]) + GAIN else ways[0]
    return _limited(how, outcome, limits)


def _pays(one: tuple[Way, DetectionOutcome], default: DetectionOutcome) -> bool:
    way, outcome = one
    scores, known = (dict(enumerate(image_scores(each).tolist())) for each in (outcome, default))
    boxed = {i for i, score in known.items() if score == score}
    gains = map50(outcome) > map50(default) + (SECOND_GAIN if way.second else SCALE_GAIN)
    return gains and surely_better({i: scores[i] for i in boxed}, {i: known[i] for i in boxed})


def untested(most: int, limits: Sequence[int]) -> Suppression:
    """Without predictions to choose on: the default, with room for three times the fullest training image."""
    fitting = [limit for limit in sorted(limits) if limit >= 3 * most]
    return Suppression(max_detections=fitting[0] if fitting else max(limits))


def map50(outcome: DetectionOutcome) -> float:
    """0…1; 0 where it is undefined (no box in any image)."""
    from tenshot.automl.evaluation.detection_metrics import detection_metrics

    return detection_metrics(outcome).get("map50", 0.0)


def _limited(way: Way, outcome: DetectionOutcome, limits: Sequence[int]) -> tuple[Way, DetectionOutcome]:
    """The smallest number of boxes per image that costs no mAP50 and leaves room above the fullest training image."""
    whole, most = map50(outcome), max(len(boxes) for boxes in outcome.truth)
    for limit in sorted(limits):
        shorter = replace(outcome, predictions=tuple(_first(boxes, limit) for boxes in outcome.predictions))
        if limit >= 2 * most and map50(shorter) >= whole - LOSS:
            return replace(way, suppression=replace(way.suppression, max_detections=limit)), shorter
    return way, outcome


def _first(boxes: Boxes, count: int) -> Boxes:
    return Boxes(boxes.xyxy[:count], boxes.label[:count], boxes.score[:count], boxes.raw[:count])
