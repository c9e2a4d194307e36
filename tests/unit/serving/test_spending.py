"""The supervisor's look at the budget."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tenshot.projects.errors import BudgetExceeded
from tenshot.projects.records import Budget, UsageRecord
from tenshot.projects.status import Task, VersionStatus
from tenshot.projects.workspace import Workspace
from tenshot.serving.endpoints import control
from tenshot.serving.endpoints.spending import Spending

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def used_up(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("home"))
    workspace.store.create_project("p", Task.DETECTION, at=1.0)
    (workspace.home / "prices.yaml").write_text(
        "currency: EUR\nunits: {inference_unit_second: {price: 1, per: 1, hosted: null}}\n"
    )
    workspace.store.put_budget(Budget("p", 10.0, "month", True, 1.0))
    workspace.store.add_usage([UsageRecord("a", "inference_unit_second", "p", 1, "x", 11.0, NOW - 11, NOW)])
    return workspace


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 50
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_says_why_and_logs_once(used_up: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    spending = Spending(used_up, "p", wall=lambda: NOW)
    with caplog.at_level(logging.WARNING):
        assert spending.used_up(0.0) == "", "the answer comes later"
        until(lambda: spending.used_up(1.0))
        Spending(used_up, "p", wall=lambda: NOW).look()
    assert spending.used_up(1.0).startswith(
        "stopped because the budget is used up: p has cost 11.00 of its budget of 10.00"
    )
    assert len(caplog.records) == 1


def test_looks_again_after_a_while(used_up: Workspace) -> None:
    spending = Spending(used_up, "p", wall=lambda: NOW)
    until(lambda: spending.used_up(0.0))
    used_up.store.remove_budget("p")
    assert spending.used_up(29.0)
    until(lambda: not spending.used_up(31.0))


def test_prices_that_cannot_be_read_stop_nothing(used_up: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    (used_up.home / "prices.yaml").write_text("currency: [")
    spending = Spending(used_up, "p", wall=lambda: NOW)
    spending.look()
    assert spending.used_up(0.0) == ""
    assert "cannot be checked" in caplog.text


def test_another_project(used_up: Workspace) -> None:
    used_up.store.create_project("q", Task.DETECTION, at=1.0)
    spending = Spending(used_up, "q", wall=lambda: NOW)
    spending.look()
    assert spending.used_up(0.0) == ""


def test_start_is_refused(used_up: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "now", lambda: NOW)
    version = used_up.store.create_version("p", dataset_version=1, at=1.0)
    used_up.store.advance_version("p", version.number, VersionStatus.TRAINING_COMPLETED, at=1.0)
    with pytest.raises(BudgetExceeded):
        control.start(used_up, "p@1")
