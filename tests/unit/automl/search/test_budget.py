from __future__ import annotations

import pytest

from tenshot.automl.search.budget import Budget, slowness


def test_time_is_a_parameter() -> None:
    now = [100.0]
    budget = Budget.start(60.0, lambda: now[0])
    now[0] = 145.0
    assert (budget.spent, budget.left) == (45.0, 15.0)
    assert budget.until(0.5).left == -15.0
    assert budget.until(0.5).started == budget.started


def test_what_is_kept_for_later_may_grow() -> None:
    now, kept = [0.0], [10.0]
    budget = Budget(100.0, 0.0, lambda: now[0], lambda: kept[0])
    assert (budget.left, budget.until(0.5).left) == (90.0, 45.0)
    now[0], kept[0] = 20.0, 40.0
    assert (budget.left, budget.until(0.5).left) == (40.0, 10.0)


@pytest.mark.parametrize(
    ("wall_s", "cpu_s", "expected"),
    [
        pytest.param(10.0, 10.0, 1.0, id="alone"),
        pytest.param(10.0, 18.0, 1.0, id="alone, on two cores"),
        pytest.param(10.0, 5.0, 2.0, id="half of a core"),
        pytest.param(10.0, 0.0, 5.0, id="nothing at all"),
        pytest.param(1.0, 0.1, 1.0, id="too short to tell"),
    ],
)
def test_slowness(wall_s: float, cpu_s: float, expected: float) -> None:
    assert slowness(wall_s, cpu_s) == expected
