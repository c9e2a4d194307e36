"""`tenshot bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tenshot.projects import console

Ref = Annotated[str, typer.Argument(metavar="NAME@V", help="NAME, NAME@2 or NAME@champion.")]


def bench(
    ref: Ref,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE", help="Files, folders or globs; left out: images that the version learned from."
        ),
    ] = None,
    clients: Annotated[str, typer.Option(metavar="N,N,…", help="How many clients ask at once.")] = "1,2,4,8",
    seconds: Annotated[float, typer.Option(metavar="S", help="How long each number of clients is measured.")] = 10.0,
    rate: Annotated[
        float | None, typer.Option(metavar="R", help="Requests a second that it is to answer: says how many units.")
    ] = None,
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="Write bench.svg and bench.json there.")] = None,
) -> None:
    """Measure how fast an endpoint answers, and how many units a rate needs.

    Every client sends an image, waits for the answer and sends the next. An endpoint that does not run is started for
    this and stopped again. The images count in the ledger. Ctrl-C shows what was measured so far.
    """
    from tenshot.projects.workspace import Workspace
    from tenshot.serving.benching import report
    from tenshot.serving.benching.bench import Plan, parse_clients
    from tenshot.serving.benching.bench import bench as measure

    plan = Plan(parse_clients(clients), seconds, rate, images or (), console.notice)
    found = measure(Workspace.current(), ref, plan)
    written = report.save(found, save) if save else []
    console.emit(found.to_json() | {"saved": [str(path) for path in written]}, lambda: report.view(found))
    for path in written:
        console.notice(f"wrote {path}")
    if found.interrupted:
        raise typer.Exit(130)
    if found.knee is None:
        raise typer.Exit(1)
