"""The verbs start, stop, endpoints, logs and predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenshot.projects import console
from tenshot.projects.durations import format_duration, parse_duration
from tenshot.projects.workspace import Workspace

if TYPE_CHECKING:
    from tenshot.serving.endpoints.control import EndpointView
    from tenshot.serving.predicting import Entry, Predictions

Ref = Annotated[str, typer.Argument(metavar="NAME@V", help="NAME, NAME@2 or NAME@champion.")]
DAY_S = 86400


def start(
    ref: Ref,
    units: Annotated[int, typer.Option(min=1, help="Inference units: cores of this machine, and of the bill.")] = 1,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
    idle_stop: Annotated[
        str | None, typer.Option("--idle-stop", metavar="TIME", help="Stop after so long without a request; or off.")
    ] = None,
) -> None:
    """Start the endpoint of a version; returns once it answers."""
    from tenshot.projects.metering import prices
    from tenshot.serving.endpoints import control

    idle_stop_s = None if idle_stop is None else parse_duration(idle_stop, off=True)
    workspace = Workspace.current()
    price_list = prices.load(workspace.home)  # before anything runs that could not be priced
    result = control.start(workspace, ref, units=units, port=port, idle_stop_s=idle_stop_s)
    endpoint = result.endpoint
    cost = price_list.cost("inference_unit_second", endpoint.units * DAY_S)
    if not result.started:
        console.notice(f"{endpoint.ref} was running already")
    document = {"url": result.url, "state": str(result.state), "seconds": round(result.seconds, 3)}
    more = {
        "version": endpoint.ref,
        "units": endpoint.units,
        "idle_stop_s": endpoint.idle_stop_s,
        "cost_per_day": cost,
        "currency": price_list.currency,
    }
    idle = (
        f"stops after {format_duration(endpoint.idle_stop_s)} idle" if endpoint.idle_stop_s else "never stops by itself"
    )
    console.emit(
        document | more,
        lambda: (
            f"[bold]{endpoint.ref}[/bold] answers at {result.url} after {result.seconds:.1f} s\n"
            f"{cost:.2f} {price_list.currency} a day with {endpoint.units} "
            f"unit{'s' if endpoint.units > 1 else ''}; {idle}"
        ),
    )


def stop(ref: Ref) -> None:
    """Stop the endpoint of a version; returns when it is gone."""
    from tenshot.serving.endpoints import control

    result = control.stop(Workspace.current(), ref)
    document = {"state": str(result.state), "seconds": round(result.seconds, 3)}
    console.emit(document, lambda: f"{ref} is {result.state} after {result.seconds:.1f} s")


def endpoints() -> None:
    """List the endpoints that run, start or stop, and those that failed."""
    from tenshot.serving.endpoints import control

    views = control.endpoints(Workspace.current())
    console.emit({"endpoints": [view.to_json() for view in views]}, lambda: _endpoint_table(views))


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
        shown = (str(e.units), str(e.restarts), _idle(e.idle_stop_s), minute_text(e.ready_at)) if e else ()
        # The address stands below the name: beside it, a line would not fit 80 columns.
        table.add_row(Text(f"{view.ref}\n {e.url}" if e else view.ref), str(view.state), *shown)
    reasons = [Text(f"{view.ref}: {view.message}") for view in views if view.message]
    return [table, *reasons]


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
