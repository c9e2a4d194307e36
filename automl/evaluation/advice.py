"""What would help most, read off the evaluation: sentences for people, most useful first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tenshot.automl.evaluation.evaluate import Evaluation
from tenshot.projects.status import Task

FEW_TRAINING_IMAGES = 10
WEAK = 0.7
MOST = 9
_PAIR_SHARE = 0.2


def confused_pairs(evaluation: Evaluation, most: int = 10) -> list[tuple[str, str, int, float]]:
    """truth, said, images, share of the truth's images; most images first."""
    if evaluation.confusion is None:
        return []
    names = [row["label"] for row in evaluation.labels]
    pairs = [
        (names[i], names[j], count, count / sum(row))
        for i, row in enumerate(evaluation.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:most]


def advise(
    evaluation: Evaluation, train_counts: Mapping[str, int], *, tested: bool, about_data: Sequence[str] = ()
) -> list[str]:
    """At most nine sentences. `train_counts`: training images (detection: boxes) per label. `about_data`: what the
    review of the data says; wrong labels come before all that more images would help."""
    return [
        *about_data,
        *_few_images(evaluation, train_counts),
        *_confusion(evaluation),
        *_boxes(evaluation),
        *_weak(evaluation),
        *_measure(evaluation, tested),
    ][:MOST]


def _few_images(evaluation: Evaluation, train_counts: Mapping[str, int]) -> list[str]:
    few = sorted((n, label) for label, n in train_counts.items() if n < FEW_TRAINING_IMAGES)
    thing = "boxes" if evaluation.task is Task.DETECTION else "images"
    if not few:
        return []
    named = _listed([f"{label} ({n})" for n, label in few])
    return [f"Add training {thing} of {named}: a label with fewer than {FEW_TRAINING_IMAGES} rests on very little."]


def _confusion(evaluation: Evaluation) -> list[str]:
    return [
        f"{count} {_plural(count, 'image')} of {truth} ({share:.0%}) {_plural(count, 'was', 'were')} taken for {said}: "
        "check the labels, then add images of both that show the difference."
        for truth, said, count, share in confused_pairs(evaluation, 2)
        if share >= _PAIR_SHARE or count >= 5
    ]


def _boxes(evaluation: Evaluation) -> list[str]:
    kinds = evaluation.errors
    if not any(kinds.values()):
        return []
    kind = max(kinds, key=lambda k: kinds[k])
    advice = {
        "missed": "are missed: add images with such objects, or lower the threshold if false boxes cost little",
        "background": "are on nothing: add images without objects that look similar",
        "position": "are in the right place but fit badly: check that all boxes were drawn the same way",
        "label": "are on an object of another label: check the labels, add images of both",
        "duplicate": "are second boxes on an object already found: check that no object was boxed twice or in parts",
    }[kind]
    return [f"The most frequent error: {kinds[kind]} {_plural(kinds[kind], 'box', 'boxes')} {advice}."]


def _weak(evaluation: Evaluation) -> list[str]:
    weak = [row for row in evaluation.labels if row.get("f1", 1.0) < WEAK]
    weak.sort(key=lambda row: float(row["f1"]))
    if not weak:
        return []
    low = weak[0]
    side = _weaker_side(low)
    named = _listed([f"{row['label']} ({row['f1']:.2f})" for row in weak])
    return [f"The lowest F1: {named}. {side}"]


def _weaker_side(row: Mapping[str, Any]) -> str:
    precision, recall = row.get("precision", 0.0), row.get("recall", 0.0)
    if recall < precision:
        return f"Of {row['label']} too little is found: vary its training images (light, distance, background)."
    return f"{row['label']} is said too often: add images that look like it and are not."


def _measure(evaluation: Evaluation, tested: bool) -> list[str]:
    name = evaluation.primary
    low, high = evaluation.intervals.get(name, (0.0, 0.0))
    sentences = []
    if not tested:
        sentences.append("Set aside labeled test images: then the numbers no longer come from the images trained on.")
    if high - low > 0.1:
        # The width of an interval shrinks with the root of the number of images.
        needed = math.ceil(evaluation.images * ((high - low) / 0.1) ** 2 / 10) * 10
        sentences.append(f"To know {label_of(name)} to ±0.05, measure it on about {needed} images.")
    return sentences


LABELS = {
    "accuracy": "accuracy",
    "exact_match": "exact match",
    "macro_f1": "mean F1",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "auc": "AUC",
    "map": "mean average precision",
    "map50": "mAP50",
    "map50_95": "mAP50–95",
    "recall_100": "recall of 100 boxes",
    "brier": "Brier score",
    "nll": "negative log-likelihood",
    "ece": "calibration error (ECE)",
}


def label_of(metric: str) -> str:
    """The name of a metric as people write it."""
    return LABELS.get(metric, metric)


def _listed(items: Sequence[str], most: int = 6) -> str:
    rest = len(items) - most
    return ", ".join(items[:most]) + (f" and {rest} more" if rest > 0 else "")


def _plural(count: int, one: str, many: str = "") -> str:
    return one if count == 1 else many or one + "s"
