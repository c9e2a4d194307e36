from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenshot.automl.search.folds import MOST_FOLDS, fold_count, folds

PROBLEMS = st.integers(2, 24).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 3), min_size=n, max_size=n), st.lists(st.integers(0, n - 1), min_size=n, max_size=n)
    )
)


@pytest.mark.parametrize(
    ("strata", "groups", "expected"),
    [
        pytest.param([0] * 5 + [1] * 5, range(10), 5, id="ten images"),
        pytest.param([0] * 50 + [1] * 50, range(100), MOST_FOLDS, id="many"),
        pytest.param([0] * 3 + [1] * 7, range(10), 3, id="the rarest label decides"),
        pytest.param([0] * 9 + [1], range(10), 5, id="a label with one image does not"),
        pytest.param([0, 1], range(2), 2, id="two images"),
        pytest.param([0] * 5 + [1] * 5, [0] * 10, 0, id="one group"),
        pytest.param([0] * 5 + [1] * 5, [0, 0, 1, 1, 1, 2, 2, 3, 3, 3], 2, id="groups count, not images"),
    ],
)
def test_count(strata: list[int], groups: list[int], expected: int) -> None:
    assert fold_count(np.array(strata), np.array(groups)) == expected


@settings(max_examples=200, deadline=None)
@given(PROBLEMS)
def test_any_problem(problem: tuple[list[int], list[int]]) -> None:
    strata, groups = np.array(problem[0]), np.array(problem[1])
    count = fold_count(strata, groups)
    assert count == 0 if len(set(groups)) < 2 else 2 <= count <= MOST_FOLDS
    if not count:
        return
    found = folds(strata, groups, count=count, seed=0)
    held = np.concatenate([h for _, h in found])
    assert sorted(held) == list(range(len(strata))), "every image is scored once"
    for train, test in found:
        assert len(train)
        assert not set(train) & set(test)
        assert len(train) + len(test) == len(strata)
        assert not set(groups[train]) & set(groups[test]), "a group is on one side"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 10))
def test_stratified(seed: int, per_label: int) -> None:
    strata = np.array([0, 1, 2] * per_label)
    count = fold_count(strata, np.arange(len(strata)))
    for _, held in folds(strata, range(len(strata)), count=count, seed=seed):
        sizes = np.bincount(strata[held], minlength=3)
        assert sizes.max() - sizes.min() <= 1
        assert sizes.min() >= per_label // count


def test_seeds() -> None:
    strata = [0, 1] * 10
    one, same, other = (folds(strata, range(20), count=5, seed=s) for s in (1, 1, 2))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(one, same, strict=True))
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(one, other, strict=True))


def test_rare_label_is_learned_from_when_it_is_not_scored() -> None:
    found = folds([0] * 9 + [1], range(10), count=5, seed=0)
    assert sum(9 in train for train, _ in found) == 4
