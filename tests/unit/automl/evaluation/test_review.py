"""What the report says about the data: sentences, pictures, JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tenshot.automl.bundle import Base
from tenshot.automl.evaluation import evaluate, growth
from tenshot.automl.evaluation.doubts import doubts
from tenshot.automl.evaluation.report import ReportInput, render
from tenshot.automl.evaluation.review import Leaks, Review, described, small_boxes
from tenshot.automl.evaluation.suspects import MOST, Suspect
from tenshot.automl.scores import Calibration
from tenshot.datasets.annotations import Box, Entry
from tenshot.projects.status import Task

EVIL = "<b>cat</b>"


def photo(image: str) -> np.ndarray:
    return np.full((60, 80, 3), 120, np.uint8)


def entry(name: str, width: int, height: int, *sides: tuple[str, float]) -> Entry:
    boxes = tuple(Box(label, 0.1, 0.1, side, side) for label, side in sides)
    return Entry(name, name, width, height, "train", (), boxes)


WRONG = Suspect("label", "1", "dog", EVIL, 0.93)
FORECAST = growth.forecast([(4.0, 0.6, 0.02), (8.0, 0.7, 0.02)], now=10, images=50, metric="accuracy")
FULL = Review([WRONG], [Suspect("unlabeled", "2", "", "cat", 0.9, (0.1, 0.1, 0.5, 0.5))], small_boxes([], (1, 1)),
              Leaks(2, 9, [("t.jpg", "s.jpg")]), FORECAST)  # fmt: skip


@pytest.mark.parametrize(
    ("suspect", "text"),
    [
        pytest.param(WRONG, "<b>cat</b> rather than dog", id="label"),
        pytest.param(Suspect("missing", "1", "", "cat", 0.9), "cat is missing", id="missing"),
        pytest.param(Suspect("superfluous", "1", "cat", "", 0.9), "cat is not there", id="superfluous"),
        pytest.param(Suspect("unlabeled", "1", "", "cat", 0.9), "cat without a box", id="unlabeled"),
    ],
)
def test_described(suspect, text):
    assert described(suspect) == text


def test_boxes_too_small_for_the_network():
    """At 320 px a 1000 px image shrinks to less than a third: 20 px become 6, and 30 px become 9."""
    entries = [entry("a", 1000, 800, ("x", 0.02), ("y", 0.5)), entry("b", 800, 1000, ("x", 0.0375), ("y", 0.02))]
    found = small_boxes(entries, (320, 320))
    assert (found.count, found.of, found.input_px, dict(found.labels)) == (2, 4, 320, {"x": 1, "y": 1})
    assert small_boxes(entries, (640, 640)).count == 0


def test_sentences_name_what_they_mean():
    text = " ".join(FULL.sentences({"1": "one.jpg"}, "accuracy"))
    for part in ("1 label is probably wrong (one.jpg", "93% sure", "1 object has probably no box (cat 1)",
                 "2 of 9 test images nearly repeat", "t.jpg and s.jpg", "10 more images of each label"):  # fmt: skip
        assert part in text
    assert Review().sentences({}, "accuracy") == []
    small = Review(small_boxes=small_boxes([entry("a", 1000, 1000, ("x", 0.01))], (320, 320)))
    assert small.sentences({}, "mAP50")[0].startswith("1 of 1 boxes are narrower than 8 px in the 320 px")


def test_json_is_json_and_bounded():
    many = Review([Suspect("label", str(i), "a", "b", 0.9) for i in range(200)])
    found = json.loads(json.dumps(many.to_json({"0": "zero.jpg"})))
    assert (len(found["label_errors"]), found["label_error_count"]) == (MOST, 200)
    assert found["label_errors"][0]["name"] == "zero.jpg"
    assert found["growth"] is None
    full = json.loads(json.dumps(FULL.to_json({})))
    assert full["leaks"]["examples"] == [["t.jpg", "s.jpg"]]
    assert full["unlabeled"][0]["xyxy"] == [0.1, 0.1, 0.5, 0.5]
    assert full["growth"]["gain"] > 0


def test_report_shows_them(make_classified, make_detected, tmp_path):
    oof = make_classified(0, 20, ("a", "b"))
    page = page_of(Task.CLASSIFICATION, oof, FULL, tmp_path)
    for text in ("Likely label errors", "Objects that probably have no box", "What more images would bring",
                 "&lt;b&gt;cat&lt;/b&gt; rather than dog (93%)", "one.jpg", 'class="box doubted"'):  # fmt: skip
        assert text in page
    assert EVIL not in page
    plain = page_of(Task.CLASSIFICATION, oof, Review(growth_note="nothing could be held out"), tmp_path)
    assert "Likely label errors" not in plain
    assert "no estimate of what more images would bring: nothing could be held out" in plain


def page_of(task, oof, review, folder) -> str:
    limits = dict.fromkeys(oof.labels, 0.5)
    report = ReportInput(
        project="p", version="p@1", task=task, created_at=0.0, labels=oof.labels, dataset_version=1, dataset_stats={},
        oof=oof, oof_evaluation=evaluate.evaluate(oof, limits), thresholds=limits, calibration=Calibration("softmax"),
        base=Base("base", "0" * 64, "Apache-2.0", "package 1.0"), load_image=photo, review=review,
        names={"1": "one.jpg"},
    )  # fmt: skip
    return render(report, folder / "report.html").read_text("utf-8")


def test_the_picture_of_a_box_shows_the_others_too(make_detected):
    outcome = next(o for o in (make_detected(seed, 1, 2) for seed in range(20)) if len(o.truth[0]) > 2)
    box = tuple(float(v) for v in outcome.truth[0].xyxy[0])
    suspects = [Suspect("box-label", outcome.images[0], "a", "b", 0.8, box)]
    (shown,) = doubts(suspects, outcome, photo, 3)
    kinds = [r.kind for r in shown.rectangles]
    assert kinds.count("doubted") == 1
    assert kinds.count("found") == len(outcome.truth[0]) - 1
    assert shown.said == "b rather than a (80%)"
    assert doubts(suspects, outcome, photo, 0) == []
