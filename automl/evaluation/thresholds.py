"""The assumed threshold of each label: above it the label is said to be there. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tenshot.automl.evaluation import detection_metrics, metrics
from tenshot.automl.evaluation.outcomes import ClassificationOutcome, Floats, Outcome
from tenshot.projects.status import Task

LOWEST, HIGHEST = 0.05, 0.95
FALLBACK = 0.5
MOST_NAMED = 5
"""Labels that warnings name one by one."""


@dataclass(frozen=True)
class Shortfall:
    """A label whose threshold does not reach what was asked for, since no threshold of 0.05…0.95 does."""

    label: str
    threshold: float
    precision: float | None
    """Reached, 0…1; None where the label is never said."""
    recall: float | None
    """Reached, 0…1; None where the label never occurs."""
    min_precision: float
    min_recall: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def wanted(self) -> str:
        sides = {"precision": self.min_precision, "recall": self.min_recall}
        return " and ".join(f"{name} {least:.2f}" for name, least in sides.items() if least)

    @property
    def reached(self) -> str:
        if self.recall is None:
            return "no image to choose on"
        said = "never said" if self.precision is None else f"precision {self.precision:.2f}"
        return f"{said}, recall {self.recall:.2f}"


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


def shortfalls(
    outcome: Outcome, chosen: Mapping[str, float], *, min_precision: float = 0.0, min_recall: float = 0.0
) -> list[Shortfall]:
    """The labels that miss `min_precision` or `min_recall` at their `chosen` threshold on the outcome's scores."""
    limits, once = metrics.limits_of(outcome.labels, chosen), np.ones((1, len(outcome)))
    if isinstance(outcome, ClassificationOutcome):
        counts = metrics.count(outcome, limits, once)
    else:
        counts = detection_metrics.count(detection_metrics.match(outcome), limits, once)
    found = zip(outcome.labels, limits.tolist(), _known(counts.precision[0]), _known(counts.recall[0]), strict=True)
    return [
        Shortfall(label, limit, precision, recall, min_precision, min_recall)
        for label, limit, precision, recall in found
        if _misses(precision, min_precision) or _misses(recall, min_recall)
    ]


def warnings_of(missed: Sequence[Shortfall]) -> list[str]:
    """A sentence per label, and one for all those beyond the fifth."""
    sentences = [
        f"{m.label}: no threshold reaches {m.wanted} on the out-of-fold scores; {m.threshold:.2f} comes nearest "
        f"({m.reached})"
        for m in missed[:MOST_NAMED]
    ]
    rest = len(missed) - MOST_NAMED
    return [*sentences, *([f"{rest} more labels do not reach it either; the report names them"] if rest > 0 else [])]


def _known(values: Floats) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _misses(value: float | None, least: float) -> bool:
    return least > 0 and (value is None or value < least - 1e-9)


def unproven(labels: Sequence[str], task: Task) -> dict[str, float]:
    """Where there are no out-of-fold scores to choose on: 0.5, or twice the chance level where many labels share the
    probability of one image and the best of them seldom gets half of it."""
    share = 2 / max(1, len(labels)) if task is Task.CLASSIFICATION else 1.0
    return dict.fromkeys(labels, max(LOWEST, min(FALLBACK, share)))


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
