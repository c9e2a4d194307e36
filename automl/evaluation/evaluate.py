"""From an outcome to everything that is said about it: metrics, intervals, per-label rows, curves. Numpy only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tenshot.automl.evaluation import detection_metrics, intervals, metrics, thresholds
from tenshot.automl.evaluation.intervals import Interval
from tenshot.automl.evaluation.metrics import Counts
from tenshot.automl.evaluation.outcomes import ClassificationOutcome, DetectionOutcome, Floats, Ints, Outcome
from tenshot.projects.errors import EmptyDataError
from tenshot.projects.status import Task

PRIMARY: dict[Task, str] = {Task.CLASSIFICATION: "accuracy", Task.MULTILABEL: "macro_f1", Task.DETECTION: "map50"}
NO_INTERVAL = frozenset({"ece"})
"""The calibration error of a resample is larger than that of the sample (noise adds to it): a percentile interval
would lie above the value itself."""
UNBOUNDED = frozenset({"nll"})
LOSSES = frozenset({"nll", "brier"})
"""Never called unproven: the 0.30 is meant for shares, of which one wants to know whether they are high."""
OVER_LABELS = ("macro_f1", "precision", "recall", "map")
"""Of classifiers: means over the labels."""
MOST_POINTS = 101

Samples = dict[str, Floats]
"""Metric → [B], or `label:metric` → [B, C]."""


@dataclass(frozen=True)
class Evaluation:
    task: Task
    images: int
    metrics: dict[str, float]
    """What is defined, by name; see `metrics.classification_metrics` and `detection_metrics.detection_metrics`."""
    intervals: dict[str, Interval]
    """95 %."""
    methods: dict[str, str]
    """How each interval was made."""
    labels: list[dict[str, Any]]
    """A row per label: `label`, `images`, `boxes` (detection), `threshold`, and what is defined of `precision`,
    `recall`, `f1`, `ap`, `ap50` (detection), each with its `…_interval`."""
    confusion: list[list[int]] | None
    """[C][C] images, row: truth, column: best-scored label; None unless there is one label an image."""
    curves: dict[str, Any]
    """`pr`: {label: {recall, precision, threshold}}, `reliability`: list of bins."""
    unproven: list[str]
    """Metrics (not losses) whose interval is wider than 0.30."""
    errors: dict[str, int] = field(default_factory=dict)
    """Detection: how many boxes are wrong in which way."""

    @property
    def primary(self) -> str:
        return PRIMARY[self.task]

    def to_json(self) -> dict[str, Any]:
        document = asdict(self)
        document["task"] = self.task.value
        document["intervals"] = {name: list(pair) for name, pair in self.intervals.items()}
        document["labels"] = [
            {k: list(v) if isinstance(v, tuple) else v for k, v in row.items()} for row in self.labels
        ]
        return document


def task_of(outcome: Outcome) -> Task:
    if isinstance(outcome, DetectionOutcome):
        return Task.DETECTION
    return Task.CLASSIFICATION if outcome.exclusive else Task.MULTILABEL


def values(outcome: Outcome, limits: Mapping[str, float] | None = None) -> dict[str, float]:
    """The metrics alone, without intervals: cheap enough for every trial of a search."""
    if isinstance(outcome, DetectionOutcome):
        return detection_metrics.detection_metrics(outcome, limits)
    return metrics.classification_metrics(outcome, limits)


def evaluate(outcome: Outcome, limits: Mapping[str, float] | None = None, *, seed: int = 0) -> Evaluation:
    """Measure an outcome at the thresholds `limits` (label → 0…1; 0.5 where missing). Raises EmptyDataError."""
    if not len(outcome):
        raise EmptyDataError("there is no labeled image to evaluate on", hint="import a test split first")
    sample = _sampler(outcome, metrics.limits_of(outcome.labels, limits))
    point = sample(np.ones((1, len(outcome))))
    drawn = _bootstrap(sample, len(outcome), seed, _cost(outcome))
    found = {name: float(v[0]) for name, v in point.items() if ":" not in name and np.isfinite(v[0])}
    pairs = {name: pair for name, v in found.items() if (pair := _interval(outcome, name, v, drawn[name]))}
    return Evaluation(
        task=task_of(outcome),
        images=len(outcome),
        metrics=found,
        intervals={name: pair[0] for name, pair in pairs.items()},
        methods={name: pair[1] for name, pair in pairs.items()},
        labels=_rows(outcome, metrics.limits_of(outcome.labels, limits), point, drawn),
        confusion=_confusion(outcome),
        curves={"pr": _curves(outcome), "reliability": reliability(outcome)},
        unproven=[n for n, pair in pairs.items() if n not in LOSSES and intervals.is_unproven(pair[0])],
        errors=detection_metrics.error_kinds(outcome, limits) if isinstance(outcome, DetectionOutcome) else {},
    )


def compare(
    a: Outcome,
    b: Outcome,
    *,
    limits_a: Mapping[str, float] | None = None,
    limits_b: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Difference of the primary metric, b − a, on the images that both outcomes hold, resampled in pairs.

    `{"metric", "images", "a", "b", "difference", "interval", "better"}`; `better` is "a", "b" or None where the
    interval holds 0. Raises EmptyDataError if no image is in both or the metric is undefined there.
    """
    name = PRIMARY[task_of(a)]
    shared = sorted(set(a.images) & set(b.images))
    if task_of(a) is not task_of(b) or not shared:
        raise EmptyDataError("the two outcomes have no image in common", hint="evaluate both on the same images")
    one, two = _only(a, shared), _only(b, shared)
    samplers = [
        _sampler(one, metrics.limits_of(one.labels, limits_a)),
        _sampler(two, metrics.limits_of(two.labels, limits_b)),
    ]
    points = [float(sample(np.ones((1, len(shared))))[name][0]) for sample in samplers]
    if not np.isfinite(points).all():
        raise EmptyDataError(f"{name} is undefined on the {len(shared)} common images", hint="label more images")
    cost = _cost(one) + _cost(two)
    drawn = [_bootstrap(sample, len(shared), seed, cost)[name] for sample in samplers]  # one seed: the same resamples
    pair = _difference_interval(points[1] - points[0], drawn[1] - drawn[0], len(shared))
    better = "b" if pair[0] > 0 else "a" if pair[1] < 0 else None
    return {
        "metric": name,
        "images": len(shared),
        "a": points[0],
        "b": points[1],
        "difference": points[1] - points[0],
        "interval": list(pair),
        "better": better,
    }


