"""From usage records to a bill: cut at the hours, price by the tiers of the month, add up. Pure functions.

Quantities are counted in whole grains (prices.py) and cut by what has accumulated up to a moment, so that the parts of
a record add up to it exactly, wherever it is cut. Tiers are those of the calendar month (UTC) over all records, as a
bill's are: use is put in order by the hour it fell into and, within the hour, by the record, and takes its place in the
tiers in that order. So what a row costs depends neither on how rows are grouped nor on the span that is looked at.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tenshot.projects.clock import iso
from tenshot.projects.metering.periods import HOUR_S, PERIODS, Period, Span, containing, written
from tenshot.projects.metering.prices import GRAIN, grains

if TYPE_CHECKING:
    from tenshot.projects.metering.prices import PriceList, Scale
    from tenshot.projects.records import UsageRecord

By = Literal["hour", "day", "week", "month", "project", "version", "operation", "key"]
COLUMNS: dict[By | None, frozenset[str]] = {
    None: frozenset({"project", "version", "operation", "key"}),
    "project": frozenset({"project"}),
    "version": frozenset({"project", "version"}),
    "operation": frozenset({"project", "operation"}),
    "key": frozenset({"project", "key"}),
    **{period: frozenset({"project"}) for period in PERIODS},
}
"""Grouping → what its rows tell apart besides the period, the unit and whether it is billed; the rest is null."""
COST_GRAIN = 10**9
"""Costs are told in whole billionths of the currency."""


def period_of(by: By | None) -> Period | None:
    """The period that the rows of a grouping tell apart; rows that are not grouped are by the hour."""
    if by is None:
        return "hour"
    return by if by in PERIODS else None


@dataclass(frozen=True, slots=True)
class Row:
    span: Span | None
    project: str
    version: int | None
    operation: str | None
    key: str | None
    unit: str
    billed: bool
    quantity: float
    cost: float
    hosted: float | None
    """What the hosted service would ask; None: not known."""

    def to_json(self, by: By | None = None, tz: tzinfo = UTC) -> dict[str, Any]:
        document = {name: getattr(self, name) for name in self.__slots__ if name != "span"}
        start, end = self.span or (None, None)
        hour = iso(start) if period_of(by) == "hour" else None
        told = {"from": _written(start, tz), "to": _written(end, tz), "hour": hour}
        return told | document


class Piece(NamedTuple):
    """The part of a record that lies in [start, end): its grains from `low` to `high`."""

    record: UsageRecord
    start: float
    end: float
    low: int
    high: int


def hourly(record: UsageRecord) -> Iterator[Piece]:
    """The record cut at the hours of UTC, in order; the pieces add up to it exactly."""
    first = math.floor(record.start / HOUR_S)
    # What ends on the hour does not reach into the next one.
    last = max(first, math.ceil(record.end / HOUR_S) - 1)
    if first == last:
        yield Piece(record, record.start, record.end, 0, grains(record.quantity))
        return
    for hour in range(first, last + 1):
        start, end = max(record.start, hour * HOUR_S), min(record.end, (hour + 1) * HOUR_S)
        yield Piece(record, start, end, _up_to(record, start), _up_to(record, end))


def cut(piece: Piece, start: float | None, end: float | None) -> Piece | None:
    """The part in [start, end), None if there is none; what has no length lies at its start."""
    low = piece.start if start is None else max(piece.start, start)
    high = piece.end if end is None else min(piece.end, end)
    if piece.start == piece.end:
        inside = (start is None or piece.start >= start) and (end is None or piece.start < end)
        return piece if inside else None
    if low >= high:
        return None
    return Piece(
        piece.record,
        low,
        high,
        piece.low if low == piece.start else _up_to(piece.record, low),
        piece.high if high == piece.end else _up_to(piece.record, high),
    )


def split(piece: Piece, period: Period, tz: tzinfo) -> Iterator[tuple[Span, Piece]]:
    """The piece by hours, days, … of the zone, in order; the parts add up to it exactly."""
    span = containing(piece.start, period, tz)
    while piece.end > span.end:
        yield span, piece._replace(end=span.end, high=(high := _up_to(piece.record, span.end)))
        piece = piece._replace(start=span.end, low=high)
        span = containing(span.end, period, tz)
    yield span, piece


def rows(
    records: Iterable[UsageRecord],
    prices: PriceList,
    by: By | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
    tz: tzinfo = UTC,
) -> list[Row]:
    """One row per group, unit and billed or not, of what was used in [start, end), in the order of its columns.

    `records` holds all of every calendar month (UTC) that the span touches: their tiers need the whole month. Raises
    SettingsError for a unit that has no price.
    """
    sums: dict[_Group, _Sum] = defaultdict(_Sum)
    scales: dict[str, tuple[Scale, Scale | None]] = {}
    for piece, position in _in_place(records):
        if (shown := cut(piece, start, end)) is None:
            continue
        unit = piece.record.unit
        if unit not in scales:
            scales[unit] = prices.price(unit).own_scale, prices.price(unit).hosted_scale
        for span, part in _parts(shown, period_of(by), tz):
            sums[_group(span, part.record, COLUMNS[by])].add(part, position - piece.low, *scales[unit])
    found = sorted(sums.items(), key=lambda item: _order(item[0]))
    costs = _told([total.cost(scales[group.unit][0]) for group, total in found])
    hosted = _told([_hosted(total, scales[group.unit][1]) for group, total in found])
    return [
        Row(*group, total.grains / GRAIN, cost, None if scales[group.unit][1] is None else other)
        for (group, total), cost, other in zip(found, costs, hosted, strict=True)
    ]


def total(found: Iterable[Row]) -> float:
    """Cost of all rows: the sum of what they say, to the last digit."""
    return _sum(row.cost for row in found)


def hosted_total(found: Iterable[Row]) -> float:
    """What the hosted service would ask, as far as its prices are known."""
    return _sum(row.hosted or 0.0 for row in found)


class _Group(NamedTuple):
    span: Span | None
    project: str
    version: int | None
    operation: str | None
    key: str | None
    unit: str
    billed: bool


@dataclass
class _Sum:
    grains: int = 0
    own: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    """Step of the scale → grains that are charged at it."""
    hosted: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, part: Piece, shift: int, own: Scale, hosted: Scale | None) -> None:
        """`shift`: from the grains of the record to those of the month."""
        self.grains += part.high - part.low
        if not part.record.billed:
            return
        for steps, scale in ((self.own, own), (self.hosted, hosted)):
            for step, amount in scale.spread(part.low + shift, part.high + shift) if scale else ():
                steps[step] += amount

    def cost(self, scale: Scale) -> Fraction:
        return scale.cost(self.own.items())


def _hosted(total: _Sum, scale: Scale | None) -> Fraction:
    return scale.cost(total.hosted.items()) if scale else Fraction(0)


def _in_place(records: Iterable[UsageRecord]) -> Iterator[tuple[Piece, int]]:
    """All pieces in the order of the bill, each with what of its unit was billed before it in its month (UTC)."""
    used: dict[tuple[str, Span], int] = defaultdict(int)
    month = Span(0.0, 0.0)
    pieces = [piece for record in records for piece in hourly(record)]
    for piece in sorted(pieces, key=_place):
        if not month.start <= piece.start < month.end:
            month = containing(piece.start, "month", UTC)
        at = piece.record.unit, month
        yield piece, used[at]
        if piece.record.billed:
            used[at] += piece.high - piece.low


def _place(piece: Piece) -> tuple[float, float, bool, str]:
    # What is taken back comes after what was used.
    return piece.start // HOUR_S, piece.record.start, piece.high < piece.low, piece.record.id


def _parts(piece: Piece, period: Period | None, tz: tzinfo) -> Iterable[tuple[Span | None, Piece]]:
    return [(None, piece)] if period is None else split(piece, period, tz)


def _group(span: Span | None, record: UsageRecord, kept: frozenset[str]) -> _Group:
    return _Group(
        span,
        record.project,
        record.version if "version" in kept else None,
        record.operation if "operation" in kept else None,
        record.key if "key" in kept else None,
        record.unit,
        record.billed,
    )


def _order(group: _Group) -> tuple[float, str, int, str, str, str, bool]:
    start = group.span.start if group.span else 0.0
    texts = group.operation or "", group.key or "", group.unit
    return start, group.project, group.version or 0, *texts, not group.billed


def _up_to(record: UsageRecord, at: float) -> int:
    """Grains of the record before the moment `at`; it is used evenly over its span."""
    whole = grains(record.quantity)
    if at <= record.start:
        return 0
    if at >= record.end:
        return whole
    return round(whole * ((at - record.start) / (record.end - record.start)))


def _written(at: float | None, tz: tzinfo) -> str | None:
    return None if at is None else written(at, tz)


def _told(costs: Sequence[Fraction]) -> list[float]:
    """To the billionth; what is rounded off one is carried to the next, so that their sum is the sum, rounded once."""
    told, exact, before = [], Fraction(0), 0
    for cost in costs:
        exact += cost
        now = round(exact * COST_GRAIN)
        told.append((now - before) / COST_GRAIN)
        before = now
    return told


def _sum(costs: Iterable[float]) -> float:
    return sum(round(cost * COST_GRAIN) for cost in costs) / COST_GRAIN
