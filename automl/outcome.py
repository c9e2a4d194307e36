"""Letting a bundle answer labeled images, for evaluation and for checking an export."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tenshot.automl.evaluation.outcomes import Boxes, ClassificationOutcome, DetectionOutcome, Outcome
from tenshot.automl.predictor import RGB, Network, Predictor, prepare
from tenshot.datasets.annotations import Box
from tenshot.projects.status import Task

if TYPE_CHECKING:
    from tenshot.automl.bundle import Manifest
    from tenshot.automl.novelty import Novelty
    from tenshot.automl.second_look import SecondLook

T = TypeVar("T")
Labeled = tuple[str, RGB, Sequence[str], Sequence[Box]]
"""Image id or name, pixels, image-level labels, boxes."""
BATCH = 8


def observe(predictor: Predictor, images: Iterable[Labeled], check: Callable[[], None] = lambda: None) -> Outcome:
    """Every image through the predictor, a few at a time. Labels that the model does not know are left out of the
    truth: nothing can be said about them."""
    rows = [row for batch in batches(images) for row in _observe_batch(predictor, batch, check)]
    ids = tuple(row[0] for row in rows)
    labels = predictor.manifest.labels
    if predictor.manifest.task is Task.DETECTION:
        return DetectionOutcome(labels, ids, tuple(row[1] for row in rows), tuple(row[2] for row in rows))
    truth = np.stack([row[1] for row in rows]) if rows else np.zeros((0, len(labels)), np.bool_)
    answers = np.stack([row[2] for row in rows]) if rows else predictor.look([])
    raw = predictor.logits(answers).astype(np.float64)
    exclusive, novelty = predictor.manifest.task is Task.CLASSIFICATION, predictor.novelties(answers)
    return ClassificationOutcome(labels, ids, truth, raw, predictor.judge(answers, novelty), exclusive, novelty)


def _observe_batch(predictor: Predictor, batch: list[Labeled], check: Callable[[], None]) -> list[tuple[Any, ...]]:
    check()
    pixels = [image for _, image, _, _ in batch]
    labels = predictor.manifest.labels
    if predictor.manifest.task is Task.DETECTION:
        truths: list[Any] = [boxes_of(boxes, labels) for _, _, _, boxes in batch]
        found: list[Any] = list(predictor.detect(pixels))
    else:
        truths = [np.isin(labels, list(names)) for _, _, names, _ in batch]
        found = list(predictor.look(pixels))
    return list(zip([name for name, *_ in batch], truths, found, strict=True))


def boxes_of(boxes: Sequence[Box], labels: Sequence[str]) -> Boxes:
    """Ground truth as evaluation wants it, without labels that are not in `labels`."""
    known = [box for box in boxes if box.label in labels]
    xyxy = np.array([box.xyxy for box in known], np.float64).reshape(-1, 4)
    ones = np.ones(len(known))
    return Boxes(xyxy, np.array([labels.index(box.label) for box in known], np.int64), ones, ones)


def parity(
    manifest: Manifest, served: Network, trained: Network, images: Sequence[RGB], novelty: Novelty | None = None
) -> float:
    """Largest absolute difference between the two networks' scores (0…1) on the same images; NaN if one says NaN."""
    worst, reader = 0.0, Predictor(manifest, served, novelty)
    for batch in batches(images):
        inputs = np.stack([prepare(image, manifest.input) for image in batch])
        one, two = served(inputs), trained(inputs)
        if manifest.task is Task.DETECTION:
            one, two = one[:, 4:], two[:, 4:]
        else:
            one, two = (reader.judge(rows, reader.novelties(rows)) for rows in (one, two))  # type: ignore[assignment]
        worst = float(np.maximum(worst, np.abs(one - two).max()))
    return worst


def parity_of_second(served: SecondLook, learned: SecondLook, images: Sequence[RGB]) -> float:
    """Largest absolute difference between the shares that the two give the same images, as if each were a box."""
    worst = 0.0
    for batch in batches(images):
        inputs = np.stack([prepare(image, served.input) for image in batch])
        worst = float(np.maximum(worst, np.abs(served.network(inputs) - learned.network(inputs)).max()))
    return worst


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
