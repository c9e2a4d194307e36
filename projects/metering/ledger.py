"""The account of a workspace: what was used in a span of time, by whom, at what cost."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any

from tenshot.projects.clock import iso
from tenshot.projects.errors import UsageError
from tenshot.projects.metering import bill, journal, periods, prices
from tenshot.projects.metering.sinks import SINKS

if TYPE_CHECKING:
    from tenshot.projects.metering.bill import By, Row
    from tenshot.projects.metering.prices import PriceList
    from tenshot.projects.records import UsageRecord
    from tenshot.projects.workspace import Workspace


@dataclass(frozen=True)
class Account:
    rows: list[Row]
    prices: PriceList
    by: By | None = None
    zone: tzinfo = UTC
    troubles: tuple[str, ...] = ()
    """Sinks that could not be written, and why; they get the records the next time."""

    @property
    def total(self) -> float:
        return bill.total(self.rows)

    @property
    def hosted(self) -> float:
        """What the hosted service would ask for the same at its list prices, as far as they are known; for comparison
        only."""
        return bill.hosted_total(self.rows)

    @property
    def unknown(self) -> list[str]:
        """Units for which no price of the hosted service is known."""
        return sorted({row.unit for row in self.rows if row.hosted is None})

    @property
    def currency(self) -> str:
        return self.prices.currency

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": [row.to_json(self.by, self.zone) for row in self.rows],
            "total": self.total,
            "currency": self.currency,
            "hosted": self.hosted,
            "hosted_unknown": self.unknown,
            "zone": str(self.zone),
            "troubles": list(self.troubles),
        }


def account(
    workspace: Workspace,
    *,
    start: float | None = None,
    end: float | None = None,
    by: By | None = None,
    zone: tzinfo = UTC,
) -> Account:
    """What was used in [start, end), after bringing in what endpoints have counted so far.

    Raises UsageError if that is no span.
    """
    if start is not None and end is not None and start >= end:
        raise UsageError(f"the time from {iso(start)} to {iso(end)} is empty", hint="--from must lie before --to")
    price_list = prices.load(workspace.home)
    journal.collect(workspace.store, workspace.home / "endpoints")
    troubles = forward(workspace, workspace.settings.metering.sinks)
    rows = bill.rows(_whole_months(workspace, start, end), price_list, by, start=start, end=end, tz=zone)
    return Account(rows, price_list, by, zone, tuple(troubles))


def spent(workspace: Workspace, price_list: PriceList, start: float, end: float) -> dict[str, float]:
    """Project → cost of what the store knows of [start, end), open meters included."""
    rows = bill.rows(_whole_months(workspace, start, end), price_list, "project", start=start, end=end)
    return {name: bill.total(row for row in rows if row.project == name) for name in {row.project for row in rows}}


def forward(workspace: Workspace, sinks: Sequence[str]) -> list[str]:
    """Give every finished record to the sinks of these names, which know what they have already.

    Returns what went wrong, a text a sink: one that cannot be written is no reason to withhold the account. Raises
    UnknownNameError.
    """
    chosen = {name: SINKS.get(name)(workspace) for name in sinks}
    if not chosen:
        return []
    # A meter that is open before or after the reading may have been read unfinished.
    before = workspace.store.open_meters()
    found = workspace.store.usage()
    running = {record.id for record in [*before, *workspace.store.open_meters()]}
    finished = [record for record in found if record.id not in running]
    troubles = []
    for name, sink in chosen.items():
        try:
            sink.write(finished)
        except (OSError, sqlite3.Error) as error:
            troubles.append(f"the sink {name} cannot be written: {error}")
    return troubles


def _whole_months(workspace: Workspace, start: float | None, end: float | None) -> list[UsageRecord]:
    """What was used in the calendar months (UTC) that [start, end) touches: the tiers of the prices need all of it."""
    first = None if start is None else periods.containing(start, "month", UTC).start
    last = None
    if end is not None:
        month = periods.containing(end, "month", UTC)
        last = end if month.start == end else month.end
    return workspace.store.usage(start=first, end=last)
