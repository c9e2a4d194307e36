"""Budgets: what is told when, and what stops."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tenshot.projects.errors import BudgetExceeded, UsageError
from tenshot.projects.metering import budgets, journal
from tenshot.projects.metering.budgets import judge, marks_to_tell, parse, standings, warnings
from tenshot.projects.records import Budget, UsageRecord
from tenshot.projects.status import Task
from tenshot.projects.workspace import Workspace

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0
BUDGET = Budget("p", 20.0, "month", True, 1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("20/month", (20.0, "month"), id="month"),
        pytest.param(" 2.50 / Day ", (2.5, "day"), id="day"),
        pytest.param("20", None, id="no period"),
        pytest.param("0/month", None, id="nothing"),
        pytest.param("-1/month", None, id="negative"),
        pytest.param("20/year", None, id="another period"),
    ],
)
def test_parse(text: str, expected: tuple[float, str] | None) -> None:
    if expected:
        assert parse(text) == expected
        return
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert "20/month" in caught.value.hint


@pytest.mark.parametrize(
    ("spent", "marks", "stops"),
    [
        pytest.param(0.0, [], False, id="nothing"),
        pytest.param(15.99, [], False, id="below"),
        pytest.param(16.0, [80], False, id="80 %"),
        pytest.param(19.999, [80], False, id="almost"),
        pytest.param(20.0, [80, 100], True, id="100 %"),
        pytest.param(100.0, [80, 100], True, id="far above"),
    ],
)
def test_judge(spent: float, marks: list[int], stops: bool) -> None:
    standing = judge(BUDGET, spent, NOW, "EUR")
    assert (standing.marks, standing.stops, standing.label) == (marks, stops, "2026-11")
    assert not judge(replace(BUDGET, stop=False), spent, NOW).stops


@pytest.mark.parametrize(
    ("warned", "at", "reader", "due"),
    [
        pytest.param((), NOW, "people", ["2026-11:80", "2026-11:100"], id="both at once"),
        pytest.param(("2026-11:80",), NOW, "people", ["2026-11:100"], id="the second"),
        pytest.param(("2026-11:80", "2026-11:100"), NOW, "people", [], id="told"),
        pytest.param(("2026-11:80", "2026-11:100"), NOW, "log", ["2026-11:80:log", "2026-11:100:log"], id="the log"),
        pytest.param(("2026-10:80",), NOW, "people", ["2026-11:80", "2026-11:100"], id="another month"),
    ],
)
def test_marks_to_tell(warned: tuple[str, ...], at: float, reader: budgets.Reader, due: list[str]) -> None:
    assert marks_to_tell(judge(replace(BUDGET, warned=warned), 20.0, at), reader) == due


@pytest.fixture
def priced(workspace: Workspace) -> Workspace:
    workspace.store.create_project("p", Task.DETECTION, at=1.0)
    (workspace.home / "prices.yaml").write_text(
        "currency: EUR\nunits:\n"
        "  inference_unit_second: {price: 1, per: 3600, hosted: 4}\n"
        "  training_second: {price: 1, per: 3600, hosted: 4}\n"
        "  image: {price: 1, per: 10, hosted: null}\n"
    )
    return workspace


def served(workspace: Workspace, identity: str, start: float, hours: float, project: str = "p") -> None:
    quantity, unit = hours * HOUR, "inference_unit_second"
    record = UsageRecord(identity, unit, project, 1, "endpoint", quantity, start, start + quantity)
    workspace.store.add_usage([record])


def test_spent_in_the_period_with_open_meters_and_journals(priced: Workspace) -> None:
    store = priced.store
    store.put_budget(BUDGET)
    month = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
    served(priced, "before and after", month - HOUR, 3)
    served(priced, "other", month, 50, project="q")
    store.open_meter("m", unit="training_second", project="p", version=1, operation="x", multiplier=1.0, at=NOW)
    store.beat_meter("m", at=NOW + HOUR)
    store.open_meter("f", unit="training_second", project="p", version=1, operation="x", multiplier=1.0, at=NOW)
    store.close_meter("f", at=NOW + 50 * HOUR, billed=False)
    folder = priced.endpoint_dir("p", 1)
    folder.mkdir(parents=True)
    journal.append(journal.path_in(folder), "predict", 5, NOW)
    (standing,) = standings(priced, NOW)
    assert (standing.spent, standing.currency) == (3.5, "EUR")
    store.put_budget(replace(BUDGET, period="day"))
    assert standings(priced, NOW)[0].spent == 1.5
    assert standings(priced, NOW, project="q") == []


def test_told_once_for_each_mark_period_and_reader(priced: Workspace) -> None:
    priced.store.put_budget(BUDGET)

    def told(reader: budgets.Reader, at: float = NOW) -> list[str]:
        return warnings(priced, standings(priced, at), reader)

    served(priced, "a", NOW - 30 * HOUR, 17)
    (text,) = told("people")
    assert "17.00 of its budget of 20.00 EUR a month (85%)" in text
    assert told("people") == []
    assert len(told("log")) == 1
    served(priced, "b", NOW - 10 * HOUR, 3)
    (text,) = told("people")
    assert "its endpoints are stopped until 2026-12-01" in text
    assert told("people") == told("people", at=NOW + 10 * 24 * HOUR) == []


def test_start_is_refused_with_the_way_out(priced: Workspace) -> None:
    budgets.refuse(priced, "p", NOW)
    priced.store.put_budget(BUDGET)
    served(priced, "a", NOW - 30 * HOUR, 20)
    with pytest.raises(BudgetExceeded) as caught:
        budgets.refuse(priced, "p", NOW)
    assert "tenshot budget set p 40/month" in caught.value.hint
    assert "tenshot budget remove p" in caught.value.hint
    budgets.refuse(priced, "p", NOW + 10 * 24 * HOUR)
    priced.store.put_budget(replace(BUDGET, stop=False))
    budgets.refuse(priced, "p", NOW)
