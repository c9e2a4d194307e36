"""Hand-computed tables, scikit-learn as the other side, and the edges."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, log_loss, roc_auc_score

from tenshot.automl.evaluation import metrics
from tenshot.automl.evaluation.outcomes import ClassificationOutcome


def binary(truth, scores):
    """Second label's truth and score → an exclusive outcome of two labels."""
    truth, scores = np.array(truth, bool), np.array(scores, float)
    both = np.stack([1 - scores, scores], axis=1)
    ids = tuple(map(str, range(len(truth))))
    return ClassificationOutcome(("no", "yes"), ids, np.stack([~truth, truth], axis=1), np.log(both + 1e-9), both, True)


TRUTH, SCORES = [1, 1, 1, 0, 0], [0.9, 0.8, 0.3, 0.6, 0.1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("accuracy", 3 / 5, id="two of five wrong"),
        # yes: tp 2, fp 1, fn 1 → 2/3; no: tp 1, fp 1, fn 1 → 1/2
        pytest.param("macro_f1", (2 / 3 + 1 / 2) / 2, id="mean of 2/3 and 1/2"),
        pytest.param("precision", (2 / 3 + 1 / 2) / 2, id="precision"),
        pytest.param("recall", (2 / 3 + 1 / 2) / 2, id="recall"),
        pytest.param("auc", 5 / 6, id="five of six pairs in order"),
        pytest.param("brier", (0.01 + 0.04 + 0.49 + 0.36 + 0.01) / 5, id="brier of either label"),
        pytest.param("nll", -np.log([0.9, 0.8, 0.3, 0.4, 0.9]).mean(), id="nll"),
        # best scores .9 .8 .7 .6 .9: bins 9 (2 right of 2), 8 (right), 7 (wrong), 6 (wrong)
        pytest.param("ece", (2 * 0.1 + 0.2 + 0.7 + 0.6) / 5, id="ece"),
    ],
)
def test_hand_computed(name, expected):
    assert metrics.classification_metrics(binary(TRUTH, SCORES))[name] == pytest.approx(expected)


def test_confusion_rows_are_the_truth():
    assert metrics.confusion_matrix(binary(TRUTH, SCORES)).tolist() == [[1, 1], [1, 2]]


def test_threshold_moves_f1_but_not_accuracy():
    found = metrics.classification_metrics(binary(TRUTH, SCORES), {"yes": 0.2, "no": 0.95})
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["macro_f1"] == pytest.approx((6 / 7 + 0) / 2)  # yes: 3 right, 1 false; no: never said


@pytest.mark.parametrize("seed", range(8))
def test_scikit_learn_agrees(seed, make_classified):
    outcome = make_classified(seed, 60, ("a", "b", "c", "d"), exclusive=False, signal=2.0)
    scores = np.round(outcome.scores, 1) if seed % 2 else outcome.scores  # every other one with ties
    outcome = ClassificationOutcome(outcome.labels, outcome.images, outcome.truth, outcome.raw, scores, False)
    found = metrics.classification_metrics(outcome)
    assert found["auc"] == pytest.approx(roc_auc_score(outcome.truth, scores, average="macro"))
    assert found["map"] == pytest.approx(average_precision_score(outcome.truth, scores, average="macro"))
    assert found["macro_f1"] == pytest.approx(f1_score(outcome.truth, scores >= 0.5, average="macro"))
    assert found["exact_match"] == pytest.approx((outcome.truth == (scores >= 0.5)).all(axis=1).mean())
    assert found["brier"] == pytest.approx(brier_score_loss(outcome.truth.ravel(), scores.ravel()))


def test_scikit_learn_agrees_on_exclusive_labels(make_classified):
    outcome = make_classified(3, 80, ("a", "b", "c"))
    found = metrics.classification_metrics(outcome)
    truth = outcome.truth.argmax(axis=1)
    assert found["nll"] == pytest.approx(log_loss(truth, outcome.scores))
    assert found["auc"] == pytest.approx(roc_auc_score(outcome.truth, outcome.scores, average="macro"))


def test_weights_count_images_as_if_repeated(make_classified):
    outcome = make_classified(5, 12, ("a", "b", "c"))
    times = np.array([0, 2, 1, 1, 3, 0, 1, 2, 1, 1, 0, 1])
    rows = np.repeat(np.arange(12), times)
    repeated = ClassificationOutcome(
        outcome.labels, tuple(map(str, rows)), outcome.truth[rows], outcome.raw[rows], outcome.scores[rows], True
    )
    limits = metrics.limits_of(outcome.labels, None)
    weighted = metrics.metric_samples(outcome, limits, times[None].astype(float))
    plain = metrics.metric_samples(repeated, limits, metrics.ones(repeated))
    for name in plain:
        assert weighted[name] == pytest.approx(plain[name], nan_ok=True), name


@pytest.mark.parametrize(
    ("outcome", "missing"),
    [
        pytest.param(binary([1], [0.7]), {"auc"}, id="one image"),
        pytest.param(binary([0, 0], [0.2, 0.1]), {"auc"}, id="no positives"),
        pytest.param(binary([], []), {"accuracy", "auc", "brier", "ece", "macro_f1", "map", "nll"}, id="no images"),
        pytest.param(
            ClassificationOutcome(("a",), ("1",), np.zeros((1, 1), bool), np.zeros((1, 1)), np.zeros((1, 1)), False),
            {"auc", "macro_f1", "map", "precision", "recall"},
            id="multilabel, nothing there, nothing said",
        ),
    ],
)
def test_undefined_is_left_out(outcome, missing):
    found = metrics.classification_metrics(outcome)
    assert not missing & set(found)
    assert all(np.isfinite(value) for value in found.values())


def test_reliability_bins_count_every_score():
    bins = metrics.reliability(np.array([0.05, 0.95, 0.91, 1.0]), np.array([0.0, 1.0, 0.0, 1.0]))
    assert [(b["low"], b["count"]) for b in bins] == [(0.0, 1), (0.9, 3)]
    assert bins[1]["correct"] == pytest.approx(2 / 3)
