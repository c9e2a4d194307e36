from __future__ import annotations

import numpy as np
import pytest

from tenshot.automl.evaluation import detection_metrics, metrics, thresholds
from tenshot.automl.evaluation.outcomes import ClassificationOutcome
from tenshot.projects.status import Task


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


@pytest.mark.parametrize(
    ("truth", "scores", "wanted", "message"),
    [
        pytest.param([1, 1, 0, 0], [0.9, 0.7, 0.3, 0.1], {"min_precision": 1.0, "min_recall": 1.0}, None, id="reached"),
        pytest.param([0, 1], [0.9, 0.8], {}, None, id="nothing was asked for"),
        pytest.param(
            [0, 1], [0.9, 0.8], {"min_precision": 0.9},
            "x: no threshold reaches precision 0.90 on the out-of-fold scores; 0.40 comes nearest "
            "(precision 0.50, recall 1.00)",
            id="precision out of reach",
        ),
        pytest.param(
            [1, 0, 0, 0, 0, 1], [0.9, 0.6, 0.5, 0.4, 0.3, 0.2], {"min_precision": 0.9, "min_recall": 0.9},
            "x: no threshold reaches precision 0.90 and recall 0.90 on the out-of-fold scores; 0.75 comes nearest "
            "(precision 1.00, recall 0.50)",
            id="one or the other",
        ),
        pytest.param(
            [1, 1], [0.04, 0.03], {"min_recall": 0.9},
            "x: no threshold reaches recall 0.90 on the out-of-fold scores; 0.05 comes nearest "
            "(never said, recall 0.00)",
            id="reached only below the lowest threshold",
        ),
        pytest.param(
            [0, 0], [0.9, 0.8], {"min_recall": 0.5},
            "x: no threshold reaches recall 0.50 on the out-of-fold scores; 0.50 comes nearest "
            "(no image to choose on)",
            id="a label that never occurs",
        ),
    ],
)  # fmt: skip
def test_what_was_asked_for_and_is_not_reached_is_said(truth, scores, wanted, message):
    outcome = one_label(truth, scores)
    missed = thresholds.shortfalls(outcome, thresholds.choose(outcome, **wanted), **wanted)
    assert thresholds.warnings_of(missed) == ([message] if message else [])


def test_detection_thresholds_reach_what_was_asked_for_or_say_so(make_detected):
    outcome = make_detected(1, 20, 3)
    for least in (0.3, 0.6, 0.95):
        wanted = {"min_precision": least}
        chosen = thresholds.choose(outcome, **wanted)
        missed = {m.label for m in thresholds.shortfalls(outcome, chosen, **wanted)}
        counts = detection_metrics.count(
            detection_metrics.match(outcome), metrics.limits_of(outcome.labels, chosen), np.ones((1, 20))
        )
        reached = {label for label, p in zip(outcome.labels, counts.precision[0], strict=True) if p >= least}
        assert missed == set(outcome.labels) - reached


@pytest.mark.parametrize("option", ["min_precision", "min_recall"])
@pytest.mark.parametrize("seed", range(4))
def test_a_wish_is_met_wherever_any_threshold_meets_it(seed, option, make_classified):
    outcome = make_classified(seed, 60, ("a", "b", "c"), exclusive=False, signal=2.0)
    wished = thresholds.choose(outcome, **{option: 0.9})
    missed = {m.label for m in thresholds.shortfalls(outcome, wished, **{option: 0.9})}
    side = option.removeprefix("min_")
    tried = [metrics.count(outcome, np.full(3, t), metrics.ones(outcome)) for t in np.linspace(0.05, 0.95, 400)]
    best = np.nanmax([getattr(counts, side)[0] for counts in tried], axis=0)
    assert missed == {label for label, value in zip(outcome.labels, best, strict=True) if value < 0.9}


def test_many_labels_are_named_in_the_report_only():
    missed = [thresholds.Shortfall(f"label {i}", 0.5, 0.1, 0.2, 0.9, 0.0) for i in range(8)]
    sentences = thresholds.warnings_of(missed)
    assert len(sentences) == 6
    assert sentences[-1].startswith("3 more labels")


@pytest.mark.parametrize(
    ("labels", "task", "expected"),
    [
        pytest.param(2, Task.CLASSIFICATION, 0.5, id="two labels"),
        pytest.param(10, Task.CLASSIFICATION, 0.2, id="ten labels share one image's probability"),
        pytest.param(500, Task.CLASSIFICATION, 0.05, id="never below the least"),
        pytest.param(10, Task.MULTILABEL, 0.5, id="each label has its own probability"),
        pytest.param(10, Task.DETECTION, 0.5, id="boxes too"),
    ],
)
def test_without_anything_to_choose_on(labels: int, task: Task, expected: float) -> None:
    names = [f"label {k}" for k in range(labels)]
    assert thresholds.unproven(names, task) == dict.fromkeys(names, expected)
