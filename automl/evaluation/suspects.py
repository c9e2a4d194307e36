"""Annotations that are probably wrong: labels that the out-of-fold model contradicts, objects that nobody boxed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tenshot.automl.evaluation import label_noise
from tenshot.automl.evaluation.outcomes import Bools, Boxes, ClassificationOutcome, DetectionOutcome, Floats, Outcome

LIKELY = 0.5
"""Chance of being wrong from which on a label is shown: more likely wrong than not (measured: docs/honesty.md)."""
FEWEST = 3
"""Images of a label below which it is not doubted: the model that did not see one of two has seen one."""
MATCH_IOU = 0.5
CLEARLY_SEEN = 0.05
"""Calibrated score of some label at a box, below which the detector did not see the object at all."""
SCORE_FLOOR = 0.01
SURE_OBJECT = 0.5
APART = 0.3
"""Overlap with every annotation, below which a found box is on something else. Boxes of neighbours overlap a little."""
MOST = 50


@dataclass(frozen=True)
class Suspect:
    kind: str
    """`label`: another one fits better. `missing`: a label that the image should have. `superfluous`: one that it
    should not. `box-label`: another label fits the box better. `unlabeled`: an object without a box."""
    image: str
    given: str
    """The label as annotated; empty for `missing` and `unlabeled`."""
    suggested: str
    """Empty for `superfluous`."""
    sure: float
    """0…1: the chance that the annotation is wrong; for `unlabeled`, that such a box is right where objects are
    annotated."""
    xyxy: tuple[float, float, float, float] | None = None
    """Ratios of the upright image."""

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "image": self.image,
            "given": self.given,
            "suggested": self.suggested,
            "sure": round(self.sure, 3),
            "xyxy": [round(v, 4) for v in self.xyxy] if self.xyxy else None,
        }


def label_errors(outcome: Outcome) -> list[Suspect]:
    """The likely label errors of an out-of-fold outcome, surest first."""
    if isinstance(outcome, DetectionOutcome):
        found = _boxes(outcome)
    elif outcome.exclusive:
        found = _exclusive(outcome)
    else:
        found = _several(outcome)
    return sorted(found, key=lambda suspect: -suspect.sure)


def _exclusive(outcome: ClassificationOutcome) -> list[Suspect]:
    sure, given, best = _contradicted(outcome.raw, outcome.truth)
    return [
        Suspect("label", outcome.images[i], outcome.labels[given[i]], outcome.labels[best[i]], float(sure[i]))
        for i in np.flatnonzero(sure >= LIKELY)
    ]


def _contradicted(raw: Floats, truth: Bools) -> tuple[Floats, Any, Any]:
    """Chance that the label of a row is wrong (0 where it is not to be doubted), the label, and what fits best."""
    chance, q = label_noise.wrong(raw, truth, exclusive=True)
    given, best = truth.argmax(axis=1), q.argmax(axis=1)
    known = truth.sum(axis=0)[given] >= FEWEST
    return chance * (known & (best != given)), given, best


def _several(outcome: ClassificationOutcome) -> list[Suspect]:
    chance, q = label_noise.wrong(outcome.raw, outcome.truth, exclusive=False)
    carriers = outcome.truth.sum(axis=0)
    known = np.where(outcome.truth, carriers, len(outcome) - carriers) >= FEWEST
    doubted = (chance >= LIKELY) & known & ((q > 0.5) != outcome.truth)
    found = []
    for i, c in np.argwhere(doubted).tolist():
        image, label, sure = outcome.images[i], outcome.labels[c], float(chance[i, c])
        wrong = Suspect("superfluous", image, label, "", sure)
        found.append(wrong if outcome.truth[i, c] else Suspect("missing", image, "", label, sure))
    return found


def _boxes(outcome: DetectionOutcome) -> list[Suspect]:
    """Each annotated box that the detector saw is a row whose logits are its scores there, label by label."""
    rows = [(i, k) for i, truth in enumerate(outcome.truth) for k in range(len(truth))]
    if not rows:
        return []
    scores = np.array([_scores_at(outcome, i, k) for i, k in rows])
    seen = scores.max(axis=1) >= CLEARLY_SEEN
    scores, rows = scores[seen], [row for row, keep in zip(rows, seen, strict=True) if keep]
    truth = np.zeros(scores.shape, np.bool_)
    truth[np.arange(len(rows)), [outcome.truth[i].label[k] for i, k in rows]] = True
    sure, given, best = _contradicted(np.log(np.maximum(scores, SCORE_FLOOR)), truth)
    return [
        Suspect(
            "box-label",
            outcome.images[rows[n][0]],
            outcome.labels[given[n]],
            outcome.labels[best[n]],
            float(sure[n]),
            _xyxy(outcome.truth[rows[n][0]], rows[n][1]),
        )
        for n in np.flatnonzero(sure >= LIKELY)
    ]


def _scores_at(outcome: DetectionOutcome, i: int, k: int) -> Floats:
    """[C] the best calibrated score of each label among the predictions on a box."""
    found = outcome.predictions[i]
    scores = np.zeros(len(outcome.labels))
    if len(found):
        on = ious(outcome.truth[i].xyxy[k : k + 1], found.xyxy)[0] >= MATCH_IOU
        np.maximum.at(scores, found.label[on], found.score[on])
    return scores


def unlabeled_objects(outcome: DetectionOutcome) -> list[Suspect]:
    """Sure out-of-fold boxes away from every annotation, surest first.

    Sure: at least 0.5 and at least the mean score of the boxes of that label that were right.
    """
    limits = np.maximum(SURE_OBJECT, _self_confidence(outcome))
    found = [suspect for i in range(len(outcome)) for suspect in _unlabeled(outcome, i, limits)]
    return sorted(found, key=lambda suspect: -suspect.sure)


def _self_confidence(outcome: DetectionOutcome) -> Floats:
    """[C] mean score of each label's right boxes; infinite for a label without any, which proves nothing."""
    from tenshot.automl.evaluation import detection_metrics

    found = detection_metrics.match(outcome)
    return np.array([float(m.score[m.hit[0]].mean()) if m.hit[0].any() else np.inf for m in found])


