"""The account of a workspace: what was used in a span of time, by whom, at what cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenshot.projects.clock import iso
from tenshot.projects.errors import UsageError
from tenshot.projects.metering import hours, journal, prices
from tenshot.projects.metering.sinks import SINKS

if TYPE_CHECKING:
    from tenshot.projects.metering.hours import By, Row
    from tenshot.projects.workspace import Workspace


@dataclass(frozen=True)
class Account:
    rows: list[Row]
    total: float
    currency: str
    hosted: float
    """What the hosted service would ask for the same at its list price; for comparison only."""

    def to_json(self) -> dict[str, Any]:
        listed = [row.to_json() for row in self.rows]
        return {"rows": listed, "total": self.total, "currency": self.currency, "hosted": self.hosted}


def account(
    workspace: Workspace, *, start: float | None = None, end: float | None = None, by: By | None = None
) -> Account:
    """What was used in [start, end), after bringing in what endpoints have counted so far.

    Raises UsageError if that is no span.
    """
    if start is not None and end is not None and start >= end:
        raise UsageError(
            f"the time from {iso(start)} to {iso(end)} is empty", hint="--from must lie before --to; both are UTC"
        )
    price_list = prices.load(workspace.home)
    journal.collect(workspace.store, workspace.home / "endpoints")
    forward(workspace, workspace.settings.metering.sinks)
    used = [hours.clip(record, start, end) for record in workspace.store.usage(start=start, end=end)]
    rows = hours.rows([record for record in used if record is not None], price_list, by)
    hosted = math.fsum(price_list.hosted_cost(row.unit, row.quantity) for row in rows)
    return Account(rows, hours.total(rows), price_list.currency, hosted)


def forward(workspace: Workspace, sinks: Sequence[str]) -> None:
    """Give every finished record to the sinks of these names, which know what they have already.

    Raises UnknownNameError.
    """
    chosen = [SINKS.get(name)(workspace) for name in sinks]
    if not chosen:
        return
    # A meter that is open before or after the reading may have been read unfinished.
    before = workspace.store.open_meters()
    found = workspace.store.usage()
    running = {record.id for record in [*before, *workspace.store.open_meters()]}
    finished = [record for record in found if record.id not in running]
    for sink in chosen:
        sink.write(finished)
