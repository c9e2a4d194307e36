"""How often 95 % intervals hold the truth, in data sets drawn from a world whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from tenshot.automl.evaluation import evaluate as ev
from tenshot.automl.evaluation import metrics
from tenshot.automl.evaluation.outcomes import Boxes, ClassificationOutcome, DetectionOutcome
from tenshot.automl.scores import sigmoid, softmax

DRAWS = 60
NAMES = ("a", "b", "c")


def classified(random: np.random.Generator, images: int, signal: float, exclusive: bool) -> ClassificationOutcome:
    truth = np.eye(3, dtype=bool)[random.integers(0, 3, images)] if exclusive else random.random((images, 3)) < 0.35
    raw = random.normal(0, 1, (images, 3)) + signal * truth - (0 if exclusive else signal / 2)
    scores = softmax(1.2 * raw) if exclusive else sigmoid(1.5 * raw)
    return ClassificationOutcome(NAMES, tuple(map(str, range(images))), truth, raw, scores, exclusive)


def detected(random: np.random.Generator, images: int, quality: float) -> DetectionOutcome:
    """One to five objects an image; hard images hide several of theirs at once."""
    truth, found = zip(*[_scene(random, quality) for _ in range(images)], strict=True)
    return DetectionOutcome(NAMES[:2], tuple(map(str, range(images))), truth, found)


def _scene(random: np.random.Generator, quality: float) -> tuple[Boxes, Boxes]:
    count, false = int(random.integers(1, 6)), int(random.poisson(3.1 - 3 * quality))
    corner = np.stack([np.arange(count) / 6, np.zeros(count)], axis=1)
    xyxy, label, ones = np.concatenate([corner, corner + 0.12], axis=1), random.integers(0, 2, count), np.ones(count)
    seen = random.random(count) < sigmoid(np.log(quality / (1 - quality)) - 0.7 * random.normal(0, 1, 1))
    elsewhere = random.uniform([0, 0.3], [0.8, 0.8], (false, 2))
    boxes = np.concatenate([xyxy[seen] + random.normal(0, 0.005, (int(seen.sum()), 4)),
                            np.concatenate([elsewhere, elsewhere + 0.1], axis=1)])  # fmt: skip
    score = sigmoid(np.concatenate([random.normal(1.5, 1, int(seen.sum())), random.normal(-1, 1.2, false)]))
    named, best = np.concatenate([label[seen], random.integers(0, 2, false)]), np.argsort(-score, kind="stable")
    return Boxes(xyxy, label, ones, ones), Boxes(boxes[best], named[best], score[best], score[best])


WORLDS = {
    "one label, often wrong": lambda random, n: classified(random, n, 1.0, True),
    "one label, seldom wrong": lambda random, n: classified(random, n, 2.6, True),
    "one label, hardly ever wrong": lambda random, n: classified(random, n, 4.0, True),
    "several labels": lambda random, n: classified(random, n, 1.8, False),
    "boxes": lambda random, n: detected(random, n, 0.9),
}


def truth_of(draw) -> dict[str, np.ndarray]:
    """Every metric on so many images that its interval is a point."""
    many = 1500 if draw is WORLDS["boxes"] else 30_000
    world = draw(np.random.default_rng(99), many)
    return ev._sampler(world, metrics.limits_of(world.labels, None))(np.ones((1, many)))


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_intervals_hold_the_truth(world):
    true = truth_of(WORLDS[world])
    for images in (10, 20, 70):
        inside: dict[str, list[bool]] = {}
        for seed in range(DRAWS if images < 70 else DRAWS // 2):
            found = ev.evaluate(WORLDS[world](np.random.default_rng(seed), images))
            for name, (low, high) in found.intervals.items():
                inside.setdefault(name, []).append(bool(low <= true[name][0] <= high))
        shares = {name: float(np.mean(held)) for name, held in inside.items()}
        assert np.mean(list(shares.values())) >= 0.90, (images, shares)
        # 90 % less two and a half standard errors of so few draws
        assert min(shares.values()) >= 0.80, (images, shares)


@pytest.mark.parametrize("images", [10, 20, 70])
def test_all_right_does_not_prove_perfection(images):
    """Every metric's interval reaches to where Wilson's does, or further; the plain bootstrap's would be a point."""
    outcome = classified(np.random.default_rng(0), images, 30.0, True)
    found = ev.evaluate(outcome)
    unseen = 3.84 / (images + 3.84)
    for name in ("accuracy", "macro_f1", "precision", "recall", "auc", "map"):
        low, high = found.intervals[name]
        assert found.metrics[name] == high == 1.0
        assert low <= 1 - unseen + 0.001, name
    assert found.intervals["brier"][1] >= unseen - 0.001
    assert found.intervals["nll"][1] >= unseen * np.log(3) - 0.001
