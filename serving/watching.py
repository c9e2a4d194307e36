"""`tenshot endpoints` as a table, once or live, and `tenshot endpoints drift`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenshot.projects import console
from tenshot.projects.workspace import Workspace

if TYPE_CHECKING:
    from tenshot.projects.records import Endpoint
    from tenshot.serving.endpoints.drift import Drift
    from tenshot.serving.endpoints.live import Now

BARS = "▁▂▃▄▅▆▇█"
STATES = {"RUNNING": "green", "FAILED": "bold red", "STARTING": "yellow", "STOPPING": "yellow"}
DRIFTED = "bold red"


def show(workspace: Workspace, every_s: float | None) -> None:
    """The endpoints, once (None) or again every so many seconds until Ctrl-C. With --json always once."""
    from tenshot.serving.endpoints.live import Onlooker

    onlooker = Onlooker(workspace)
    if every_s is None or console.mode.json:
        found = onlooker.look()
        console.emit({"endpoints": [now.to_json() for now in found]}, lambda: table(found))
        return
    from rich.console import Group
    from rich.live import Live

    try:
        with Live(Group(*table(onlooker.look())), console=console.stdout(), auto_refresh=False) as live:
            while True:
                time.sleep(every_s)
                live.update(Group(*table(onlooker.look())), refresh=True)
    except KeyboardInterrupt:  # that is how one leaves
        return


def drift(
    ref: Annotated[str, typer.Argument(metavar="NAME@V", help="NAME, NAME@2 or NAME@champion.")],
) -> None:
    """Tell by the hour how far what an endpoint saw is from what it was trained with."""
    from tenshot.projects.clock import iso
    from tenshot.serving.endpoints.drift import Verdict
    from tenshot.serving.endpoints.live import drift_of

    ref, hours = drift_of(Workspace.current(), ref)
    available = not (hours and hours[0][1].verdict is Verdict.UNAVAILABLE)
    shown = hours if available else []
    document = {"version": ref, "available": available}
    console.emit(
        document | {"hours": [{"hour": iso(at)} | found.to_json() for at, found in shown]},
        lambda: drift_table(ref, shown) if available else f"{ref}: drift is not available; {_why()}",
    )


def _why() -> str:
    return "its bundle holds nothing to compare with. Train again: then it does, if images could be held out"


def table(found: list[Now]) -> list[Any]:
    """What `endpoints` shows."""
    from rich.table import Table
    from rich.text import Text

    if not found:
        return ["no endpoint runs; start one: tenshot start NAME@V"]
    grid = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column("version", overflow="fold", min_width=10)
    headings = ("state", "units", "req/s", "p50 ms", "p95 ms", "503s", "MiB", "drift", "cost", "stops in")
    for heading in headings:
        grid.add_column(heading, no_wrap=True, justify="left" if heading == "state" else "right")
    for now in found:
        grid.add_row(*_row(now))
    # Below the table: beside the name, a line would not fit 80 columns.
    return [grid, *(Text(f"{now.view.ref}: {line}") for now in found for line in _remarks(now))]


def _remarks(now: Now) -> list[str]:
    e = now.view.endpoint
    address = [f"{e.url}{', with an access key' if e.secured else ''}"] if e else []
    return [*address, *([now.view.message] if now.view.message else [])]


def _row(now: Now) -> list[Any]:
    from rich.text import Text

    e = now.view.endpoint
    state = Text(str(now.view.state), STATES.get(str(now.view.state), ""))
    if e is None:
        return [Text(now.view.ref), state]
    return [
        Text(now.view.ref),
        state,
        _units(e),
        _number(now.requests_per_s, ".1f"),
        _number(now.p50_s and 1000 * now.p50_s, ".1f"),
        _number(now.p95_s and 1000 * now.p95_s, ".1f"),
        _number(now.refused, ".0f"),
        _number(now.memory_bytes and now.memory_bytes / 2**20, ".0f"),
        _drift(now.drift),
        _number(now.cost, ".2f"),
        _left(now.idle_stop_in_s),
    ]


def drift_table(ref: str, hours: list[tuple[int, Drift]]) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    from tenshot.projects.views import minute_text

    if not hours:
        return [f"{ref} has answered no images yet"]
    grid = Table(
        title=f"{ref}: distance from its {hours[-1][1].compared_with} training images", box=None, pad_edge=False
    )
    for heading in ("hour (UTC)", "images", "distance", "", "shift", "verdict"):
        grid.add_column(
            heading, no_wrap=True, justify="right" if heading in ("images", "distance", "shift") else "left"
        )
    for at, found in hours:
        worst = found.worst
        grid.add_row(
            minute_text(at), str(found.images), _number(found.distance, ".2f"), _bar(found.distance),
            _number(worst.shift if worst else None, "+.1f"), Text(str(found.verdict), _style(found)),
        )  # fmt: skip
    return [grid, f"distance by the hour: {sparkline([found.distance for _, found in hours])} (0 to 1)"]


def sparkline(values: list[float | None]) -> str:
    """A bar for each of 0…1, a dot for what is not known."""
    return "".join("·" if value is None else BARS[min(7, int(8 * value))] for value in values)


def _bar(distance: float | None) -> str:
    return "" if distance is None else "█" * round(10 * distance)


def _drift(found: Drift | None) -> Any:
    from rich.text import Text

    from tenshot.serving.endpoints.drift import Verdict

    if found is None or found.verdict is Verdict.UNAVAILABLE:
        return "n/a"
    return Text("?" if found.distance is None else f"{found.distance:.2f}", _style(found))


def _style(found: Drift) -> str:
    from tenshot.serving.endpoints.drift import Verdict

    return DRIFTED if found.verdict is Verdict.DRIFTED else ""


def _units(endpoint: Endpoint) -> str:
    """Units in service of how many it may have."""
    return f"{endpoint.workers}/{endpoint.max_units or endpoint.units}"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _left(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
