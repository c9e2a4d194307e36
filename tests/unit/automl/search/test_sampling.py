"""Fewer views and fewer images where there is no time for all."""

from __future__ import annotations

import numpy as np
import pytest

from tenshot.automl.search.sampling import FIRST, affordable, fewest, order


def truth(*counts: int) -> np.ndarray:
    return np.eye(len(counts), dtype=bool)[np.repeat(np.arange(len(counts)), counts)]


def test_the_first_few_of_each_label_lead() -> None:
    y = truth(1000, 40, 3)
    found = order(y, 0)
    assert sorted(found) == list(range(len(y)))
    first = y[found[: fewest(y) - 2]]
    assert first.sum(axis=0).tolist() == [FIRST, FIRST, 3]


def test_any_beginning_holds_labels_in_about_their_shares() -> None:
    y = truth(800, 200)
    share = y[order(y, 1)[:300]].mean(axis=0)
    np.testing.assert_allclose(share, [0.8, 0.2], atol=0.07)


def test_several_labels_and_none() -> None:
    y = np.zeros((60, 3), bool)
    y[:40, 0] = True
    y[38:42, 1] = True
    first = y[order(y, 0)[:16]]
    assert (first.sum(axis=0)[:2] >= [FIRST, 4]).all()
    assert (~first.any(axis=1)).sum() >= FIRST


def test_same_seed_same_order() -> None:
    y = truth(20, 20)
    assert np.array_equal(order(y, 3), order(y, 3))
    assert not np.array_equal(order(y, 3), order(y, 4))


@pytest.mark.parametrize(
    ("images", "views", "expected"),
    [
        pytest.param(10, 1000, (10, 8), id="all views"),
        pytest.param(100, 350, (100, 3), id="fewer views"),
        pytest.param(100, 100, (100, 1), id="one view each"),
        pytest.param(100, 60, (60, 1), id="fewer images"),
        pytest.param(100, 0, (1, 1), id="never none"),
    ],
)
def test_views_go_before_images(images: int, views: int, expected: tuple[int, int]) -> None:
    assert affordable(images, views, 8) == expected
