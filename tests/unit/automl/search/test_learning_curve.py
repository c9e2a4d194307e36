"""Scores on parts of the images: rising with them, of every size asked for, within the time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tenshot.automl.features import Picture
from tenshot.automl.search.folds import fold_count, folds
from tenshot.automl.search.frozen import Learning
from tenshot.automl.search.learning_curve import DRAWS, curve_of, measure


class Heads:
    """A regression on given rows, with the one method of `Frozen` that a curve needs."""

    def __init__(self, x: np.ndarray, data: Learning) -> None:
        self.x, self.data, self.trained_on = x, data, []

    def out_of_fold(self, params: dict[str, Any], parts: Any) -> np.ndarray:
        logits = np.zeros(self.data.truth.shape)
        for train, held in parts:
            self.trained_on.append(train)
            for c in range(logits.shape[1]):
                y = self.data.truth[train, c]
                if y.any() and not y.all():
                    logits[held, c] = LogisticRegression().fit(self.x[train], y).decision_function(self.x[held])
        return logits


def problem(per_label: int, exclusive: bool = True) -> Heads:
    random = np.random.default_rng(0)
    truth = np.eye(3, dtype=bool)[np.arange(3 * per_label) % 3]
    if not exclusive:
        truth = truth | (random.random(truth.shape) < 0.2)
    x = np.hstack([truth * 1.2, np.zeros((len(truth), 17))]) + random.normal(0, 1, (len(truth), 20))
    pictures = [Picture(str(i), lambda: np.zeros((1, 1, 3), np.uint8)) for i in range(len(truth))]
    return Heads(x, Learning(pictures, truth, ("a", "b", "c"), exclusive, list(range(len(truth)))))


def own(heads: Heads) -> Any:
    strata, groups = np.array(heads.data.strata), np.array(heads.data.groups)
    return folds(heads.data.strata, heads.data.groups, count=fold_count(strata, groups), seed=0)


@pytest.mark.parametrize("exclusive", [True, False], ids=["one label", "several"])
def test_more_images_score_better(exclusive):
    heads = problem(40, exclusive)
    points = measure(heads, {}, own(heads), seed=0, seconds=60.0)  # type: ignore[arg-type]
    sizes, scores, spreads = zip(*points, strict=True)
    assert list(sizes) == sorted(sizes)
    assert len(sizes) == 4
    assert scores[-1] > scores[0]
    assert all(spread > 0 for spread in spreads)


def test_every_fold_keeps_as_many_of_each_label_and_holds_out_the_rest():
    heads = problem(8)
    made = own(heads)
    measure(heads, {}, made, seed=0, seconds=60.0)  # type: ignore[arg-type]
    assert len(heads.trained_on) == DRAWS * 4 * len(made)
    for number, train in enumerate(heads.trained_on):
        assert len(set(heads.data.truth[train].sum(axis=0).tolist())) == 1
        assert not set(train.tolist()) & set(made[number % len(made)][1].tolist())


def test_only_what_is_held_out_is_scored():
    heads = problem(8)
    made = own(heads)[:2]
    points = measure(heads, {}, made, seed=0, seconds=60.0)  # type: ignore[arg-type]
    held = sum(len(rows) for _, rows in made)
    assert all(score * held * DRAWS + 1e-6 >= 0 for _, score, _ in points)
    assert points[-1][1] * held * DRAWS == pytest.approx(round(points[-1][1] * held * DRAWS))


@pytest.mark.parametrize(
    ("per_label", "seconds"), [pytest.param(2, 60.0, id="few images"), pytest.param(8, -1.0, id="no time")]
)
def test_nothing_is_said_where_it_cannot_be_known(per_label, seconds):
    heads = problem(per_label)
    assert measure(heads, {}, own(heads), seed=0, seconds=seconds) == []  # type: ignore[arg-type]
    assert curve_of(SimpleNamespace(data=problem(2).data), {}, [], seed=0, left_s=10.0) is None  # type: ignore[arg-type]


def test_curve():
    heads = problem(10)
    found = curve_of(heads, {}, own(heads), seed=0, left_s=2000.0)  # type: ignore[arg-type]
    assert found is not None
    assert (found.metric, found.now) == ("accuracy", 10.0)
    assert found.points[-1][0] == pytest.approx(8.0)
