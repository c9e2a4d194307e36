from __future__ import annotations

import numpy as np
import pytest

from tenshot.automl.evaluation import metrics, thresholds
from tenshot.automl.evaluation.outcomes import ClassificationOutcome


def one_label(truth, scores):
    truth, scores = np.array(truth, bool)[:, None], np.array(scores, float)[:, None]
    return ClassificationOutcome(("x",), tuple(map(str, range(len(truth)))), truth, scores, scores, False)


@pytest.mark.parametrize(
    ("truth", "scores", "wanted", "expected"),
    [
        pytest.param([1, 1, 0, 0], [0.9, 0.7, 0.3, 0.1], {}, 0.5, id="middle of the gap"),
        pytest.param([1, 0, 1, 0], [0.9, 0.8, 0.6, 0.2], {}, 0.4, id="best F1 takes both positives"),
        pytest.param([1, 0, 1, 0], [0.9, 0.8, 0.6, 0.2], {"min_precision": 0.9}, 0.85, id="precision asked for"),
        pytest.param([1, 0, 0, 0, 0, 1], [0.9, 0.6, 0.5, 0.4, 0.3, 0.2], {}, 0.75, id="one is better than all"),
        pytest.param(
            [1, 0, 0, 0, 0, 1], [0.9, 0.6, 0.5, 0.4, 0.3, 0.2], {"min_recall": 1.0}, 0.1, id="recall asked for"
        ),
        pytest.param([0, 1], [0.9, 0.8], {"min_precision": 1.0}, 0.4, id="out of reach: the nearest"),
        pytest.param([0, 0], [0.9, 0.8], {}, 0.5, id="no positive"),
        pytest.param([1, 1], [0.04, 0.03], {}, 0.05, id="clipped below"),
        pytest.param([1, 0], [0.999, 0.99], {}, 0.95, id="clipped above"),
        pytest.param([1, 1, 0], [0.5, 0.5, 0.5], {}, 0.25, id="ties stay together"),
    ],
)
def test_choose(truth, scores, wanted, expected):
    assert thresholds.choose(one_label(truth, scores), **wanted)["x"] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(10))
def test_no_other_threshold_has_a_better_f1(seed, make_classified):
    outcome = make_classified(seed, 40, ("a", "b", "c"), exclusive=False, signal=2.0)
    chosen = thresholds.choose(outcome)
    best = [metrics.count(outcome, np.full(3, t), metrics.ones(outcome)).f1[0] for t in np.linspace(0.05, 0.95, 400)]
    limits = metrics.limits_of(outcome.labels, chosen)
    assert (metrics.count(outcome, limits, metrics.ones(outcome)).f1[0] >= np.max(best, axis=0) - 1e-9).all()


def test_detection_has_a_threshold_for_every_label(make_detected):
    outcome = make_detected(1, 20, 3)
    chosen = thresholds.choose(outcome)
    assert set(chosen) == set(outcome.labels)
    assert chosen["c"] == thresholds.FALLBACK  # never occurs
    assert all(thresholds.LOWEST <= value <= thresholds.HIGHEST for value in chosen.values())
