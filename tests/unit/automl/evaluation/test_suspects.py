"""Wrong annotations are found, right ones are left alone, also where there are few of them."""

from __future__ import annotations

import numpy as np
import pytest

from tenshot.automl.evaluation import label_noise
from tenshot.automl.evaluation.outcomes import Boxes, ClassificationOutcome, DetectionOutcome
from tenshot.automl.evaluation.suspects import SURE_OBJECT, label_errors, unlabeled_objects
from tenshot.automl.scores import sigmoid, softmax

LABELS = tuple("abcdefghij")


def outcome(random, size, classes, signal, *, flips=0.0, exclusive=True) -> tuple[ClassificationOutcome, set]:
    """Logits that know the true labels as well as `signal` says; some of the given labels are then changed."""
    right = np.eye(classes, dtype=bool)[np.arange(size) % classes]
    if not exclusive:
        right = random.random((size, classes)) < 0.3
    raw = random.normal(0, 1, (size, classes)) + signal * right
    given = right.copy()
    if exclusive:
        wrong = random.choice(size, round(flips * size), replace=False)
        for i in wrong:
            given[i] = np.eye(classes, dtype=bool)[(right[i].argmax() + random.integers(1, classes)) % classes]
        changed = {int(i) for i in wrong}
    else:
        cells = random.choice(right.size, round(flips * right.size), replace=False)
        given.flat[cells] = ~given.flat[cells]
        changed = {(int(n) // classes, LABELS[int(n) % classes]) for n in cells}
    scores = softmax(raw) if exclusive else sigmoid(raw)
    return ClassificationOutcome(LABELS[:classes], tuple(map(str, range(size))), given, raw, scores, exclusive), changed


@pytest.mark.parametrize("classes", [2, 5, 10])
@pytest.mark.parametrize("size", [200, 600])
def test_flipped_labels_are_found(size, classes):
    """At least four in five of 5 % flips on well separable data, and nearly nothing else."""
    found = false = flipped = 0
    for seed in range(6):
        made, changed = outcome(np.random.default_rng(seed), size, classes, 7.0, flips=0.05)
        said = {int(s.image) for s in label_errors(made)}
        found, false, flipped = found + len(said & changed), false + len(said - changed), flipped + len(changed)
    assert found >= 0.8 * flipped
    assert false <= 0.1 * flipped


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("signal", [0.0, 1.5, 3.0, 7.0])
def test_ten_images_raise_no_storm(signal, classes):
    """Right labels only, however good the model: hardly ever one alarm, and never many."""
    alarms = [len(label_errors(outcome(np.random.default_rng(seed), 10, classes, signal)[0])) for seed in range(60)]
    assert max(alarms) <= 2
    assert np.mean(alarms) <= 0.25


def test_a_weak_model_is_not_believed():
    """Two of three images are said to be something else; confident learning would name dozens."""
    made, _ = outcome(np.random.default_rng(0), 200, 10, 1.0)
    assert (made.raw.argmax(1) != made.truth.argmax(1)).sum() > 100
    assert len(label_errors(made)) <= 4


def test_the_suggestion_and_how_sure():
    made, changed = outcome(np.random.default_rng(1), 300, 5, 8.0, flips=0.03)
    right = np.arange(300) % 5
    for suspect in label_errors(made):
        i = int(suspect.image)
        assert (suspect.kind, suspect.given) == ("label", LABELS[made.truth[i].argmax()])
        assert 0.5 <= suspect.sure <= 1
        if i in changed:
            assert suspect.suggested == LABELS[right[i]]
    sure = [s.sure for s in label_errors(made)]
    assert sure == sorted(sure, reverse=True)


def test_the_only_image_of_a_label_is_not_doubted():
    """Nothing of its label was left to learn from, so that the model must contradict it."""
    truth = np.eye(3, dtype=bool)[[0] * 20 + [1] * 20 + [2]]
    raw = np.where(truth, 9.0, 0.0)
    raw[-1] = [9.0, 0.0, -8.0]
    made = ClassificationOutcome(("a", "b", "c"), tuple(map(str, range(41))), truth, raw, softmax(raw), True)
    assert label_errors(made) == []


def test_missing_and_superfluous_labels():
    found = false = flipped = 0
    for seed in range(4):
        made, changed = outcome(np.random.default_rng(seed), 200, 4, 9.0, flips=0.02, exclusive=False)
        # Logits around 0, as a fitted head gives them.
        made = ClassificationOutcome(made.labels, made.images, made.truth, made.raw - 4.5, made.scores, False)
        said = {(int(s.image), s.given or s.suggested): s.kind for s in label_errors(made)}
        for (i, name), kind in said.items():
            assert kind == ("superfluous" if made.truth[i, LABELS.index(name)] else "missing")
        found, false = found + len(set(said) & changed), false + len(set(said) - changed)
        flipped += len(changed)
    assert found >= 0.8 * flipped
    assert false <= 0.1 * flipped


def test_one_label_and_nothing_at_all():
    truth = np.ones((5, 1), bool)
    one = ClassificationOutcome(("a",), tuple("12345"), truth, np.zeros((5, 1)), np.ones((5, 1)), True)
    none = ClassificationOutcome(("a", "b"), (), np.zeros((0, 2), bool), np.zeros((0, 2)), np.zeros((0, 2)), False)
    assert label_errors(one) == label_errors(none) == []
    chance, seen = label_noise.wrong(np.zeros((4, 3)), np.eye(3, dtype=bool)[[0, 1, 2, 0]], exclusive=True)
    assert (chance.shape, seen.shape) == ((4,), (4, 3))
    assert np.isfinite(chance).all()


# Detection ------------------------------------------------------------------------------------------------------------


def boxes(*rows) -> Boxes:
    """Each row: left, top, side, label, score."""
    table = np.array(rows, float).reshape(-1, 5)
    xyxy = np.stack([table[:, 0], table[:, 1], table[:, 0] + table[:, 2], table[:, 1] + table[:, 2]], axis=1)
    return Boxes(xyxy, table[:, 3].astype(np.int64), table[:, 4], table[:, 4])


def scenes(count=30, *, wrong=(), unboxed=()) -> DetectionOutcome:
    """Two objects an image, which the detector finds; the first one's label is wrong, or it has no box, in some."""
    truth, said = [], []
    for i in range(count):
        name = i % 2
        first = (0.1, 0.1, 0.2, 1 - name if i in wrong else name, 1)
        second = (0.6, 0.6, 0.2, 1 - name, 1)
        truth.append(boxes(*([] if i in unboxed else [first]), second))
        sure = 0.9 + 0.002 * (i % 7) + (0.03 if i in unboxed else 0)
        said.append(boxes((0.11, 0.1, 0.2, name, sure), (0.6, 0.61, 0.2, 1 - name, 0.9), (0.4, 0.1, 0.1, 0, 0.05)))
    return DetectionOutcome(("a", "b"), tuple(map(str, range(count))), tuple(truth), tuple(said))


def test_a_box_with_the_wrong_label():
    found = label_errors(scenes(wrong=(4, 7)))
    assert {(s.image, s.given, s.suggested, s.kind) for s in found} == {
        ("4", "b", "a", "box-label"),
        ("7", "a", "b", "box-label"),
    }
    assert found[0].xyxy == pytest.approx((0.1, 0.1, 0.3, 0.3))
    assert label_errors(scenes()) == []


def test_objects_without_a_box():
    found = unlabeled_objects(scenes(unboxed=(3, 8)))
    assert {(s.image, s.suggested, s.kind) for s in found} == {("3", "b", "unlabeled"), ("8", "a", "unlabeled")}
    assert all(s.sure >= SURE_OBJECT for s in found)
    assert unlabeled_objects(scenes()) == []


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param((0.6, 0.1, 0.2, 0, 0.99), 1, id="apart"),
        pytest.param((0.15, 0.15, 0.2, 0, 0.99), 0, id="badly placed"),
        pytest.param((0.15, 0.15, 0.05, 0, 0.99), 0, id="a part of an object"),
        pytest.param((0.0, 0.0, 0.9, 0, 0.99), 0, id="around objects"),
        pytest.param((0.6, 0.1, 0.2, 0, 0.6), 0, id="less sure than right ones"),
    ],
)
def test_what_counts_as_unlabeled(row, expected):
    made = scenes()
    said = list(made.predictions)
    said[0] = boxes(row, (0.11, 0.1, 0.2, 0, 0.9), (0.6, 0.61, 0.2, 1, 0.9))
    made = DetectionOutcome(made.labels, made.images, made.truth, tuple(said))
    assert len(unlabeled_objects(made)) == expected


def test_two_boxes_on_one_unlabeled_object_count_once():
    made = scenes()
    said = [boxes((0.6, 0.1, 0.2, 0, 0.99), (0.61, 0.1, 0.2, 1, 0.98)), *made.predictions[1:]]
    assert len(unlabeled_objects(DetectionOutcome(made.labels, made.images, made.truth, tuple(said)))) == 1


def test_a_detector_that_finds_nothing_doubts_nothing(make_detected):
    made = make_detected(0, 10, 3)
    blind = DetectionOutcome(made.labels, made.images, made.truth, tuple(boxes() for _ in made.images))
    assert label_errors(blind) == unlabeled_objects(blind) == []
