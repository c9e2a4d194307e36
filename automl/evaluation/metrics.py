"""Metrics of classifiers, one label per image or any number. Numpy only.

Every metric is written for image weights [B, N]: weights of one give its value, B rows of resampling counts give B
bootstrap values at once. Inside, an undefined value is NaN; `classification_metrics` leaves it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tenshot.automl.evaluation.outcomes import Bools, ClassificationOutcome, Floats, Ints

DEFAULT_THRESHOLD = 0.5
BINS = 10
_TINY = 1e-12


@dataclass(frozen=True)
class Counts:
    """Weighted counts of each label, [B, C] each."""

    tp: Floats
    fp: Floats
    fn: Floats

    @property
    def precision(self) -> Floats:
        """NaN where nothing was predicted."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> Floats:
        """NaN where nothing was there."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> Floats:
        """0 where something was there or predicted and nothing was right; NaN where neither."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


def classification_metrics(
    outcome: ClassificationOutcome, thresholds: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Every defined metric by name, each a plain float.

    `accuracy` (best-scored label is right; multilabel: share of right yes/no decisions), `exact_match` (multilabel),
    `macro_f1`, `precision`, `recall` (means over the labels for which they are defined, at `thresholds`), `auc`,
    `map` (mean average precision over labels), `brier`, `nll`, `ece`. All 0…1 but `nll`, in nats.
    """
    values = metric_samples(outcome, limits_of(outcome.labels, thresholds), ones(outcome))
    return {name: float(value[0]) for name, value in values.items() if np.isfinite(value[0])}


def metric_samples(
    outcome: ClassificationOutcome, limits: Floats, weights: Floats, precisions: Floats | None = None
) -> dict[str, Floats]:
    """Metric name → [B] values, one per row of `weights` [B, N]; NaN where undefined.

    `precisions` is what `average_precisions` gave for the same weights, if somebody has it already.
    """
    counts = count(outcome, limits, weights)
    values = {
        "accuracy": accuracy(outcome, limits, weights),
        "macro_f1": nanmean(counts.f1),
        "precision": nanmean(counts.precision),
        "recall": nanmean(counts.recall),
        "auc": mean_auc(outcome, weights),
        "map": nanmean(average_precisions(outcome, weights) if precisions is None else precisions),
        "brier": brier(outcome, weights),
        "nll": nll(outcome, weights),
        "ece": ece(*confidences(outcome), weights),
    }
    if not outcome.exclusive:
        values["exact_match"] = mean(exact(outcome, limits), weights)
    return values


def ones(outcome: ClassificationOutcome) -> Floats:
    return np.ones((1, len(outcome)))


def limits_of(labels: tuple[str, ...], thresholds: Mapping[str, float] | None) -> Floats:
    """[C] threshold of each label, 0.5 where none is given."""
    return np.array([(thresholds or {}).get(name, DEFAULT_THRESHOLD) for name in labels], np.float64)


def count(outcome: ClassificationOutcome, limits: Floats, weights: Floats) -> Counts:
    """One against the rest: a label is predicted where its score reaches its threshold."""
    said = outcome.scores >= limits
    truth = outcome.truth
    return Counts(*(weights @ cells.astype(np.float64) for cells in (truth & said, ~truth & said, truth & ~said)))


def accuracy(outcome: ClassificationOutcome, limits: Floats, weights: Floats) -> Floats:
    return mean(correct(outcome, limits), weights)


def correct(outcome: ClassificationOutcome, limits: Floats) -> Floats:
    """[N] 1 or 0 (exclusive), or the share of right decisions over the labels (multilabel)."""
    if outcome.exclusive:
        return np.asarray(truth_index(outcome) == predicted_index(outcome), np.float64)
    return (
        np.asarray(((outcome.scores >= limits) == outcome.truth).mean(axis=1))
        if len(outcome.labels)
        else np.ones(len(outcome))
    )


def exact(outcome: ClassificationOutcome, limits: Floats) -> Floats:
    """[N] 1 where every label of the image was decided right."""
    return np.asarray(((outcome.scores >= limits) == outcome.truth).all(axis=1), np.float64)


def truth_index(outcome: ClassificationOutcome) -> Ints:
    """[N] the true label of each image (exclusive outcomes)."""
    return np.asarray(outcome.truth.argmax(axis=1), np.int64)


def predicted_index(outcome: ClassificationOutcome) -> Ints:
    """[N] the best-scored label; the first of equals."""
    return np.asarray(outcome.scores.argmax(axis=1), np.int64)


def confusion_matrix(outcome: ClassificationOutcome) -> Ints:
    """[C, C] images; row: truth, column: best-scored label."""
    size = len(outcome.labels)
    cells = truth_index(outcome) * size + predicted_index(outcome)
    return np.bincount(cells, minlength=size * size).reshape(size, size).astype(np.int64)


def mean_auc(outcome: ClassificationOutcome, weights: Floats) -> Floats:
    """[B] area under the ROC curve: of the second label where there are two exclusive ones, else the mean over labels
    of one against the rest. For two labels whose scores add up to one both labels have the same area."""
    if outcome.exclusive and len(outcome.labels) == 2:
        return auc(outcome.truth[:, 1], outcome.scores[:, 1], weights)
    columns = [auc(outcome.truth[:, c], outcome.scores[:, c], weights) for c in range(len(outcome.labels))]
    return nanmean(np.array(columns).reshape(len(columns), len(weights)).T)


def auc(truth: Bools, scores: Floats, weights: Floats) -> Floats:
    """[B] chance that a positive scores above a negative, ties counting half; NaN without both kinds."""
    order, starts = _groups(scores)
    positive = _per_group(weights, order, starts, truth)
    negative = _per_group(weights, order, starts, ~truth)
    below = negative.sum(axis=1, keepdims=True) - np.cumsum(negative, axis=1)  # groups come best first
    won = (positive * (below + 0.5 * negative)).sum(axis=1)
    return ratio(won, positive.sum(axis=1) * negative.sum(axis=1))


def average_precisions(outcome: ClassificationOutcome, weights: Floats) -> Floats:
    """[B, C]"""
    columns = [
        average_precision(outcome.truth[:, c], outcome.scores[:, c], weights) for c in range(len(outcome.labels))
    ]
    return np.array(columns).reshape(len(columns), len(weights)).T


def average_precision(truth: Bools, scores: Floats, weights: Floats) -> Floats:
    """[B] Σ (Rₖ − Rₖ₋₁)·Pₖ over the distinct scores, best first; NaN without a positive."""
    order, starts = _groups(scores)
    positive = _per_group(weights, order, starts, truth)
    everything = np.cumsum(_per_group(weights, order, starts, np.ones_like(truth)), axis=1)
    precision = np.cumsum(positive, axis=1) / np.maximum(everything, _TINY)
    return ratio((positive * precision).sum(axis=1), positive.sum(axis=1))


def precision_recall(truth: Bools, scores: Floats) -> tuple[Floats, Floats, Floats]:
    """recall, precision, threshold at each distinct score, best first; empty without a positive."""
    order, starts = _groups(scores)
    if not truth.any():
        return np.zeros(0), np.zeros(0), np.zeros(0)
    weights = np.ones((1, len(truth)))
    hits = np.cumsum(_per_group(weights, order, starts, truth)[0])
    everything = np.cumsum(_per_group(weights, order, starts, np.ones_like(truth))[0])
    return hits / hits[-1], hits / everything, scores[order][starts]


def brier(outcome: ClassificationOutcome, weights: Floats) -> Floats:
    """[B] mean squared error of the scores, 0…1. Exclusive: half the sum over labels, which for two labels is the usual
    Brier score of either; multilabel: the mean over labels."""
    errors = (outcome.scores - outcome.truth) ** 2
    return mean(errors.sum(axis=1) / 2 if outcome.exclusive else errors.mean(axis=1), weights)


def nll(outcome: ClassificationOutcome, weights: Floats) -> Floats:
    """[B] mean negative log-likelihood in nats (multilabel: a decision, not an image)."""
    surprise = -np.log(np.clip(np.where(outcome.truth, outcome.scores, 1 - outcome.scores), _TINY, 1.0))
    return mean((surprise * outcome.truth).sum(axis=1) if outcome.exclusive else surprise.mean(axis=1), weights)


def confidences(outcome: ClassificationOutcome) -> tuple[Floats, Floats, Ints]:
    """What reliability is measured on: confidence [K], whether it came true [K], image index [K].

    Exclusive: the best score of each image. Multilabel: every score.
    """
    rows, size = len(outcome), len(outcome.labels)
    if outcome.exclusive:
        return outcome.scores.max(axis=1, initial=0.0), correct(outcome, np.zeros(size)), np.arange(rows)
    return outcome.scores.ravel(), outcome.truth.ravel().astype(np.float64), np.repeat(np.arange(rows), size)


def ece(confidence: Floats, hit: Floats, image: Ints, weights: Floats) -> Floats:
    """[B] expected calibration error over ten equal bins: Σ share of bin · |mean confidence − share right|.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    gap = np.zeros((weights.shape[1], BINS))
    total = np.zeros(weights.shape[1])
    np.add.at(gap, (image, _bin(confidence)), confidence - hit)
    np.add.at(total, image, 1.0)
    return ratio(np.abs(weights @ gap).sum(axis=1), weights @ total)


def reliability(confidence: Floats, hit: Floats) -> list[dict[str, Any]]:
    """The bins that hold something: `low`, `high`, mean `confidence`, share `correct`, `count`."""
    which = _bin(confidence)
    return [
        {
            "low": b / BINS,
            "high": (b + 1) / BINS,
            "confidence": float(confidence[which == b].mean()),
            "correct": float(hit[which == b].mean()),
            "count": int((which == b).sum()),
        }
        for b in np.unique(which).tolist()
    ]


def mean(values: Floats, weights: Floats) -> Floats:
    """[B] weighted mean of `values` [N]; NaN without images."""
    return ratio(weights @ values, weights.sum(axis=1))


def ratio(part: Floats, whole: Floats) -> Floats:
    """part / whole, NaN where whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0))


def nanmean(values: Floats) -> Floats:
    """Mean over the last axis of what is defined; NaN where nothing is."""
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))


def _bin(confidence: Floats) -> Ints:
    return np.clip((confidence * BINS).astype(np.int64), 0, BINS - 1)


def _groups(scores: Floats) -> tuple[Ints, Ints]:
    """Order by score, best first, and where each group of equal scores starts in it."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    return order, np.flatnonzero(np.concatenate([np.ones(min(1, len(ranked)), bool), ranked[1:] != ranked[:-1]]))


def _per_group(weights: Floats, order: Ints, starts: Ints, chosen: Bools) -> Floats:
    """[B, groups] sum of the weights of the chosen images of each group."""
    ranked = weights[:, order] * chosen[order]
    return np.add.reduceat(ranked, starts, axis=1) if len(starts) else np.zeros((len(weights), 0))
