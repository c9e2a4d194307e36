from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tenshot.automl.evaluation import calibration, scaling
from tenshot.automl.evaluation.outcomes import Boxes, ClassificationOutcome, DetectionOutcome
from tenshot.automl.scores import Calibration

KINDS = {"classification": "softmax", "multilabel": "sigmoid", "detection": "platt"}


def outcomes(make_classified, make_detected, seed, images):
    labels = ("a", "b", "c")
    sharp = (0.3, 1.0, 4.0)[seed % 3]
    return {
        "classification": make_classified(seed, images, labels, sharpness=sharp),
        "multilabel": make_classified(seed, images, labels, exclusive=False, sharpness=sharp),
        "detection": make_detected(seed, images, 3),
    }


@pytest.mark.parametrize("images", [1, 10, 60])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("task", KINDS)
def test_never_worse_than_identity_on_its_own_data(task, seed, images, make_classified, make_detected):
    outcome = outcomes(make_classified, make_detected, seed, images)[task]
    fitted = calibration.fit(outcome)
    assert fitted.kind == KINDS[task]
    identity = calibration.quality(calibration.apply_to(outcome, Calibration(fitted.kind)))
    after = calibration.quality(calibration.apply_to(outcome, fitted))
    assert after.get("nll", 0.0) <= identity.get("nll", 0.0) + 1e-9


@pytest.mark.parametrize("task", KINDS)
def test_the_order_of_scores_stays(task, make_classified, make_detected):
    outcome = outcomes(make_classified, make_detected, 2, 40)[task]
    after = calibration.apply_to(outcome, calibration.fit(outcome))
    if task == "detection":
        for boxes in after.predictions:
            assert (np.diff(boxes.score) <= 1e-12).all()
    else:
        assert (after.scores.argmax(axis=1) == outcome.raw.argmax(axis=1)).all()


def test_finds_the_temperature_that_was_hidden(make_classified):
    """Labels drawn from softmax(logits): logits three times as large need a temperature of three."""
    random = np.random.default_rng(0)
    raw = random.normal(0, 2, (4000, 3))
    chance = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    drawn = (random.random((4000, 1)) > np.cumsum(chance, axis=1)).sum(axis=1)
    truth = np.eye(3, dtype=bool)[np.minimum(drawn, 2)]
    ids = tuple(map(str, range(4000)))
    fitted = calibration.fit(ClassificationOutcome(("a", "b", "c"), ids, truth, raw * 3, chance, True))
    assert fitted.temperature == pytest.approx(3.0, rel=0.06)


def test_finds_the_line_that_was_hidden():
    random = np.random.default_rng(0)
    raw = random.normal(0, 3, (6000, 1))
    truth = random.random((6000, 1)) < 1 / (1 + np.exp(-(0.5 * raw + 1)))
    outcome = ClassificationOutcome(("a",), tuple(map(str, range(6000))), truth, raw, np.zeros((6000, 1)), False)
    fitted = calibration.fit(outcome)
    assert (fitted.slope, fitted.intercept) == pytest.approx((0.5, 1.0), abs=0.1)


def test_ten_perfect_images_do_not_make_it_sure_of_everything(make_classified):
    outcome = make_classified(0, 10, ("a", "b"))
    perfect = replace(outcome, raw=np.where(outcome.truth, 1.0, -1.0))
    assert calibration.fit(perfect).temperature > 0.2


def test_reversed_scores_keep_a_positive_slope(make_classified):
    outcome = make_classified(0, 200, ("a", "b"), exclusive=False)
    assert calibration.fit(replace(outcome, raw=-outcome.raw)).slope >= scaling.LEAST_SLOPE


def test_nothing_to_fit_on_is_the_identity():
    nothing = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    assert calibration.fit(DetectionOutcome(("a",), ("1",), (nothing,), (nothing,))) == Calibration("platt")
