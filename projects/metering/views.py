"""How the ledger looks to people: tables, bars and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any

from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from tenshot.projects.metering.bill import period_of
from tenshot.projects.metering.periods import label, written

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

    from tenshot.projects.metering.bill import Row
    from tenshot.projects.metering.budgets import Standing
    from tenshot.projects.metering.charts import Chart
    from tenshot.projects.metering.ledger import Account
    from tenshot.projects.metering.prices import PriceList
    from tenshot.projects.records import UsageRecord

RIGHT = frozenset({"quantity", "cost", "hosted", "amount", "spent", "used"})
BLOCKS = " ▏▎▍▌▋▊▉█"
LEAST_BAR = 10
"""Cells that a bar has at least, however narrow the terminal."""
NOT_BILLED = "–"


def account_table(account: Account) -> list[Any]:
    if not account.rows:
        return ["nothing was used in this time"]
    told = _told(account)
    shown = {head: tell for head, tell in told.items() if any(tell(row) for row in account.rows)}
    table = plain_table(*shown, "quantity", "unit", "cost", "hosted", wraps="project")
    for row in account.rows:
        cost = f"{row.cost:,.4f}" if row.billed else NOT_BILLED
        hosted = "" if row.hosted is None or not row.billed else f"{row.hosted:,.2f}"
        cells = [Text(tell(row)) for tell in shown.values()]
        table.add_row(*cells, quantity_text(row.quantity), short(account.prices, row.unit), cost, hosted)
    return [table, *_sums(account)]


def _told(account: Account) -> dict[str, Callable[[Row], str]]:
    period = period_of(account.by)

    def when(row: Row) -> str:
        return label(row.span, period, account.zone) if row.span and period else ""

    return {
        f"{period} ({account.zone})": when,
        "project": lambda row: row.project if row.version is None else f"{row.project}@{row.version}",
        "operation": lambda row: row.operation or "",
        "key": lambda row: row.key or "",
    }


def _sums(account: Account) -> Iterator[Text]:
    yield Text.assemble(("total ", "bold"), (f"{account.total:,.4f} {account.currency}", "bold"))
    units = sorted({row.unit for row in account.rows})
    for unit in units:
        known = account.prices.units.get(unit)
        if known and known.meaning:
            yield Text(f"{short(account.prices, unit)}: {known.meaning}", "dim")
    if any(not row.billed for row in account.rows):
        yield Text(f"{NOT_BILLED} not billed: a training that did not succeed", "dim")
    compared = f"the hosted service's list price for the same: {account.hosted:,.2f} {account.currency}"
    if account.unknown:
        compared += f" (not known for {', '.join(account.unknown)})"
    yield Text(compared, "dim")


@dataclass(frozen=True)
class Bars:
    """A chart of blocks, as wide as the terminal."""

    chart: Chart

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        # The consoles of commands wrap nothing, and say that they are endlessly wide for it.
        width = console.width
        names = min(max((len(group) for group in self.chart.groups), default=0), max(8, width // 3))
        for panel in self.chart.panels:
            groups = self.chart.groups_of(panel)
            yield from (Segment(panel.title, Style(bold=True)), Segment.line())
            values = [panel.sum(group) for group in groups]
            told = [panel.told(value) for value in values]
            room = max(LEAST_BAR, width - names - max(map(len, told), default=0) - 2)
            for group, value, text in zip(groups, values, told, strict=True):
                name = group if len(group) <= names else group[: names - 1] + ("." if options.ascii_only else "…")
                bar = blocks(value / (max(values) or 1), room, ascii_only=options.ascii_only)
                yield from (Segment(f"{name:<{names}} "), Segment(bar, Style(color="blue")), Segment(f" {text}"))
                yield Segment.line()


def blocks(share: float, width: int, *, ascii_only: bool = False) -> str:
    """`share` of `width` cells, to the eighth of a cell; something that is not nothing is seen."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    if share > 0:
        eighths = max(eighths, 1)
    if ascii_only:
        return "#" * max(round(eighths / 8), int(share > 0))
    return BLOCKS[-1] * (eighths // 8) + (BLOCKS[eighths % 8] if eighths % 8 else "")


def account_csv(account: Account) -> str:
    """One line a row, with a head; numbers as programs write them."""
    stream = io.StringIO()
    heads = ["from", "to", "project", "version", "operation", "key", "unit", "billed", "quantity", "cost", "currency"]
    writer = csv.DictWriter(stream, [*heads, "hosted"], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in account.rows:
        document = row.to_json(account.by, account.zone) | {"currency": account.currency}
        writer.writerow(document | {"billed": str(row.billed).lower()})
    return stream.getvalue()


def record_document(record: UsageRecord, reason: str | None, zone: tzinfo = UTC) -> dict[str, Any]:
    names = ("id", "unit", "project", "version", "operation", "key", "billed", "quantity")
    spans = {"from": written(record.start, zone), "to": written(record.end, zone), "reason": reason}
    return {name: getattr(record, name) for name in names} | spans


def record_table(records: Sequence[UsageRecord], reasons: dict[str, str], prices: PriceList, zone: tzinfo) -> Any:
    if not records:
        return "nothing was used in this time"
    table = plain_table("record", f"since ({zone})", "project", "quantity", "unit", wraps="record")
    for record in records:
        project = record.project if record.version is None else f"{record.project}@{record.version}"
        since = written(record.start, zone)[:19].replace("T", " ")
        named = Text(record.id + (f"\n  {reasons[record.id]}" if record.id in reasons else ""))
        table.add_row(named, since, Text(project), quantity_text(record.quantity), short(prices, record.unit))
    return table


def budget_table(found: Sequence[Standing]) -> Any:
    if not found:
        return "no budgets; set one: tenshot budget set NAME 20/month"
    table = plain_table("project", "period (UTC)", "amount", "spent", "used", "at 100 %", wraps="project")
    for standing in found:
        budget, colour = standing.budget, "red" if 100 in standing.marks else "yellow" if standing.marks else ""
        amount = f"{budget.amount:,.2f} {standing.currency}"
        used = Text(f"{standing.share:.1%}", colour)
        after = "endpoints stop" if budget.stop else "warns"
        table.add_row(Text(budget.project), standing.label, amount, f"{standing.spent:,.4f}", used, after)
    return table


def plain_table(*heads: str, wraps: str) -> Table:
    """Without lines, so that it fits 80 columns; only the column `wraps` gives way."""
    table = Table(header_style="bold", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for head in heads:
        table.add_column(head, justify="right" if head in RIGHT else "left", no_wrap=head != wraps, overflow="fold")
    return table


def short(prices: PriceList, unit: str) -> str:
    known = prices.units.get(unit)
    return (known and known.short) or unit


def quantity_text(quantity: float) -> str:
    return f"{quantity:,.2f}".removesuffix(".00")