def _difference_interval(difference: float, samples: Floats, images: int) -> Interval:
    """Where no resample differs from another, the two may still differ on as many images as Wilson allows of none."""
    pair = intervals.percentile(samples, images) or (-1.0, 1.0)
    if pair[1] - pair[0] > 1e-9:
        return pair
    slack = intervals.wilson(0, images)[1]
    return max(-1.0, difference - slack), min(1.0, difference + slack)


def _sampler(outcome: Outcome, limits: Floats) -> Callable[[Floats], Samples]:
    """weights [B, N] → every metric's B values, of the whole and (`label:…`) of each label."""
    if isinstance(outcome, DetectionOutcome):
        matches = detection_metrics.match(outcome)

        def detection(weights: Floats) -> Samples:
            ap = np.stack([detection_metrics.average_precisions(m, weights) for m in matches], axis=-1)
            per_label = {"label:ap50": ap[:, 0], "label:ap": metrics.nanmean(ap.transpose(0, 2, 1))}
            counted = _count_samples(detection_metrics.count(matches, limits, weights))
            return detection_metrics.metric_samples(matches, limits, weights, ap) | per_label | counted

        return detection

    def classification(weights: Floats) -> Samples:
        ap = metrics.average_precisions(outcome, weights)
        per_label = {"label:ap": ap} | _count_samples(metrics.count(outcome, limits, weights))
        return metrics.metric_samples(outcome, limits, weights, ap) | per_label

    return classification


def _count_samples(counts: Counts) -> Samples:
    return {"label:precision": counts.precision, "label:recall": counts.recall, "label:f1": counts.f1}


