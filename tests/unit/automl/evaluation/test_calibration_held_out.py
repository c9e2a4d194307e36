"""Calibration is judged on images that it was not fitted on: it must not harm, and it must mend what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from tenshot.automl.evaluation import calibration, detection_metrics
from tenshot.automl.evaluation.outcomes import Boxes, ClassificationOutcome, DetectionOutcome
from tenshot.automl.scores import Calibration, logit, sigmoid, softmax

LABELS = tuple("abcd")
PER_IMAGE = 8
FAULTS = {
    "none": lambda z: z,
    "overconfident": lambda z: 3 * z,
    "underconfident": lambda z: z / 3,
    "one label favoured": lambda z: z + np.linspace(-2, 2, z.shape[-1]),
    "bent": lambda z: 3 * np.tanh(z) + 0.3 * z,
}
DRAWS = {20: 40, 100: 20, 500: 8, 5000: 2}


def drawn(seed: int, count: int, kind: str, fault: str):
    """Truth drawn from the right probabilities, and logits that are those or wrong in a known way."""
    random = np.random.default_rng(seed)
    if kind == "platt":
        return _boxes(random, count, fault)
    logits = random.normal(0 if kind == "softmax" else -1, 2, (count, len(LABELS)))
    if kind == "softmax":
        best = (random.random((count, 1)) > np.cumsum(softmax(logits), axis=1)).sum(axis=1)
        truth = np.eye(len(LABELS), dtype=bool)[np.minimum(best, len(LABELS) - 1)]
    else:
        truth = random.random(logits.shape) < sigmoid(logits)
    raw, ids = FAULTS[fault](logits), tuple(map(str, range(count)))
    return ClassificationOutcome(LABELS, ids, truth, raw, Calibration(kind).apply(raw), kind == "softmax")


def _boxes(random: np.random.Generator, count: int, fault: str) -> DetectionOutcome:
    """Eight boxes an image, side by side; one that is right has a truth exactly under it."""
    logits = random.normal(-1.5, 2, (-(-count // PER_IMAGE), PER_IMAGE))
    hits = random.random(logits.shape) < sigmoid(logits)
    left = np.arange(PER_IMAGE) / PER_IMAGE
    xyxy = np.stack([left, left * 0, left + 0.1, left * 0 + 0.1], axis=1)
    truth, found = [], []
    for hit, raw in zip(hits, np.clip(sigmoid(FAULTS[fault](logits)), 0.0101, 0.9999), strict=True):
        order, ones = np.argsort(-raw, kind="stable"), np.ones(int(hit.sum()))
        truth.append(Boxes(xyxy[hit], np.zeros(len(ones), np.int64), ones, ones))
        found.append(Boxes(xyxy[order], np.zeros(PER_IMAGE, np.int64), raw[order], raw[order]))
    return DetectionOutcome(("a",), tuple(map(str, range(len(hits)))), tuple(truth), tuple(found))


def pairs(outcome) -> tuple[np.ndarray, np.ndarray]:
    """Raw scores and what came true; boxes are matched once, since calibration keeps their order."""
    if isinstance(outcome, ClassificationOutcome):
        return outcome.raw, outcome.truth
    raw, hit, _ = detection_metrics.confidences(detection_metrics.match(outcome))
    return raw, hit


def brier(raw: np.ndarray, truth: np.ndarray, fitted: Calibration) -> float:
    squares = (fitted.apply(raw) - truth) ** 2
    return float(squares.mean() * (len(LABELS) / 2 if fitted.kind == "softmax" else 1))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "platt"])
def test_held_out_brier_score_gets_no_worse_and_better_where_something_is_wrong(kind, fault):
    if kind == "platt" and fault == "one label favoured":
        pytest.skip("boxes share one curve")
    fresh = pairs(drawn(10_000, 6000, kind, fault))
    before = brier(*fresh, Calibration(kind))
    gains = {
        count: [before - brier(*fresh, calibration.fit(drawn(seed, count, kind, fault))) for seed in range(draws)]
        for count, draws in DRAWS.items()
    }
    every = np.concatenate(list(gains.values()))
    assert np.mean(every >= -0.001) >= 0.95, gains
    assert min(min(gains[count]) for count in (500, 5000)) >= -0.001
    if fault != "none":
        # neither a temperature nor a line per label straightens a bent curve: that takes isotonic's 1,000 images
        straight = (kind, fault) != ("softmax", "bent")
        assert np.mean(gains[20]) >= (0 if straight else -0.001), gains
        assert np.mean(gains[500]) > (0.004 if straight else 0.001), gains
        assert np.mean(gains[5000]) >= np.mean(gains[500]) - 0.001


@pytest.mark.parametrize(
    ("kind", "count", "fault", "method"),
    [
        pytest.param("softmax", 100, "overconfident", "temperature", id="few images: a temperature"),
        pytest.param("softmax", 100, "none", "none", id="right already: left alone"),
        pytest.param(
            "softmax", 500, "one label favoured", "temperature, then a slope and an intercept per label", id="vector"
        ),
        pytest.param("sigmoid", 100, "overconfident", "Platt", id="multilabel, few: one line"),
        pytest.param("sigmoid", 3000, "bent", "Platt, then isotonic", id="multilabel, many: curves"),
        pytest.param("platt", 160, "overconfident", "Platt", id="few boxes: one line"),
        pytest.param("platt", 8000, "bent", "Platt, then isotonic", id="many boxes: a curve"),
    ],
)
def test_as_rich_as_the_samples_allow_and_ask_for(kind, count, fault, method):
    assert calibration.fit(drawn(1, count, kind, fault)).method == method


def test_boxes_keep_their_order_and_so_their_average_precision():
    outcome = drawn(1, 8000, "platt", "bent")
    fitted = calibration.fit(outcome)
    assert fitted.knots
    raw = np.sort(np.random.default_rng(0).random(5000))
    assert (np.diff(fitted.apply(raw)) > 0).all()
    before, after = (detection_metrics.detection_metrics(o) for o in (outcome, calibration.apply_to(outcome, fitted)))
    assert after["map50"] == before["map50"]
    assert after["map50_95"] == before["map50_95"]


def test_the_seed_decides_nothing_else():
    outcome = drawn(3, 300, "softmax", "overconfident")
    assert calibration.fit(outcome) == calibration.fit(outcome)


def test_one_image_of_boxes_proves_nothing():
    outcome = drawn(3, 8, "platt", "overconfident")
    assert calibration.fit(outcome) == Calibration("platt")


def test_simplest_is_the_first_step_unasked():
    outcome = drawn(3, 5000, "softmax", "bent")
    found = calibration.simplest(outcome)
    assert found.method == "temperature"
    assert found.temperature > 1


def test_an_isotonic_calibration_never_says_never():
    fitted = calibration.fit(drawn(1, 8000, "platt", "bent"))
    low, high = fitted.apply(np.array([0.0, 1.0]))
    assert 1 / 20_000 < low < 0.01
    assert 0.99 < high < 1 - 1 / 20_000
    assert logit(np.array([high]))[0] == pytest.approx(fitted.knots[0][-1][1])
