"""Boxes and labels as files have them → ratios of the upright image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tenshot.datasets.annotations import Box
from tenshot.datasets.boxes import clean_label, clip, turn
from tenshot.datasets.formats.base import RawBox, RawRecord
from tenshot.datasets.images import Header, apply_orientation
from tenshot.datasets.judge import judge, same_annotations
from tenshot.projects.errors import RecordError
from tenshot.projects.status import Task

NAN, INF = float("nan"), float("inf")


def record(*boxes: RawBox, labels=(), unit="px", declared=None, labeled=True) -> RawRecord:
    return RawRecord(Path("a.jpg"), "a.jpg", "all.csv", 7, None, tuple(labels), boxes, unit, declared, labeled)


def header(width=100, height=50, orientation=1) -> Header:
    return Header("JPEG", width, height, orientation)


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        pytest.param((0.1, 0.2, 0.3, 0.4), (0.1, 0.2, 0.3, 0.4), id="inside"),
        pytest.param((0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0), id="whole"),
        pytest.param((-0.5, 0.2, 0.3, 1.7), (0.0, 0.2, 0.3, 1.0), id="clipped"),
        pytest.param((-1.0, -1.0, 2.0, 2.0), (0.0, 0.0, 1.0, 1.0), id="around"),
        pytest.param((1.0, 0.2, 1.3, 0.4), "lies outside", id="touches-the-right-edge"),
        pytest.param((-0.4, 0.2, -0.1, 0.4), "lies outside", id="left-of-it"),
        pytest.param((0.2, 1.5, 0.4, 1.9), "lies outside", id="below"),
        pytest.param((0.2, 0.2, 0.2, 0.4), "has no area", id="no-width"),
        pytest.param((0.2, 0.4, 0.4, 0.4), "has no area", id="no-height"),
        pytest.param((0.4, 0.2, 0.2, 0.4), "has no area", id="negative-width"),
        pytest.param((0.2, 0.2, NAN, 0.4), "not made of finite", id="nan"),
        pytest.param((0.2, 0.2, INF, 0.4), "not made of finite", id="infinite"),
    ],
)
def test_clip(edges, expected):
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            clip(edges)
    else:
        assert clip(edges) == pytest.approx(expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turn_follows_the_pixels(orientation):
    """A marked rectangle, turned as pixels, lies where its turned edges say."""
    stored = np.zeros((40, 80), np.uint8)
    stored[4:14, 8:32] = 1
    upright = apply_orientation(stored, orientation)
    height, width = upright.shape
    ys, xs = np.nonzero(upright)
    expected = xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height
    assert turn((8 / 80, 4 / 40, 32 / 80, 14 / 40), orientation) == pytest.approx(expected)


RAW = RawBox("a", 10, 10, 30, 20)


@pytest.mark.parametrize(
    ("given", "image", "expected"),
    [
        pytest.param(record(RAW), header(), (0.1, 0.2, 0.3, 0.4), id="pixels"),
        pytest.param(record(RAW, declared=(100, 50)), header(), (0.1, 0.2, 0.3, 0.4), id="declared-as-it-is"),
        pytest.param(record(RAW, declared=(200, 100)), header(), (0.05, 0.1, 0.15, 0.2), id="annotated-larger"),
        pytest.param(record(RAW), header(50, 100, 6), (0.1, 0.2, 0.3, 0.4), id="exif-undeclared-is-upright"),
        pytest.param(
            record(RAW, declared=(100, 50)), header(50, 100, 6), (0.1, 0.2, 0.3, 0.4), id="exif-declared-upright"
        ),
        pytest.param(
            record(RAW, declared=(50, 100)), header(50, 100, 6), (0.8, 0.2, 0.9, 0.6), id="exif-declared-unrotated"
        ),
        pytest.param(
            record(RAW, declared=(100, 50)), header(100, 50, 3), (0.1, 0.2, 0.3, 0.4), id="exif-180-cannot-be-told"
        ),
        pytest.param(
            record(RawBox("a", 0.1, 0.2, 0.3, 0.4), unit="ratio"), header(50, 100, 6), (0.1, 0.2, 0.3, 0.4), id="ratio"
        ),
        pytest.param(
            record(RawBox("a", 0.2, 0.1, 0.6, 0.2), unit="ratio", declared=(50, 100)),
            header(50, 100, 6),
            (0.8, 0.2, 0.9, 0.6),
            id="ratio-declared-unrotated",
        ),
    ],
)
def test_frame(given, image, expected):
    (box,) = judge(given, image, Task.DETECTION).boxes
    assert box.xyxy == pytest.approx(expected)


def test_size_of_another_picture_is_refused():
    with pytest.raises(RecordError, match="declares 300×300 px, but the image is 100×50 px"):
        judge(record(RAW, declared=(300, 300)), header(), Task.DETECTION)


@pytest.mark.parametrize(
    ("given", "task", "message"),
    [
        pytest.param(record(RAW), Task.CLASSIFICATION, "has boxes but no image-level label", id="boxes-classification"),
        pytest.param(record(RAW), Task.MULTILABEL, "has boxes but no image-level label", id="boxes-multilabel"),
        pytest.param(record(), Task.CLASSIFICATION, "has no label, expected one", id="none"),
        pytest.param(record(labels=["a", "b"]), Task.CLASSIFICATION, "has 2 labels", id="two"),
        pytest.param(record(labels=["a"]), Task.DETECTION, "has the label 'a' but no box", id="label-detection"),
        pytest.param(record(labels=[" "]), Task.CLASSIFICATION, "a label is empty", id="blank"),
        pytest.param(record(labels=["x" * 256]), Task.CLASSIFICATION, "has 256 characters", id="long"),
        pytest.param(record(labels=["a\x07"]), Task.CLASSIFICATION, "control characters", id="control"),
        pytest.param(record(RawBox("", 1, 1, 9, 9)), Task.DETECTION, "a label is empty", id="box-without-label"),
        pytest.param(record(RawBox("a", 1, 1, 1, 9)), Task.DETECTION, "has no area", id="only-box-has-no-area"),
    ],
)
def test_record_is_refused(given, task, message):
    with pytest.raises(RecordError, match=message) as caught:
        judge(given, header(), task)
    assert (caught.value.file, caught.value.line) == ("all.csv", 7)


@pytest.mark.parametrize(
    ("given", "task", "labels", "boxes"),
    [
        pytest.param(record(RAW, labels=["a"]), Task.CLASSIFICATION, ("a",), 0, id="boxes-beside-a-label-are-ignored"),
        pytest.param(record(labels=[" a ", "a"]), Task.CLASSIFICATION, ("a",), 0, id="stripped-and-once"),
        pytest.param(record(), Task.MULTILABEL, (), 0, id="multilabel-negative"),
        pytest.param(record(), Task.DETECTION, (), 0, id="detection-negative"),
        pytest.param(record(RAW, RAW), Task.DETECTION, (), 1, id="same-box-twice"),
        pytest.param(record(RAW, labels=["b"]), Task.DETECTION, (), 1, id="label-beside-boxes-is-ignored"),
    ],
)
def test_record_is_taken(given, task, labels, boxes):
    judged = judge(given, header(), task)
    assert (judged.labels, len(judged.boxes)) == (labels, boxes)


def test_a_bad_box_among_good_ones_is_refused_alone_and_clipped_ones_are_counted():
    bad, over = RawBox("a", 500, 10, 600, 20, line=9), RawBox("a", 90, 10, 130, 20)
    judged = judge(record(RAW, bad, over), header(), Task.DETECTION)
    assert [box.xyxy for box in judged.boxes] == [
        pytest.approx((0.1, 0.2, 0.3, 0.4)),
        pytest.approx((0.9, 0.2, 1, 0.4)),
    ]
    assert judged.clipped == 1
    assert [(error.file, error.line) for error in judged.refused] == [("all.csv", 9)]


def test_unlabeled_is_not_negative():
    assert not judge(record(labeled=False), header(), Task.CLASSIFICATION).labeled


def test_label_of_255_characters_in_any_script():
    assert clean_label(" " + "ü" * 255 + "\t") == "ü" * 255


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        pytest.param((("a", "b"), ()), (("b", "a"), ()), True, id="order-of-labels"),
        pytest.param((("a",), ()), (("b",), ()), False, id="other-label"),
        pytest.param(
            ((), (Box("a", 0, 0, 0.5, 0.5), Box("b", 0.1, 0, 0.5, 0.5))),
            ((), (Box("b", 0.1, 0, 0.5, 0.5), Box("a", 0, 0, 0.5, 0.5 + 1e-9))),
            True,
            id="order-and-rounding-of-boxes",
        ),
        pytest.param(((), (Box("a", 0, 0, 0.5, 0.5),)), ((), (Box("a", 0, 0, 0.5, 0.6),)), False, id="other-box"),
        pytest.param(((), (Box("a", 0, 0, 0.5, 0.5),)), ((), ()), False, id="fewer-boxes"),
    ],
)
def test_same_annotations(a, b, same):
    assert same_annotations(a, b) is same
