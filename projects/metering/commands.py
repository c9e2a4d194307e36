"""The verbs usage and budget."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenshot.projects import clock, console
from tenshot.projects.errors import UsageError
from tenshot.projects.workspace import Workspace

if TYPE_CHECKING:
    from tenshot.projects.metering.bill import By as Grouping
    from tenshot.projects.metering.budgets import Standing
    from tenshot.projects.metering.ledger import Account
else:
    from typing import Literal

    # As in bill.py, which is not imported for `--help`; a test compares.
    Grouping = Literal["hour", "day", "week", "month", "project", "version", "operation", "key"]

From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="From this date or time on.")]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Up to this date or time.")]
Zone = Annotated[
    str | None, typer.Option(metavar="NAME", help="Time zone of days and dates, as Europe/Berlin; default UTC.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the project.")]

usage = typer.Typer(help="Show the ledger: what was used and what it costs.", invoke_without_command=True)
budget = typer.Typer(help="Set, list and remove what projects may cost.", no_args_is_help=True)


@usage.callback()
def usage_show(
    context: typer.Context,
    start: From = None,
    end: To = None,
    by: Annotated[Grouping | None, typer.Option(help="Add up the rows of each of these.")] = None,
    zone: Zone = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the rows as CSV; - is stdout.")] = None,
    bars: Annotated[bool, typer.Option("--bars", help="Draw bars in the terminal.")] = False,
    chart: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw bars into a .svg, .png or .html.")] = None,
) -> None:
    """Show what was used and what it costs, hour by hour."""
    if context.invoked_subcommand:
        return
    from tenshot.projects.metering import charts, drawing, ledger, notices, views

    if chart:
        drawing.check(chart)
    to_stdout = str(csv) == "-"
    if to_stdout and console.mode.json:
        raise UsageError("--csv - and --json both want stdout", hint="say one of them, or --csv FILE")
    workspace = Workspace.current()
    found = ledger.account(workspace, **_span(start, end, zone), by=by)
    if chart:
        drawing.write(chart, charts.draw(charts.chart(found)))
        console.notice(f"wrote {chart}")
    if csv and not to_stdout:
        _write(csv, views.account_csv(found))
    for trouble in found.troubles:
        console.notice(trouble)
    notices.tell_budgets(workspace)
    if to_stdout:
        sys.stdout.write(views.account_csv(found))
        return
    console.emit(found.to_json(), lambda: _shown(found, bars))


def _shown(found: Account, bars: bool) -> list[Any]:
    from tenshot.projects.metering import charts, views

    drawn = [views.Bars(charts.chart(found))] if bars and found.rows else []
    return [*views.account_table(found), *drawn]


@usage.command("records")
def usage_records(
    start: From = None,
    end: To = None,
    project: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of this project.")] = None,
    corrections: Annotated[bool, typer.Option("--corrections", help="Only corrections, with their reasons.")] = False,
    zone: Zone = None,
) -> None:
    """List the records that the ledger is made of, with their ids."""
    from tenshot.projects.metering import corrections as library
    from tenshot.projects.metering import journal, prices, views

    workspace, span = Workspace.current(), _span(start, end, zone)
    price_list = prices.load(workspace.home)
    journal.collect(workspace.store, workspace.home / "endpoints")
    reasons = library.reasons(workspace)
    found = [
        record
        for record in workspace.store.usage(start=span["start"], end=span["end"])
        if project in (None, record.project) and (not corrections or record.id in reasons)
    ]
    documents = [views.record_document(record, reasons.get(record.id), span["zone"]) for record in found]
    console.emit({"records": documents}, lambda: views.record_table(found, reasons, price_list, span["zone"]))


@usage.command("correct")
def usage_correct(
    record: Annotated[
        str | None, typer.Argument(metavar="RECORD", help="Id of the record to take back, as `usage records` shows it.")
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept with the correction.")] = "",
    quantity: Annotated[
        float | None, typer.Option(metavar="N", help="How much to take back; of a record, all of it if left out.")
    ] = None,
    project: Annotated[str | None, typer.Option(metavar="NAME", help="Without RECORD: of this project …")] = None,
    unit: Annotated[str | None, typer.Option(metavar="UNIT", help="… take N of this unit off.")] = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="When it was used (UTC); now if left out.")] = None,
) -> None:
    """Take back what was counted too much: adds a record with a negative quantity and changes none."""
    from tenshot.projects.metering import corrections, prices, views
    from tenshot.projects.times import parse_time

    workspace, now = Workspace.current(), clock.now()
    if record is not None:
        if project or unit or at:
            raise UsageError("RECORD says the project, unit and time already", hint="leave out --project, --unit, --at")
        made = corrections.take_back(workspace, record, reason=reason, at=now, quantity=quantity)
    elif project and unit and quantity is not None:
        prices.load(workspace.home).price(unit)
        when = None if at is None else parse_time(at)
        made = corrections.take_off(workspace, project, unit, quantity, reason=reason, at=now, when=when)
    else:
        raise UsageError(
            "nothing says what to correct",
            hint="name a RECORD, or --project, --unit and --quantity; both with --reason",
        )
    console.emit(
        views.record_document(made, reason.strip()),
        lambda: f"took back {-made.quantity:g} {made.unit} of {made.project} with the record {made.id}",
    )


@budget.command("set")
def budget_set(
    name: Name,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT/PERIOD", help="For instance 20/month or 5/day (UTC).")],
    stop: Annotated[bool, typer.Option("--stop", help="Stop the project's endpoints when it is used up.")] = False,
) -> None:
    """Set what a project may cost: it warns at 80 % and 100 %, and with --stop endpoints stop at 100 %."""
    from tenshot.projects.metering import budgets, prices
    from tenshot.projects.records import Budget

    workspace, now = Workspace.current(), clock.now()
    limit, period = budgets.parse(amount)
    price_list = prices.load(workspace.home)
    workspace.store.put_budget(Budget(name, limit, period, stop, now))
    if price_list.costs_nothing:
        console.notice("all prices are 0, so it will never be used up: put yours into TENSHOT_HOME/prices.yaml")
    (standing,) = budgets.standings(workspace, now, project=name)
    console.emit(standing.to_json(), lambda: standing.text)


@budget.command("list")
def budget_list() -> None:
    """List the budgets and what of them is used up."""
    from tenshot.projects.metering import budgets, views

    found: list[Standing] = budgets.standings(Workspace.current(), clock.now())
    console.emit({"budgets": [one.to_json() for one in found]}, lambda: views.budget_table(found))


@budget.command("remove")
def budget_remove(name: Name) -> None:
    """Remove the budget of a project."""
    removed = Workspace.current().store.remove_budget(name)
    text = f"removed the budget of {name}" if removed else f"{name} has no budget"
    console.emit({"removed": name if removed else None}, lambda: text)


def _span(start: str | None, end: str | None, zone: str | None) -> dict[str, Any]:
    from tenshot.projects.metering import periods
    from tenshot.projects.times import parse_time

    tz = periods.zone(zone)
    times = [None if text is None else parse_time(text, tz) for text in (start, end)]
    return {"start": times[0], "end": times[1], "zone": tz}


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", hint="name a file in a folder of yours"
        ) from None
    console.notice(f"wrote {path}")
