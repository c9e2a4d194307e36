"""Whether one recipe is better than another, as far as a few images can tell."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tenshot.automl.evaluation.outcomes import Boxes, DetectionOutcome, Floats

MARGIN = 0.01
"""mAP50 by which a recipe must beat the default to replace it, besides being surely better."""
LEAST_IMAGES = 4


def image_scores(outcome: DetectionOutcome) -> Floats:
    """[N] average precision at IoU 0.5 of every image by itself, 0…1: a box with the wrong label is a wrong box. NaN
    for images without a box."""
    from tenshot.automl.evaluation.detection_metrics import detection_metrics

    def score(truth: Boxes, found: Boxes) -> float:
        if not len(truth):
            return float("nan")
        one = DetectionOutcome(("any",), ("",), (_unlabeled(truth),), (_unlabeled(found),))
        return detection_metrics(one).get("map50", 0.0)

    return np.array([score(*pair) for pair in zip(outcome.truth, outcome.predictions, strict=True)], np.float64)


def _unlabeled(boxes: Boxes) -> Boxes:
    """One label for all; boxes of different labels are moved apart, so that they never match."""
    shift = 2.0 * boxes.label.astype(np.float64)[:, None]
    return Boxes(boxes.xyxy + shift, np.zeros_like(boxes.label), boxes.score, boxes.raw)


def surely_better(challenger: Mapping[int, float], default: Mapping[int, float]) -> bool:
    """Whether the mean difference over the images that both scored is more than one standard error above zero."""
    both = sorted(challenger.keys() & default.keys())
    differences = np.array([challenger[i] - default[i] for i in both], np.float64)
    if len(both) < LEAST_IMAGES:
        return False
    return bool(differences.mean() > differences.std(ddof=1) / np.sqrt(len(both)))
