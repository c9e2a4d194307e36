"""Comparing recipes image by image, and choosing how a detector is asked."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tenshot.automl.bundle import Suppression
from tenshot.automl.evaluation.outcomes import Boxes, DetectionOutcome
from tenshot.automl.search import suppressions
from tenshot.automl.search.detection_choice import image_scores, surely_better
from tenshot.automl.search.detection_space import SuppressionGrid
from tenshot.automl.search.suppressions import Way

LABELS = ("bolt", "nut")
HERE, THERE = (0.1, 0.1, 0.3, 0.3), (0.6, 0.6, 0.9, 0.9)


def boxes(*rows: tuple[tuple[float, ...], int, float]) -> Boxes:
    """(corners, label, score)"""
    xyxy = np.array([corners for corners, _, _ in rows], np.float64).reshape(-1, 4)
    score = np.array([score for _, _, score in rows], np.float64)
    return Boxes(xyxy, np.array([label for _, label, _ in rows], np.int64), score, score)


def outcome(*images: tuple[Boxes, Boxes]) -> DetectionOutcome:
    names = tuple(str(i) for i in range(len(images)))
    return DetectionOutcome(LABELS, names, tuple(t for t, _ in images), tuple(p for _, p in images))


TRUTH = boxes((HERE, 0, 1.0), (THERE, 1, 1.0))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(boxes((HERE, 0, 0.9), (THERE, 1, 0.8)), 1.0, id="all"),
        pytest.param(boxes((HERE, 0, 0.9)), 0.5, id="half"),
        pytest.param(boxes((HERE, 1, 0.9), (THERE, 0, 0.8)), 0.0, id="labels-swapped"),
        pytest.param(boxes((HERE, 1, 0.9), (HERE, 0, 0.8), (THERE, 1, 0.7)), 2 / 3, id="a-wrong-label-first"),
        pytest.param(boxes(), 0.0, id="nothing"),
    ],
)
def test_an_image_is_scored_by_itself(found: Boxes, expected: float) -> None:
    assert image_scores(outcome((TRUTH, found)))[0] == pytest.approx(expected, abs=0.02)


def test_an_image_without_a_box_has_no_score() -> None:
    assert math.isnan(image_scores(outcome((boxes(), boxes((HERE, 0, 0.9)))))[0])


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        pytest.param([0.2, 0.1, 0.3, 0.2], True, id="everywhere"),
        pytest.param([0.9, -0.3, -0.3, -0.2, 0.0], False, id="one-lucky-image"),
        pytest.param([0.0, 0.0, 0.0, 0.0], False, id="equal"),
        pytest.param([0.5, 0.5, 0.5], False, id="too-few-images"),
    ],
)
def test_better_means_more_than_one_standard_error(differences: list[float], expected: bool) -> None:
    default = dict.fromkeys(range(len(differences)), 0.4)
    challenger = {i: 0.4 + gain for i, gain in enumerate(differences)} | {99: 0.0}
    assert surely_better(challenger, default) is expected


def test_every_suppression_is_asked_at_every_scale() -> None:
    ways = suppressions.grid(SuppressionGrid(iou=(0.45, 0.6), max_detections=(100,), scale=(0.75, 1.0)), labels=2)
    assert ways[0] == Way()
    assert len(ways) == len({way.name for way in ways}) == 8
    assert [way.side(416) for way in ways] == [416] * 4 + [320] * 4
    alone = suppressions.grid(SuppressionGrid(iou=(0.45,), max_detections=(100,)), labels=1)
    assert [way.suppression.iou for way in alone] == [Suppression().iou, 0.45]


GOOD, POOR = boxes((HERE, 0, 0.9), (THERE, 1, 0.8)), boxes((HERE, 1, 0.9), (THERE, 1, 0.8))


def answers(good: int, images: int = 8) -> DetectionOutcome:
    return outcome(*((TRUTH, GOOD if i < good else POOR) for i in range(images)))


@pytest.mark.parametrize(
    ("at_one", "at_other", "scale"),
    [
        pytest.param(2, 8, 0.75, id="surely-better"),
        pytest.param(4, 5, 1.0, id="one-image-better"),
        pytest.param(8, 2, 1.0, id="worse"),
    ],
)
def test_another_scale_must_be_surely_better(at_one: int, at_other: int, scale: float) -> None:
    ways = [(Way(), answers(at_one)), (Way(scale=0.75), answers(at_other))]
    way, chosen = suppressions.choose(ways, [100])
    assert way.scale == scale
    assert suppressions.map50(chosen) == suppressions.map50(answers(at_other if scale != 1.0 else at_one))


@pytest.mark.parametrize(
    ("at_one", "again", "expected"),
    [
        pytest.param(2, 8, True, id="surely-better"),
        pytest.param(4, 5, False, id="one-image-better"),
        pytest.param(8, 8, False, id="equal"),
    ],
)
def test_a_second_look_must_pay(at_one: int, again: int, expected: bool) -> None:
    way, _ = suppressions.choose([(Way(), answers(at_one)), (Way(second=True), answers(again))], [100])
    assert way.second is expected


def test_a_second_look_is_asked_for_where_there_is_one() -> None:
    rules = SuppressionGrid(iou=(0.6,), max_detections=(100,), scale=(0.75,))
    ways = suppressions.grid(rules, labels=1, second=True)
    assert [(way.scale, way.second) for way in ways] == [(1.0, False), (0.75, False), (1.0, True)]
    assert len({way.name for way in ways}) == 3


def test_the_suppression_is_chosen_at_the_scale_and_limited() -> None:
    agnostic = Suppression(iou=0.45, class_agnostic=True)
    ways = [(Way(), answers(2)), (Way(agnostic), answers(8)), (Way(scale=0.75), answers(2))]
    way, chosen = suppressions.choose(ways, [3, 20, 100])
    assert way == Way(replace(agnostic, max_detections=20))  # 3 leave no room above the two boxes of an image
    assert len(chosen) == 8
