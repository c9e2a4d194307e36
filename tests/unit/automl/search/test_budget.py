from __future__ import annotations

from tenshot.automl.search.budget import Budget


def test_time_is_a_parameter() -> None:
    now = [100.0]
    budget = Budget.start(60.0, lambda: now[0])
    now[0] = 145.0
    assert (budget.spent, budget.left) == (45.0, 15.0)
    assert budget.until(0.5).left == -15.0
    assert budget.until(0.5).started == budget.started