def _bootstrap(sample: Callable[[Floats], Samples], images: int, seed: int, cost: float) -> Samples:
    parts = [sample(weights) for weights in intervals.resamples(images, seed=seed, cost_per_resample=cost)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _cost(outcome: Outcome) -> float:
    """Elementary operations of one resample, roughly."""
    if isinstance(outcome, DetectionOutcome):
        return 10.0 * len(outcome) * sum(len(truth) for truth in outcome.truth)
    return 25.0 * len(outcome) * len(outcome.labels)


def _interval(outcome: Outcome, name: str, value: float, samples: Floats) -> tuple[Interval, str] | None:
    if name in NO_INTERVAL:
        return None
    if name in UNBOUNDED:
        exclusive = isinstance(outcome, ClassificationOutcome) and outcome.exclusive
        guess = math.log(max(2, len(outcome.labels))) if exclusive else math.log(2)
        return intervals.unbounded(value, samples, len(outcome), guess)
    whole = isinstance(outcome, ClassificationOutcome) and (
        name == "exact_match" or (name == "accuracy" and outcome.exclusive)
    )
    if whole:
        return intervals.wilson(value * len(outcome), len(outcome)), intervals.WILSON
    return intervals.bounded(value, samples, _support(outcome, name))


def _support(outcome: Outcome, name: str) -> int:
    """How many images a metric really rests on. An AUC: on those of the rarer kind, added up over the labels; a mean
    over labels: on as many as would be needed if all labels had the same number, which is fewer where one is rare."""
    if not isinstance(outcome, ClassificationOutcome) or name not in (*OVER_LABELS, "auc") or not outcome.labels:
        return len(outcome)
    positives = outcome.truth.sum(axis=0)
    if name != "auc":
        even = len(positives) ** 2 / float((1 / np.maximum(positives, 1)).sum())
        return int(np.clip(even, 1, len(outcome)))
    rarer = int(np.minimum(positives, len(outcome) - positives).sum())
    both_sides_of_one_question = outcome.exclusive and len(outcome.labels) == 2
    return max(1, min(len(outcome), rarer // 2 if both_sides_of_one_question else rarer))


def _rows(outcome: Outcome, limits: Floats, point: Samples, drawn: Samples) -> list[dict[str, Any]]:
    names = [name for name in ("precision", "recall", "f1", "ap", "ap50") if f"label:{name}" in point]
    images, boxes = _support_of_labels(outcome)
    rows = []
    for c, label in enumerate(outcome.labels):
        row: dict[str, Any] = {"label": label, "images": int(images[c])}
        if boxes is not None:
            row["boxes"] = int(boxes[c])
        row["threshold"] = float(limits[c])
        for name in names:
            value = float(point[f"label:{name}"][0, c])
            if not np.isfinite(value):
                continue
            row[name] = value
            pair = _label_interval(outcome, limits, c, name, value, drawn[f"label:{name}"][:, c], int(images[c]))
            if pair:
                row[f"{name}_interval"] = pair
        rows.append(row)
    return rows


def _label_interval(
    outcome: Outcome, limits: Floats, c: int, name: str, value: float, samples: Floats, images: int
) -> Interval | None:
    """Precision and recall of a classifier are proportions of images; boxes of one image are not independent."""
    if isinstance(outcome, ClassificationOutcome) and name in ("precision", "recall"):
        trials = images if name == "recall" else int((outcome.scores[:, c] >= limits[c]).sum())
        return intervals.wilson(value * trials, trials)
    found = intervals.bounded(value, samples, max(1, images))
    return found and found[0]


def _support_of_labels(outcome: Outcome) -> tuple[Ints, Ints | None]:
    """Images with each label [C], and its boxes [C] for detection."""
    if isinstance(outcome, ClassificationOutcome):
        return outcome.truth.sum(axis=0).astype(np.int64), None
    size = len(outcome.labels)
    each = np.array([np.bincount(t.label, minlength=size) for t in outcome.truth], np.int64)
    return (each > 0).sum(axis=0).astype(np.int64), each.sum(axis=0).astype(np.int64)


def _confusion(outcome: Outcome) -> list[list[int]] | None:
    if isinstance(outcome, ClassificationOutcome) and outcome.exclusive:
        rows: list[list[int]] = metrics.confusion_matrix(outcome).tolist()
        return rows
    return None


def _curves(outcome: Outcome) -> dict[str, dict[str, list[float]]]:
    found = zip(outcome.labels, thresholds.curves(outcome), strict=True)
    return {label: _thinned(*curve) for label, curve in found if len(curve[0])}


def _thinned(recall: Floats, precision: Floats, limit: Floats) -> dict[str, list[float]]:
    keep = np.unique(np.linspace(0, len(recall) - 1, min(MOST_POINTS, len(recall))).round().astype(np.int64))
    columns = {"recall": recall, "precision": precision, "threshold": limit}
    return {name: column[keep].round(5).tolist() for name, column in columns.items()}


def reliability(outcome: Outcome) -> list[dict[str, Any]]:
    """The bins of the outcome's scores; see `metrics.reliability`."""
    if isinstance(outcome, DetectionOutcome):
        confidence, hit, _ = detection_metrics.confidences(detection_metrics.match(outcome))
    else:
        confidence, hit, _ = metrics.confidences(outcome)
    return metrics.reliability(confidence, hit)


def _only(outcome: Outcome, images: list[str]) -> Outcome:
    """The outcome of these images, in this order."""
    where = {image: i for i, image in enumerate(outcome.images)}
    rows = [where[image] for image in images]
    if isinstance(outcome, DetectionOutcome):
        truth, found = (tuple(side[i] for i in rows) for side in (outcome.truth, outcome.predictions))
        return DetectionOutcome(outcome.labels, tuple(images), truth, found)
    truths, raw, scores = outcome.truth[rows], outcome.raw[rows], outcome.scores[rows]
    novelty = None if outcome.novelty is None else outcome.novelty[rows]
    return ClassificationOutcome(outcome.labels, tuple(images), truths, raw, scores, outcome.exclusive, novelty)
