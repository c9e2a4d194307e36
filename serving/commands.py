"""The verbs start, stop, endpoints, logs and predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenshot.projects import console
from tenshot.projects.durations import format_duration, parse_duration
from tenshot.projects.errors import UsageError
from tenshot.projects.workspace import Workspace
from tenshot.serving import watching

if TYPE_CHECKING:
    from tenshot.projects.records import Endpoint
    from tenshot.serving.endpoints.control import EndpointView
    from tenshot.serving.predicting import Entry, Predictions

Ref = Annotated[str, typer.Argument(metavar="NAME@V", help="NAME, NAME@2 or NAME@champion.")]
DAY_S = 86400
MONTH_DAYS = 30
endpoints = typer.Typer(help="List the endpoints, say when they are in service, and bring back what was killed.")


def start(
    ref: Ref,
    units: Annotated[
        int, typer.Option(min=1, help="Inference units: processes that answer, each with its share of the cores.")
    ] = 1,
    max_units: Annotated[
        int | None, typer.Option(min=1, help="Add units up to so many while requests wait; left out: none.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
    idle_stop: Annotated[
        str | None, typer.Option("--idle-stop", metavar="TIME", help="Stop after so long without a request; or off.")
    ] = None,
    insecure_no_auth: Annotated[
        bool, typer.Option("--insecure-no-auth", help="Let everybody on this machine call it, without an access key.")
    ] = False,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Speak HTTPS with this certificate (PEM, with its chain).")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key (PEM).")] = None,
) -> None:
    """Start the endpoint of a version; returns once it answers."""
    from tenshot.projects.metering import notices, prices
    from tenshot.serving.endpoints import control
    from tenshot.serving.endpoints.access import Access, is_loopback

    idle_stop_s = None if idle_stop is None else parse_duration(idle_stop, off=True)
    workspace = Workspace.current()
    price_list = prices.load(workspace.home)  # before anything runs that could not be priced
    access = Access.of(workspace, insecure_no_auth=insecure_no_auth, tls_cert=tls_cert, tls_key=tls_key)
    result = control.start(
        workspace, ref, units=units, max_units=max_units, port=port, idle_stop_s=idle_stop_s, access=access
    )
    notices.tell_budgets(workspace)
    endpoint = result.endpoint
    if not result.started:
        console.notice(f"{endpoint.ref} was running already")
    if not endpoint.secured:
        console.notice("everybody on this machine may call it: it asks for no access key")
    elif not endpoint.tls and not is_loopback(endpoint.host):
        console.notice("access keys and images travel unencrypted: start it with --tls-cert and --tls-key")
    day, month = (price_list.cost("inference_unit_second", endpoint.units * days * DAY_S) for days in (1, MONTH_DAYS))
    most = endpoint.max_units or endpoint.units
    document = {"url": result.url, "state": str(result.state), "seconds": round(result.seconds, 3)}
    more = {
        "version": endpoint.ref,
        "units": endpoint.units,
        "max_units": most,
        "idle_stop_s": endpoint.idle_stop_s,
        "secured": endpoint.secured,
        "tls": endpoint.tls,
        "cost_per_day": day,
        "cost_per_month": month,
        "currency": price_list.currency,
    }
    costs = f"{day:.2f} {price_list.currency} a day, {month:.2f} in {MONTH_DAYS} days with {_units(endpoint.units)}"
    if most > endpoint.units:
        costs += f", up to {most / endpoint.units:g} times that with {most}"
    console.emit(
        document | more,
        lambda: (
            f"[bold]{endpoint.ref}[/bold] answers at {result.url} after {result.seconds:.1f} s\n"
            f"{costs}; {_idle_text(endpoint)}"
        ),
    )


def _units(count: int) -> str:
    return f"{count} unit{'s' if count > 1 else ''}"


def _idle_text(endpoint: Endpoint) -> str:
    return (
        f"stops after {format_duration(endpoint.idle_stop_s)} idle" if endpoint.idle_stop_s else "never stops by itself"
    )


def stop(ref: Ref) -> None:
    """Stop the endpoint of a version; returns when it is gone."""
    from tenshot.serving.endpoints import control

    result = control.stop(Workspace.current(), ref)
    document = {"state": str(result.state), "seconds": round(result.seconds, 3)}
    console.emit(document, lambda: f"{ref} is {result.state} after {result.seconds:.1f} s")


@endpoints.callback(invoke_without_command=True)
def list_endpoints(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="Show them again and again; Ctrl-C leaves.")] = False,
    every: Annotated[float, typer.Option(min=0.2, metavar="SECONDS", help="With --watch: how often.")] = 2.0,
) -> None:
    """List the endpoints that run, start or stop, and those that failed, with what they do."""
    if not context.invoked_subcommand:
        from tenshot.projects.metering import notices

        notices.tell_budgets(workspace := Workspace.current())
        watching.show(workspace, every if watch else None)


endpoints.command("drift")(watching.drift)


@endpoints.command("schedule")
def schedule_endpoint(
    ref: Ref,
    hours: Annotated[
        str | None, typer.Argument(metavar="HOURS", help='As "mon-fri 08:00-18:00 Europe/Berlin"; UTC if no zone.')
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Be in service always.")] = False,
) -> None:
    """Have an endpoint in service at certain hours only; in between nothing runs and nothing is billed."""
    from tenshot.projects.clock import now
    from tenshot.serving.endpoints import control, schedule

    if clear is (hours is not None):
        raise UsageError(
            "expected either hours or --clear", hint='tenshot endpoints schedule NAME@V "mon-fri 8:00-18:00"'
        )
    endpoint = control.set_schedule(Workspace.current(), ref, hours or "")
    week = schedule.hours_a_week(schedule.parse(endpoint.schedule), now()) if endpoint.schedule else 168.0
    said = f"is in service {endpoint.schedule or 'always'}: {week:g} hours a week"
    document = {"version": endpoint.ref, "schedule": endpoint.schedule, "hours_a_week": week}
    console.emit(document, lambda: f"{endpoint.ref} {said}")


@endpoints.command("wake-on-request")
def wake_on_request(
    ref: Ref, off: Annotated[bool, typer.Option("--off", help="Stop for good when idle.")] = False
) -> None:
    """Let an idle endpoint sleep instead of stopping: nothing runs until the next request, which waits for it."""
    from tenshot.serving.endpoints import control

    endpoint = control.set_wake_on_request(Workspace.current(), ref, not off)
    said = "stops when idle" if off else "sleeps when idle, and the next request wakes it"
    document = {"version": endpoint.ref, "wake_on_request": endpoint.wake_on_request}
    console.emit(document, lambda: f"{endpoint.ref} {said}")


@endpoints.command()
def heal() -> None:
    """Bring back endpoints that were killed with everything that watched over them, by a restart of the machine too."""
    from tenshot.serving.endpoints import control, healing

    found = healing.heal(Workspace.current())
    views = [view for view in control.endpoints(Workspace.current()) if view.ref in found]
    document = {"healed": [{"version": view.ref, "state": str(view.state), "message": view.message} for view in views]}
    console.emit(document, lambda: _endpoint_table(views) if views else "nothing was left behind")


def logs(
    ref: Ref, follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is still to come.")] = False
) -> None:
    """Show what an endpoint wrote."""
    from tenshot.serving.endpoints import control

    workspace = Workspace.current()
    if console.mode.json:  # one document, so there is no following
        lines = list(control.logs(workspace, ref))
        console.emit({"lines": lines}, lambda: "")
        return
    out = console.stdout()
    for line in control.logs(workspace, ref, follow=follow):
        out.print(line, markup=False, highlight=False)


def predict(
    ref: Ref,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Files, folders or globs.")],
    min_confidence: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Least confidence, 0–100; left out: each label's own threshold."),
    ] = None,
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the images there, labels drawn.")] = None,
) -> None:
    """Find labels and boxes, through the endpoint if it runs, else in this process."""
    from tenshot.serving import predicting

    with _progress() as seen:
        found = predicting.predict(
            Workspace.current(), ref, images, min_confidence=min_confidence, save=save, seen=seen
        )
    console.emit({"images": found.entries}, lambda: _prediction_views(found))
    for path in found.saved:
        console.notice(f"wrote {path}")
    if found.failed == len(found.entries):
        raise typer.Exit(1)


def _endpoint_table(views: list[EndpointView]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from tenshot.projects.views import minute_text

    if not views:
        return "no endpoint runs; start one: tenshot start NAME@V"
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("version", overflow="fold")
    for heading in ("state", "units", "restarts", "idle stop", "ready since (UTC)"):
        table.add_column(heading, no_wrap=True)
    for view in views:
        e = view.endpoint
        shown = (_workers(e), str(e.restarts), _idle(e.idle_stop_s), minute_text(e.ready_at)) if e else ()
        # The address stands below the name: beside it, a line would not fit 80 columns.
        table.add_row(Text(f"{view.ref}\n {e.url}" if e else view.ref), str(view.state), *shown)
    reasons = [Text(f"{view.ref}: {view.message}") for view in views if view.message]
    return [table, *reasons]


def _workers(endpoint: Endpoint) -> str:
    """Units in service, and how many it may have: `1`, `2 of 4`, `0` of one that sleeps."""
    most = endpoint.max_units or endpoint.units
    return str(endpoint.workers) if most == endpoint.workers == endpoint.units else f"{endpoint.workers} of {most}"


def _idle(seconds: float) -> str:
    return format_duration(seconds) if seconds else "off"


def _prediction_views(found: Predictions) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{found.ref}, {found.through}")
    for heading in ("image", "label", "confidence", "box (left, top, width, height)"):
        table.add_column(heading)
    for entry in found.entries:
        for row in _rows(entry):
            table.add_row(*(Text(cell) for cell in row))  # names may hold what Rich takes for markup
    return [table]


def _rows(entry: Entry) -> list[tuple[str, str, str, str]]:
    if "error" in entry:
        return [(entry["image"], f"error: {entry['error']['message']}", "", "")]
    if not entry["labels"]:
        return [(entry["image"], "(nothing above the thresholds)", "", "")]
    rows = []
    for index, label in enumerate(entry["labels"]):
        box = label["box"]
        where = ", ".join(f"{box[side]:.3f}" for side in ("left", "top", "width", "height")) if box else ""
        rows.append((entry["image"] if index == 0 else "", label["name"], f"{label['confidence']:.1f}", where))
    return rows


class _progress:
    """A bar on stderr from the tenth image on; none with --json."""

    def __enter__(self) -> Any:
        from rich.progress import Progress

        self._bar = Progress(console=console.stderr(), transient=True, disable=console.mode.json)
        self._task: Any = None
        self._bar.start()
        return self._seen

    def _seen(self, done: int, of: int) -> None:
        if of < 10:
            return
        if self._task is None:
            self._task = self._bar.add_task("predict", total=of)
        self._bar.update(self._task, completed=done)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
