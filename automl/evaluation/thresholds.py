"""The assumed threshold of each label: above it the label is said to be there. Numpy only."""

from __future__ import annotations

import numpy as np

from tenshot.automl.evaluation import detection_metrics, metrics
from tenshot.automl.evaluation.outcomes import ClassificationOutcome, Floats, Outcome

LOWEST, HIGHEST = 0.05, 0.95
FALLBACK = 0.5


def choose(outcome: Outcome, *, min_precision: float = 0.0, min_recall: float = 0.0) -> dict[str, float]:
    """Label → threshold (0.05…0.95) with the best F1 on the outcome's scores, which should be out of fold.

    A threshold lies halfway between two neighbouring scores, so that neither image is a near miss; of several equally
    good ones the one in the widest gap is taken. A label without a positive gets 0.5. Detection: boxes matched at IoU
    0.5. `min_precision` and `min_recall` (0…1) restrict the choice; where nothing satisfies both, what comes nearest is
    taken. The clipping to 0.05…0.95 comes last.
    """
    return {
        label: _best(*curve, min_precision=min_precision, min_recall=min_recall)
        for label, curve in zip(outcome.labels, curves(outcome), strict=True)
    }


def curves(outcome: Outcome) -> list[tuple[Floats, Floats, Floats]]:
    """recall, precision, threshold of each label (see `metrics.precision_recall`)."""
    if isinstance(outcome, ClassificationOutcome):
        columns = range(len(outcome.labels))
        return [metrics.precision_recall(outcome.truth[:, c], outcome.scores[:, c]) for c in columns]
    return [detection_metrics.precision_recall(matches) for matches in detection_metrics.match(outcome)]


def _best(recall: Floats, precision: Floats, scores: Floats, *, min_precision: float, min_recall: float) -> float:
    if not len(scores):
        return FALLBACK
    below = np.append(scores[1:], 0.0)
    lacking = np.maximum(min_precision - precision, 0.0) + np.maximum(min_recall - recall, 0.0)
    f1 = np.where(
        lacking <= lacking.min() + 1e-12, 2 * recall * precision / np.maximum(recall + precision, 1e-12), -1.0
    )
    equals = np.flatnonzero(f1 >= f1.max() - 1e-12)
    chosen = equals[np.argmax((scores - below)[equals])]
    return float(np.clip((scores[chosen] + below[chosen]) / 2, LOWEST, HIGHEST))