def _unlabeled(outcome: DetectionOutcome, i: int, limits: Floats) -> list[Suspect]:
    truth, said = outcome.truth[i], outcome.predictions[i]
    kept: list[int] = []
    for k in np.flatnonzero(said.score >= limits[said.label]).tolist():  # best first
        others = np.concatenate([truth.xyxy, said.xyxy[kept]])
        if not _touches(said.xyxy[k], others):
            kept.append(k)
    image = outcome.images[i]
    return [
        Suspect("unlabeled", image, "", outcome.labels[said.label[k]], float(said.score[k]), _xyxy(said, k))
        for k in kept
    ]


def _touches(box: Floats, others: Floats) -> bool:
    """Whether a box overlaps one of the others, lies in it or around it."""
    if not len(others):
        return False
    inside = _intersections(box[None], others)[0]
    smaller = np.minimum(_areas(box[None]), _areas(others))
    return bool((ious(box[None], others)[0] >= APART).any() or (inside >= 0.5 * smaller).any())


def ious(a: Floats, b: Floats) -> Floats:
    """[A, B] overlaps of boxes [A, 4] and [B, 4], left, top, right, bottom."""
    inside = _intersections(a, b)
    return np.asarray(inside / np.maximum(_areas(a)[:, None] + _areas(b)[None] - inside, 1e-12))


def _intersections(a: Floats, b: Floats) -> Floats:
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=2))


def _areas(boxes: Floats) -> Floats:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))


def _xyxy(boxes: Boxes, k: int) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(v) for v in boxes.xyxy[k])
    return left, top, right, bottom
