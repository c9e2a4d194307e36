"""Budgets: what a project may cost in a day or a month (UTC), and what follows from what it has cost.

`judge` decides and is pure; the rest asks the ledger and remembers who was told what. A mark such as `2026-11:80` is
told to people once; a supervisor's log keeps marks of its own, `2026-11:80:log`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Literal, cast

from tenshot.projects.clock import iso
from tenshot.projects.errors import BudgetExceeded, UsageError
from tenshot.projects.metering import journal, ledger, periods, prices
from tenshot.projects.records import Budget

if TYPE_CHECKING:
    from tenshot.projects.metering.periods import Span
    from tenshot.projects.workspace import Workspace

MARKS = (80, 100)
"""Per cent of a budget at which somebody is told."""
_FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*(day|month)\s*")
Reader = Literal["people", "log"]


@dataclass(frozen=True, slots=True)
class Standing:
    """A budget and what of it is used up."""

    budget: Budget
    span: Span
    label: str
    """`2026-11`, or `2026-11-23`."""
    spent: float
    currency: str

    @property
    def share(self) -> float:
        """1: all of it."""
        return self.spent / self.budget.amount

    @property
    def marks(self) -> list[int]:
        """Those of MARKS that are reached."""
        return [mark for mark in MARKS if self.spent * 100 >= self.budget.amount * mark]

    @property
    def stops(self) -> bool:
        """Whether the project's endpoints have to stop."""
        return self.budget.stop and MARKS[-1] in self.marks

    @property
    def text(self) -> str:
        limit = f"{self.budget.amount:,.2f} {self.currency} a {self.budget.period}"
        return f"{self.budget.project} has cost {self.spent:,.2f} of its budget of {limit} ({self.share:.0%})"

    def to_json(self) -> dict[str, Any]:
        return {
            "project": self.budget.project,
            "amount": self.budget.amount,
            "currency": self.currency,
            "period": self.budget.period,
            "stop": self.budget.stop,
            "from": iso(self.span.start),
            "to": iso(self.span.end),
            "spent": self.spent,
            "share": self.share,
        }


def parse(text: str) -> tuple[float, Literal["day", "month"]]:
    """`20/month` → (20.0, "month"). Raises UsageError."""
    found = _FORM.fullmatch(text.lower())
    if not found or not float(found[1]):
        raise UsageError(
            f"{text!r} is no budget; expected an amount above 0 and a period", hint="write 20/month or 5/day"
        )
    return float(found[1]), cast("Literal['day', 'month']", found[2])


def span_of(budget: Budget, at: float) -> Span:
    """The period (UTC) that holds the moment `at`."""
    return periods.containing(at, "day" if budget.period == "day" else "month", UTC)


def judge(budget: Budget, spent: float, at: float, currency: str = "") -> Standing:
    period: periods.Period = "day" if budget.period == "day" else "month"
    span = span_of(budget, at)
    return Standing(budget, span, periods.label(span, period, UTC), spent, currency)


def marks_to_tell(standing: Standing, reader: Reader) -> list[str]:
    """What this reader has to be told now: marks that are reached and were not told to it."""
    end = "" if reader == "people" else f":{reader}"
    reached = [f"{standing.label}:{mark}{end}" for mark in standing.marks]
    return [mark for mark in reached if mark not in standing.budget.warned]


def standings(workspace: Workspace, at: float, *, project: str | None = None) -> list[Standing]:
    """How all budgets stand, or the one of a project; open meters and journals are counted in."""
    chosen = [budget for budget in workspace.store.budgets() if project in (None, budget.project)]
    if not chosen:
        return []
    price_list = prices.load(workspace.home)
    journal.collect(workspace.store, workspace.home / "endpoints")
    spans = {span_of(budget, at) for budget in chosen}
    spent = {span: ledger.spent(workspace, price_list, *span) for span in spans}
    return [
        judge(budget, spent[span_of(budget, at)].get(budget.project, 0.0), at, price_list.currency) for budget in chosen
    ]


def warnings(workspace: Workspace, found: Iterable[Standing], reader: Reader) -> list[str]:
    """What is to be told now; asking again, whoever asks, gives nothing until the next mark or period."""
    told = []
    for standing in found:
        due = marks_to_tell(standing, reader)
        if due and workspace.store.add_warnings(standing.budget.project, due):
            told.append(standing.text + (f"; {_consequence(standing)}" if standing.stops else ""))
    return told


def refuse(workspace: Workspace, project: str, at: float) -> None:
    """Before an endpoint of the project starts. Raises BudgetExceeded where its budget says so and is used up."""
    for standing in standings(workspace, at, project=project):
        if standing.stops:
            raise exceeded(standing)


def exceeded(standing: Standing) -> BudgetExceeded:
    name, amount, period = standing.budget.project, standing.budget.amount, standing.budget.period
    return BudgetExceeded(
        f"the budget of {name} is used up: {standing.text}",
        hint=f"raise it: tenshot budget set {name} {2 * amount:g}/{period} --stop, or remove it: "
        f"tenshot budget remove {name}; the next {period} begins at {iso(standing.span.end)}",
        project=name,
    )


def reason(standing: Standing) -> str:
    """Why an endpoint was stopped."""
    return f"stopped because the budget is used up: {standing.text}"


def _consequence(standing: Standing) -> str:
    return f"its endpoints are stopped until {iso(standing.span.end)}"
