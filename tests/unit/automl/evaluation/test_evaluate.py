from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tenshot.automl.evaluation import evaluate as ev
from tenshot.automl.evaluation import intervals, thresholds
from tenshot.automl.evaluation.outcomes import Boxes, ClassificationOutcome, DetectionOutcome
from tenshot.projects.errors import EmptyDataError
from tenshot.projects.status import Task

NONE = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))


@pytest.fixture(params=list(Task))
def outcome(request, make_classified, make_detected):
    if request.param is Task.DETECTION:
        return make_detected(4, 40, 3)
    return make_classified(4, 40, ("a", "b", "c"), exclusive=request.param is Task.CLASSIFICATION)


def test_intervals_hold_their_values_and_json_has_no_nan(outcome):
    found = ev.evaluate(outcome, thresholds.choose(outcome))
    assert found.primary in found.intervals
    for name, (low, high) in found.intervals.items():
        assert low <= found.metrics[name] <= high, name
    assert set(found.intervals) == set(found.metrics) - ev.NO_INTERVAL
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["images"] == 40
    assert [row["label"] for row in document["labels"]] == list(outcome.labels)
    assert found.metrics == ev.values(outcome, thresholds.choose(outcome))


def test_the_seed_decides(outcome):
    first, again, other = (ev.evaluate(outcome, seed=s).intervals for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_accuracy_has_wilsons_interval(make_classified):
    outcome = make_classified(0, 10, ("a", "b"), signal=20.0)
    found = ev.evaluate(outcome)
    assert found.metrics["accuracy"] == 1.0
    assert found.intervals["accuracy"] == intervals.wilson(10, 10)
    assert found.methods["accuracy"] == intervals.WILSON
    assert found.confusion is not None
    assert np.trace(found.confusion) == 10
    assert found.intervals["auc"][0] < 0.75  # all right on ten images proves little


def test_few_images_are_unproven(make_detected):
    assert "map50" in ev.evaluate(make_detected(1, 6, 2)).unproven


@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param(
            ClassificationOutcome(
                ("a", "b"), ("1",), np.eye(2, dtype=bool)[:1], np.zeros((1, 2)), np.full((1, 2), 0.5), True
            ),
            id="one image",
        ),
        pytest.param(
            ClassificationOutcome(
                ("a",), ("1", "2"), np.zeros((2, 1), bool), np.zeros((2, 1)), np.zeros((2, 1)), False
            ),
            id="no positives",
        ),
        pytest.param(DetectionOutcome(("a",), ("1",), (NONE,), (NONE,)), id="no box, no prediction"),
    ],
)
def test_edges_evaluate(outcome):
    json.dumps(ev.evaluate(outcome).to_json(), allow_nan=False)


def test_five_hundred_labels(make_classified):
    outcome = make_classified(0, 50, tuple(f"label {i}" for i in range(500)))
    found = ev.evaluate(outcome, thresholds.choose(outcome))
    assert len(found.labels) == 500
    assert all("recall" in row or row["images"] == 0 for row in found.labels)


def test_nothing_to_evaluate_on():
    with pytest.raises(EmptyDataError):
        ev.evaluate(DetectionOutcome(("a",), (), (), ()))


def test_compare_is_paired(make_classified):
    a = make_classified(7, 80, ("a", "b"), signal=1.0)
    b = replace(a, scores=np.where(a.truth, 0.9, 0.1))  # always right
    found = ev.compare(a, b)
    assert found["metric"] == "accuracy"
    assert found["better"] == "b"
    assert found["difference"] == pytest.approx(1 - found["a"])
    assert found["interval"][0] <= found["difference"] <= found["interval"][1]
    turned = ev.compare(b, a)
    assert turned["better"] == "a"
    assert turned["difference"] == pytest.approx(-found["difference"])


def test_compare_takes_the_images_in_common_in_any_order(make_classified):
    a = make_classified(3, 30, ("a", "b"), signal=1.0)
    rows = np.random.default_rng(0).permutation(30)[:20]
    b = ClassificationOutcome(
        a.labels, tuple(a.images[i] for i in rows), a.truth[rows], a.raw[rows], a.scores[rows], a.exclusive
    )
    found = ev.compare(a, b)
    assert (found["images"], found["difference"], found["better"]) == (20, 0.0, None)
    assert found["interval"][0] < 0 < found["interval"][1]  # the same answers on 20 images do not prove equality


def test_compare_without_common_images(make_classified):
    a = make_classified(3, 5, ("a", "b"))
    with pytest.raises(EmptyDataError, match="no image in common"):
        ev.compare(a, replace(a, images=("v", "w", "x", "y", "z")))


def test_importing_it_takes_numpy_alone():
    code = (
        "import sys, tenshot.automl.evaluation.evaluate, tenshot.automl.evaluation.calibration;"
        "print([m for m in ('scipy', 'matplotlib', 'jinja2', 'torch', 'sklearn', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
