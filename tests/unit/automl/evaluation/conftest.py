"""Generated outcomes: seeded, of any size, with ties if asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tenshot.automl.evaluation.outcomes import Boxes, ClassificationOutcome, DetectionOutcome
from tenshot.automl.scores import sigmoid, softmax

NAMES = tuple("abcdefghijklmnop")


def classified(
    seed: int,
    images: int,
    labels: tuple[str, ...],
    *,
    exclusive: bool = True,
    signal: float = 3.0,
    sharpness: float = 1.0,
) -> ClassificationOutcome:
    """Logits that are right more often than not; `sharpness` above 1 makes them overconfident."""
    random = np.random.default_rng(seed)
    size = len(labels)
    truth = np.eye(size, dtype=bool)[random.integers(0, size, images)]
    if not exclusive:
        truth = random.random((images, size)) < 0.3
    raw = sharpness * (random.normal(0, 1.5, (images, size)) + signal * truth - (0 if exclusive else signal / 2))
    ids = tuple(f"{i:064x}" for i in range(images))
    return ClassificationOutcome(labels, ids, truth, raw, softmax(raw) if exclusive else sigmoid(raw), exclusive)


def detected(seed: int, images: int, labels: int, *, ties: bool = False, most: int = 30) -> DetectionOutcome:
    """Boxes near truths and elsewhere; some images have no truth, the last of several labels never occurs."""
    random = np.random.default_rng(seed)
    pairs = [_scene(random, labels, ties, most) for _ in range(images)]
    truth, found = zip(*pairs, strict=True)
    return DetectionOutcome(NAMES[:labels], tuple(f"{i:064x}" for i in range(images)), truth, found)


def _scene(random: np.random.Generator, labels: int, ties: bool, most: int) -> tuple[Boxes, Boxes]:
    count = int(random.integers(0, 8)) if random.random() > 0.2 else 0
    truths = _anywhere(random, count)
    truth_labels = random.integers(0, max(1, labels - 1), count)
    found = int(random.integers(0, most))
    source = random.integers(0, max(1, count), found)
    boxes, names = _anywhere(random, found), random.integers(0, labels, found)
    near = (random.random(found) < 0.7) & (count > 0)
    boxes[near] = truths[source[near]] + random.normal(0, 0.02, (int(near.sum()), 4))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 0.01)
    names[near] = truth_labels[source[near]]
    scores = np.clip(random.beta(2, 4, found) + 0.2 * near, 0.001, 0.999)
    scores = np.round(scores, 1) if ties else scores
    best = np.argsort(-scores, kind="stable")
    ones = np.ones(count)
    return Boxes(truths, truth_labels, ones, ones), Boxes(boxes[best], names[best], scores[best], scores[best])


def _anywhere(random: np.random.Generator, count: int) -> np.ndarray:
    corner = random.uniform(0, 0.7, (count, 2))
    return np.concatenate([corner, corner + random.uniform(0.05, 0.3, (count, 2))], axis=1)


@pytest.fixture(scope="session")
def make_classified() -> Callable[..., ClassificationOutcome]:
    return classified


@pytest.fixture(scope="session")
def make_detected() -> Callable[..., DetectionOutcome]:
    return detected
