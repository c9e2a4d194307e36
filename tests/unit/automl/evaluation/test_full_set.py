"""Intervals of out-of-fold scores reach to what a model of all images may be."""

from __future__ import annotations

import numpy as np
import pytest

from tenshot.automl.evaluation.evaluate import LOSSES, evaluate
from tenshot.automl.evaluation.full_set import reaching
from tenshot.automl.evaluation.outcomes import ClassificationOutcome
from tenshot.automl.scores import softmax


@pytest.fixture
def outcome() -> ClassificationOutcome:
    random = np.random.default_rng(0)
    truth = np.eye(3, dtype=bool)[np.arange(60) % 3]
    raw = 2.0 * truth + random.normal(0, 1.2, truth.shape)
    return ClassificationOutcome(("a", "b", "c"), tuple(map(str, range(60))), truth, raw, softmax(raw), True)


def test_the_better_side_moves_and_nothing_else(outcome: ClassificationOutcome) -> None:
    before = evaluate(outcome)
    after = reaching(before, 0.8)
    assert after.metrics == before.metrics
    for name, (low, high) in before.intervals.items():
        if name in LOSSES:
            assert after.intervals[name][0] < low
            assert after.intervals[name][1] == high
        else:
            assert after.intervals[name][0] == low
            assert high < after.intervals[name][1] <= 1
    for old, new in zip(before.labels, after.labels, strict=True):
        assert new["recall"] == old["recall"]
        assert new["recall_interval"][1] > old["recall_interval"][1]
    assert set(before.unproven) <= set(after.unproven)


@pytest.mark.parametrize(("share", "left"), [(1.0, 1.0), (0.8, 0.784), (0.5, 0.469)])
def test_the_fewer_images_a_fold_left_the_further(outcome: ClassificationOutcome, share: float, left: float) -> None:
    before, after = (
        found.intervals["accuracy"][1] for found in (evaluate(outcome), reaching(evaluate(outcome), share))
    )
    assert (1 - after) / (1 - before) == pytest.approx(left, abs=0.001)
