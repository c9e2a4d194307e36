"""What counts as the same answer."""

from __future__ import annotations

import pytest

from tenshot.projects.errors import ExportError
from tenshot.serving.exporting.parity import BOX, CONFIDENCE, compare

THRESHOLDS = {"cat": 0.5, "dog": 0.3}


def label(name="cat", confidence=80.0, left=None):
    box = None if left is None else {"left": left, "top": 0.1, "width": 0.2, "height": 0.2}
    return {"name": name, "confidence": confidence, "box": box}


def answer(*labels, **more):
    return {"labels": list(labels), **more}


def agree(expected, got, faint=None, got_faint=None):
    faint = faint or answer()
    return compare(["photo.jpg"], THRESHOLDS, ([expected], [faint]), ([got], [got_faint or faint]))


BOXED = label(left=0.3)

SAME = [
    pytest.param(answer(), answer(), id="nothing"),
    pytest.param(answer(label()), answer(label(confidence=80 + 0.9 * CONFIDENCE)), id="confidence within tolerance"),
    pytest.param(answer(BOXED), answer(label(left=0.3 + 0.9 * BOX)), id="box within tolerance"),
    pytest.param(answer(label(confidence=50.05)), answer(), id="lost on its threshold"),
    pytest.param(answer(), answer(label("dog", 30.05)), id="found on its threshold"),
    pytest.param(answer(BOXED, label(left=0.6)), answer(label(left=0.6), BOXED), id="order of equals"),
    pytest.param(answer(novelty=0.5), answer(novelty=0.5004), id="novelty within tolerance"),
    pytest.param(answer(error="damaged"), answer(error={"code": "ImageError"}), id="both refuse"),
]
DIFFERENT = [
    pytest.param(answer(label()), answer(), "lacks 'cat'", id="label lost"),
    pytest.param(answer(), answer(label()), "finds 'cat'", id="label found"),
    pytest.param(answer(label()), answer(label("dog")), "lacks 'cat'", id="other label"),
    pytest.param(answer(label()), answer(label(confidence=80.2)), "80.00 %", id="confidence"),
    pytest.param(answer(BOXED), answer(label(left=0.31)), "at {'left': 0.3", id="box"),
    pytest.param(answer(BOXED), answer(label()), "lacks", id="box lost"),
    pytest.param(answer(BOXED, BOXED), answer(BOXED), "lacks", id="one of two"),
    pytest.param(answer(novelty=0.1), answer(novelty=0.2), "novelty 0.2, expected 0.1", id="novelty"),
    pytest.param(answer(novelty=0.0), answer(), "novelty None", id="novelty lost"),
    pytest.param(answer(), answer(error="damaged"), "the export alone refuses", id="export refuses"),
    pytest.param(answer(error="damaged"), answer(), "the version alone refuses", id="version refuses"),
]


@pytest.mark.parametrize(("expected", "got"), SAME)
def test_same(expected, got):
    found = agree(expected, got)
    assert found.confidence <= CONFIDENCE
    assert found.box <= BOX


@pytest.mark.parametrize(("expected", "got", "words"), DIFFERENT)
def test_different(expected, got, words):
    with pytest.raises(ExportError) as raised:
        agree(expected, got)
    assert words in raised.value.message
    assert "photo.jpg" in raised.value.message


def faint(count):
    return answer(*(label(confidence=1.0, left=i / 200) for i in range(count)))


def test_few_faint_boxes_may_differ():
    assert agree(answer(), answer(), faint(100), faint(98)).unmatched == 2


def test_many_faint_boxes_may_not():
    with pytest.raises(ExportError, match="3 of 100 faint boxes"):
        agree(answer(), answer(), faint(100), faint(97))


def test_faint_labels_of_a_whole_image_may_not():
    with pytest.raises(ExportError, match="lacks 'dog'"):
        agree(answer(), answer(), answer(label("dog", 1.0)), answer(label("cat", 1.0)))


def test_figures_are_the_largest():
    shifted = label(confidence=80.05, left=0.301)
    found = agree(answer(BOXED, label("dog", 40.0)), answer(shifted, label("dog", 40.02)))
    assert found.confidence == pytest.approx(0.05)
    assert found.box == pytest.approx(0.001)
    assert found.labels == 2
