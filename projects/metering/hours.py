"""From usage records to a bill: cut at the hours, add up, price. Pure functions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tenshot.projects.clock import iso

if TYPE_CHECKING:
    from tenshot.projects.metering.prices import PriceList
    from tenshot.projects.records import UsageRecord

HOUR_S = 3600
By = Literal["project", "version", "operation", "hour"]
COLUMNS: dict[By | None, frozenset[str]] = {
    None: frozenset({"hour", "project", "version", "operation"}),
    "project": frozenset({"project"}),
    "version": frozenset({"project", "version"}),
    "operation": frozenset({"project", "operation"}),
    "hour": frozenset({"hour", "project"}),
}
"""Grouping → what its rows tell apart, besides the unit; the rest is null."""


@dataclass(frozen=True, slots=True)
class Row:
    hour: float | None
    """Start of the UTC hour, seconds since the epoch."""
    project: str
    version: int | None
    operation: str | None
    unit: str
    quantity: float
    cost: float

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__} | {"hour": iso(self.hour)}


def clip(record: UsageRecord, start: float | None, end: float | None) -> UsageRecord | None:
    """The part of a record in [start, end), None if there is none; a record without length lies at its start."""
    low = record.start if start is None else max(record.start, start)
    high = record.end if end is None else min(record.end, end)
    if record.start == record.end:
        inside = (start is None or record.start >= start) and (end is None or record.start < end)
        return record if inside else None
    if low >= high:
        return None
    share = (high - low) / (record.end - record.start)
    return replace(record, start=low, end=high, quantity=record.quantity * share)


def split(record: UsageRecord) -> Iterator[tuple[int, float]]:
    """(start of the UTC hour, quantity in it), in order; the quantities add up to the record's."""
    first = math.floor(record.start / HOUR_S)
    # What ends on the hour does not reach into the next one.
    last = max(first, math.ceil(record.end / HOUR_S) - 1)
    span_s = record.end - record.start
    for hour in range(first, last + 1):
        if first == last:
            yield hour * HOUR_S, record.quantity
            return
        inside_s = min(record.end, (hour + 1) * HOUR_S) - max(record.start, hour * HOUR_S)
        yield hour * HOUR_S, record.quantity * inside_s / span_s


def rows(records: Iterable[UsageRecord], prices: PriceList, by: By | None = None) -> list[Row]:
    """One row per group and unit, in order of hour, project, version, operation, unit. Raises SettingsError for a unit
    that has no price."""
    kept = COLUMNS[by]
    quantities: dict[tuple[float | None, str, int | None, str | None, str], list[float]] = defaultdict(list)
    for record in records:
        for hour, quantity in split(record):
            key = (
                hour if "hour" in kept else None,
                record.project,
                record.version if "version" in kept else None,
                record.operation if "operation" in kept else None,
                record.unit,
            )
            quantities[key].append(quantity)
    found = []
    for (hour_at, project, version, operation, unit), parts in quantities.items():
        quantity = math.fsum(parts)
        found.append(Row(hour_at, project, version, operation, unit, quantity, prices.cost(unit, quantity)))
    return sorted(found, key=_order)


def total(found: Iterable[Row]) -> float:
    """Cost of all rows."""
    return math.fsum(row.cost for row in found)


def _order(row: Row) -> tuple[float, str, int, str, str]:
    return row.hour or 0, row.project, row.version or 0, row.operation or "", row.unit
