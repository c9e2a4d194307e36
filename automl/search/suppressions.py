"""Choosing a detector's non-maximum suppression on out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tenshot.automl.bundle import Suppression
from tenshot.automl.evaluation.outcomes import Boxes, DetectionOutcome

GAIN = 0.005
"""mAP50 by which another way must beat the bundle's default to replace it."""
LOSS = 0.002
"""mAP50 that a limit on the number of boxes may cost."""


def grid(ious: Sequence[float], labels: int) -> list[Suppression]:
    """The bundle's default first, then the configured ones; class-agnostic as well if there are several labels."""
    ways = [Suppression(iou=iou) for iou in ious]
    if labels > 1:
        ways += [replace(way, class_agnostic=True) for way in ways]
    return [Suppression(), *(way for way in ways if way != Suppression())]


def choose(
    ways: Sequence[tuple[Suppression, DetectionOutcome]], limits: Sequence[int]
) -> tuple[Suppression, DetectionOutcome]:
    """The way with the best mAP50 (the first unless another gains clearly), limited, and its outcome."""
    first, best = ways[0], max(ways, key=lambda way: map50(way[1]))
    how, outcome = best if map50(best[1]) > map50(first[1]) + GAIN else first
    return _limited(how, outcome, limits)


def untested(most: int, limits: Sequence[int]) -> Suppression:
    """Without predictions to choose on: the default, with room for three times the fullest training image."""
    fitting = [limit for limit in sorted(limits) if limit >= 3 * most]
    return Suppression(max_detections=fitting[0] if fitting else max(limits))


def map50(outcome: DetectionOutcome) -> float:
    """0…1; 0 where it is undefined (no box in any image)."""
    from tenshot.automl.evaluation.detection_metrics import detection_metrics

    return detection_metrics(outcome).get("map50", 0.0)


def _limited(
    how: Suppression, outcome: DetectionOutcome, limits: Sequence[int]
) -> tuple[Suppression, DetectionOutcome]:
    """The smallest number of boxes per image that costs no mAP50 and leaves room above the fullest training image."""
    whole, most = map50(outcome), max(len(boxes) for boxes in outcome.truth)
    for limit in sorted(limits):
        shorter = replace(outcome, predictions=tuple(_first(boxes, limit) for boxes in outcome.predictions))
        if limit >= 2 * most and map50(shorter) >= whole - LOSS:
            return replace(how, max_detections=limit), shorter
    return how, outcome


def _first(boxes: Boxes, count: int) -> Boxes:
    return Boxes(boxes.xyxy[:count], boxes.label[:count], boxes.score[:count], boxes.raw[:count])
