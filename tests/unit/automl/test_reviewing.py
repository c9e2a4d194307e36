"""What a training gathers about its data."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tenshot.automl.bundle import Input
from tenshot.automl.evaluation.outcomes import Boxes, ClassificationOutcome, DetectionOutcome
from tenshot.automl.scores import softmax
from tenshot.automl.training import reviewing
from tenshot.automl.training.trained import LearningCurve
from tenshot.datasets.annotations import Box, Entry

CURVE = LearningCurve([(2.0, 0.6, 0.03), (4.0, 0.7, 0.03), (8.0, 0.8, 0.03)], 10.0, "accuracy")


def trained(**changes: Any) -> Any:
    usual = {"input": Input(64, 64, "stretch"), "params": {"kind": "frozen"}, "learning_curve": CURVE, "oof": 1}
    return SimpleNamespace(**(usual | changes))


def classified() -> ClassificationOutcome:
    truth = np.eye(2, dtype=bool)[np.arange(200) % 2]
    raw = np.where(truth, 8.0, 0.0) + np.random.default_rng(0).normal(0, 1, truth.shape)
    truth[:6] = ~truth[:6]
    return ClassificationOutcome(("a", "b"), tuple(map(str, range(200))), truth, raw, softmax(raw), True)


def test_classifier() -> None:
    found = reviewing.review(None, trained(), classified(), [], [])  # type: ignore[arg-type]
    assert {s.image for s in found.label_errors} == set("012345")
    assert found.growth is not None
    assert (found.growth.now, found.growth.own, found.growth_note) == (10.0, True, "")
    assert (found.small_boxes, found.leaks, list(found.unlabeled)) == (None, None, [])


def test_a_fine_tuned_network_borrows_the_curve_and_says_so() -> None:
    found = reviewing.review(None, trained(params={"kind": "finetune"}), classified(), [], [])  # type: ignore[arg-type]
    assert found.growth is not None
    assert not found.growth.own


def test_detector() -> None:
    one = Boxes(np.array([[0.1, 0.1, 0.2, 0.2]]), np.zeros(1, np.int64), np.ones(1), np.ones(1))
    oof = DetectionOutcome(("a",), ("x",), (one,), (one,))
    entries = [Entry("x", "x.jpg", 640, 480, "train", (), (Box("a", 0.1, 0.1, 0.1, 0.1),))]
    found = reviewing.review(None, trained(learning_curve=None), oof, entries, [])  # type: ignore[arg-type]
    assert found.small_boxes is not None
    assert (found.small_boxes.count, found.small_boxes.of) == (1, 1)
    assert "a detector has no learning curve" in found.growth_note


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        pytest.param({"learning_curve": None, "oof": None}, "nothing was held out", id="nothing held out"),
        pytest.param({"learning_curve": None}, "too few images", id="no curve"),
    ],
)
def test_why_there_is_no_forecast(changes: dict[str, Any], note: str) -> None:
    found = reviewing.review(None, trained(**changes), None, [], [])  # type: ignore[arg-type]
    assert found.growth is None
    assert note in found.growth_note
    assert list(found.label_errors) == []
