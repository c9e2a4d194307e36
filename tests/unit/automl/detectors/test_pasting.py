"""Cutting objects out and pasting them: outlines, places that hide nothing, boxes that fit what was drawn."""

from __future__ import annotations

import numpy as np
import pytest

from tenshot.automl.detectors import pasting
from tenshot.automl.detectors.examples import Example, centre_xywh

LABELS = ("disc", "square")


def indices(picture: Example) -> list[int]:
    return [LABELS.index(box.label) for box in picture.boxes]


@pytest.fixture(scope="module")
def pool(pictures: list[Example]) -> list[pasting.Cutting]:
    return [cut for p in pictures for cut in pasting.cuttings(p.pixels(), centre_xywh(p), indices(p))]


def test_a_disc_is_cut_out_round_and_a_square_whole(pool: list[pasting.Cutting]) -> None:
    filled = {name: np.median([c.alpha.mean() for c in pool if c.label == i]) for i, name in enumerate(LABELS)}
    assert filled["disc"] == pytest.approx(np.pi / 4, abs=0.06)
    assert filled["square"] > 0.88


def test_an_object_without_contrast_keeps_its_box_with_soft_edges() -> None:
    image = np.full((80, 80, 3), 120, np.uint8)
    (cut,) = pasting.cuttings(image, np.array([[0.5, 0.5, 0.5, 0.5]], np.float32), [0])
    assert cut.alpha.shape == (40, 40)
    assert cut.alpha[20, 20] == 1.0
    assert 0 < cut.alpha[0, 20] < 1


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((0.5, 0.5, 0.01, 0.3), id="one-pixel-wide"),
        pytest.param((0.5, 0.5, 0.0, 0.0), id="empty"),
        pytest.param((1.0, 0.5, 0.1, 0.5), id="hardly-inside"),
    ],
)
def test_boxes_of_a_few_pixels_are_not_cut_out(box: tuple[float, ...]) -> None:
    assert pasting.cuttings(np.zeros((100, 100, 3), np.uint8), np.array([box], np.float32), [0]) == []


def test_a_box_that_fills_its_image_has_no_background_to_learn_from() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    (cut,) = pasting.cuttings(image, np.array([[0.5, 0.5, 1.0, 1.0]], np.float32), [0])
    assert cut.alpha.shape == (64, 64)


def test_what_is_pasted_is_where_its_box_says(pool: list[pasting.Cutting]) -> None:
    rng, added = np.random.default_rng(0), 0
    empty = np.full((200, 200, 3), 255, np.uint8)
    boxes, labels = np.zeros((0, 4), np.float32), np.zeros((0, 1), np.float32)
    for _ in range(20):
        image, found, names = pasting.pasted(empty, boxes, labels, pool, rng)
        assert len(found) == len(names) <= pasting.MOST
        added += len(found)
        covered = np.zeros((200, 200), bool)
        for x, y, w, h in found * 200:
            left, top, right, bottom = (round(float(v)) for v in (x - w / 2, y - h / 2, x + w / 2, y + h / 2))
            assert 0 <= left < right <= 200
            assert 0 <= top < bottom <= 200
            assert (image[top:bottom, left:right] < 250).any(axis=2).mean() > 0.3
            covered[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = True
        assert (image[~covered] > 200).all()
    assert added >= 20
    assert (empty == 255).all()


def test_old_objects_stay_and_are_not_hidden(pictures: list[Example], pool: list[pasting.Cutting]) -> None:
    rng = np.random.default_rng(0)
    for picture in pictures:
        boxes, labels = centre_xywh(picture), np.array(indices(picture), np.float32)[:, None]
        image, found, names = pasting.pasted(picture.pixels(), boxes, labels, pool, rng)
        assert np.array_equal(found[: len(boxes)], boxes)
        assert np.array_equal(names[: len(boxes)], labels)
        height, width = image.shape[:2]
        corners = np.concatenate([found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2], axis=1)
        corners = corners * [width, height, width, height]
        for i in range(len(boxes), len(found)):
            for j in range(len(boxes)):
                assert pasting._hidden(corners[i], corners[j]) <= 1.5 * pasting.COVERED


def test_every_label_is_as_likely(pool: list[pasting.Cutting]) -> None:
    discs = [cut for cut in pool if cut.label == 0]
    one_square = next(cut for cut in pool if cut.label == 1)
    rng = np.random.default_rng(0)
    drawn = [pasting._drawn([*discs, one_square], rng).label for _ in range(300)]
    assert 110 < sum(drawn) < 190


def test_the_choice_of_many_boxes_is_even_over_labels() -> None:
    labels = [np.zeros(300, np.float32), np.array([1.0, 2.0], np.float32)]
    chosen = pasting.chosen(labels, np.random.default_rng(0))
    assert sum(len(of_image) for of_image in chosen.values()) == pasting.MOST_CUTTINGS
    assert chosen[1] == [0, 1]


def test_the_same_random_numbers_paste_the_same(pictures: list[Example], pool: list[pasting.Cutting]) -> None:
    boxes, labels = centre_xywh(pictures[0]), np.array(indices(pictures[0]), np.float32)[:, None]
    one, other = (
        pasting.pasted(pictures[0].pixels(), boxes, labels, pool, np.random.default_rng(3))[0] for _ in range(2)
    )
    assert np.array_equal(one, other)
