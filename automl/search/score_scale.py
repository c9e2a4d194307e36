"""Bringing out-of-fold scores to the scale of the final detector.

Thresholds and calibration are chosen on the scores of fold detectors, which learned from fewer images and, in a short
budget, for another number of steps than the final one: at equal quality one may say 0.7 where the other says 0.4. How
sure a detector is of the boxes that it was trained on can be measured for both, so the out-of-fold scores are moved by
the difference (of the medians, in logits). Their order, and so every average precision, stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tenshot.automl.evaluation.detection_metrics import iou
from tenshot.automl.evaluation.outcomes import Boxes, DetectionOutcome, Floats
from tenshot.automl.scores import logit, sigmoid

UNSEEN = 1e-3
"""Score of a box that was not found at all."""
MATCH_IOU = 0.5
LARGEST_SHIFT = 4.0
"""Logits; more than this says that one of the two learned nothing, which no shift mends."""


def sureness(truths: Sequence[Boxes], predictions: Sequence[Boxes]) -> float | None:
    """Median logit of the best score that each true box got (IoU 0.5, same label); None without a true box."""
    found = [_best_scores(truth, boxes) for truth, boxes in zip(truths, predictions, strict=True)]
    scores = np.concatenate(found) if found else np.zeros(0)
    return float(np.median(logit(scores))) if len(scores) else None


def shifted(outcome: DetectionOutcome, shift: float) -> DetectionOutcome:
    """The same predictions with `shift` added to the logit of every raw score."""
    moved = float(np.clip(shift, -LARGEST_SHIFT, LARGEST_SHIFT))
    return replace(outcome, predictions=tuple(_moved(boxes, moved) for boxes in outcome.predictions))


def _moved(boxes: Boxes, shift: float) -> Boxes:
    raw = sigmoid(logit(boxes.raw) + shift)
    return Boxes(boxes.xyxy, boxes.label, raw, raw)


def _best_scores(truth: Boxes, found: Boxes) -> Floats:
    if not len(truth):
        return np.zeros(0)
    if not len(found):
        return np.full(len(truth), UNSEEN)
    matches = (iou(truth.xyxy, found.xyxy) >= MATCH_IOU) & (truth.label[:, None] == found.label[None, :])
    return np.asarray(np.maximum(UNSEEN, np.where(matches, found.raw[None, :], 0.0).max(axis=1)))
