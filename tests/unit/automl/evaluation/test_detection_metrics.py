"""The same numbers as pycocotools, and what pycocotools does not give."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tenshot.automl.evaluation import detection_metrics as dm
from tenshot.automl.evaluation.outcomes import Boxes, DetectionOutcome


def coco(outcome):
    """pycocotools' evaluation of the same boxes."""

    def rows(sides):
        number = 0
        for image, boxes in enumerate(sides):
            for (left, top, right, bottom), label, score in zip(boxes.xyxy, boxes.label, boxes.score, strict=True):
                number += 1
                yield {
                    "id": number,
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": [left, top, right - left, bottom - top],
                    "area": 1.0,
                    "iscrowd": 0,
                    "score": float(score),
                }

    def dataset(sides):
        made = COCO()
        images = [{"id": i} for i in range(len(outcome))]
        names = [{"id": i, "name": name} for i, name in enumerate(outcome.labels)]
        made.dataset = {"images": images, "annotations": list(rows(sides)), "categories": names}
        made.createIndex()
        return made

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(dataset(outcome.truth), dataset(outcome.predictions), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("ties", [pytest.param(False, id="distinct scores"), pytest.param(True, id="ties")])
@pytest.mark.parametrize("most", [pytest.param(30, id="few"), pytest.param(700, id="more than 100 an image and label")])
@pytest.mark.parametrize("seed", range(5))
def test_pycocotools_agrees(seed, most, ties, make_detected):
    outcome = make_detected(seed, 20, 4, ties=ties, most=most)
    theirs, ours = coco(outcome), dm.detection_metrics(outcome)
    assert ours["map50_95"] == pytest.approx(theirs.stats[0], abs=1e-6)
    assert ours["map50"] == pytest.approx(theirs.stats[1], abs=1e-6)
    assert ours["recall_100"] == pytest.approx(theirs.stats[8], abs=1e-6)
    for label, matches in enumerate(dm.match(outcome)):
        each = theirs.eval["precision"][:, :, label, 0, 2].mean(axis=1)  # [T]; −1: the label never occurs
        mine = dm.average_precisions(matches, np.ones((1, len(outcome))))[0]
        assert np.nan_to_num(mine, nan=-1.0) == pytest.approx(each, abs=1e-6)


def test_weights_count_images_as_if_repeated(make_detected):
    outcome = make_detected(9, 10, 3)
    times = np.array([0, 2, 1, 3, 0, 1, 1, 2, 0, 1])
    rows = np.repeat(np.arange(10), times)
    repeated = DetectionOutcome(
        outcome.labels,
        tuple(map(str, rows)),
        tuple(outcome.truth[i] for i in rows),
        tuple(outcome.predictions[i] for i in rows),
    )
    limits = np.full(3, 0.5)
    weighted = dm.metric_samples(dm.match(outcome), limits, times[None].astype(float))
    plain = dm.metric_samples(dm.match(repeated), limits, np.ones((1, len(rows))))
    for name in ("precision", "recall", "f1", "brier", "nll", "ece", "recall_100"):
        assert weighted[name] == pytest.approx(plain[name]), name
    # Equal boxes of a repeated image follow each other; together or one by one differs by less than a recall step.
    assert weighted["map50"] == pytest.approx(plain["map50"], abs=0.02)


def test_large_sets_take_the_same_value(make_detected, monkeypatch):
    outcome = make_detected(2, 15, 3)
    weights = np.random.default_rng(0).multinomial(15, np.full(15, 1 / 15), size=20).astype(float)
    dense = [dm.average_precisions(m, weights) for m in dm.match(outcome)]
    monkeypatch.setattr(dm, "_DENSE_CELLS", 0)
    for left, right in zip(dense, [dm.average_precisions(m, weights) for m in dm.match(outcome)], strict=True):
        np.testing.assert_allclose(left, right)


def boxes(*rows):
    """(left, top, right, bottom, label, score)"""
    table = np.array(rows, float).reshape(-1, 6)
    return Boxes(table[:, :4], table[:, 4].astype(np.int64), table[:, 5], table[:, 5])


def scene(truth, found):
    return DetectionOutcome(("a", "b"), ("1",), (truth,), (found,))


ONE = (0.0, 0.0, 0.5, 0.5, 0, 1.0)


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        pytest.param(boxes(ONE), boxes(ONE), {"map50": 1.0, "f1": 1.0}, id="perfect"),
        pytest.param(boxes(ONE), boxes(), {"map50": 0.0, "recall": 0.0, "f1": 0.0}, id="nothing said"),
        pytest.param(boxes(), boxes(ONE), {"precision": 0.0, "f1": 0.0, "brier": 1.0}, id="nothing there"),
        pytest.param(boxes(), boxes(), {}, id="nothing at all"),
        # 0.4/0.5 of the width: IoU 0.8, right at seven of the ten IoUs
        pytest.param(boxes(ONE), boxes((0, 0, 0.4, 0.5, 0, 0.9)), {"map50": 1.0, "map50_95": 0.7}, id="IoU 0.8"),
        pytest.param(boxes(ONE), boxes((*ONE[:4], 0, 0.9), (*ONE[:4], 0, 0.8)), {"precision": 0.5}, id="duplicate"),
    ],
)
def test_hand_computed(truth, found, expected):
    got = dm.detection_metrics(scene(truth, found))
    assert {name: got[name] for name in expected} == pytest.approx(expected)
    assert all(np.isfinite(value) for value in got.values())
    if not len(truth):
        assert "map50" not in got


def test_interpolated_precision_by_hand():
    """Right, wrong, right of two boxes: precision 1 up to recall 0.5, then 2/3."""
    two = boxes((0, 0, 0.2, 0.2, 0, 1), (0.5, 0.5, 0.9, 0.9, 0, 1))
    found = boxes((0, 0, 0.2, 0.2, 0, 0.9), (0.2, 0.2, 0.4, 0.4, 0, 0.8), (0.5, 0.5, 0.9, 0.9, 0, 0.7))
    assert dm.detection_metrics(scene(two, found))["map50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        pytest.param(boxes((*ONE[:4], 1, 0.9)), "label", id="other label"),
        pytest.param(boxes((0.3, 0, 0.8, 0.5, 0, 0.9)), "position", id="beside"),
        pytest.param(boxes((0.6, 0.6, 0.9, 0.9, 0, 0.9)), "background", id="nothing there"),
        pytest.param(boxes(ONE, (*ONE[:4], 0, 0.8)), "duplicate", id="second box"),
    ],
)
def test_error_kinds(found, kind):
    kinds = dm.error_kinds(scene(boxes(ONE), found))
    assert kinds[kind] == 1
    assert kinds["missed"] == (0 if kind == "duplicate" else 1)
    assert sum(kinds.values()) == kinds[kind] + kinds["missed"]


def test_box_without_area_overlaps_nothing():
    assert dm.iou(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0.0]]
