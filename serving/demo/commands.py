"""`tenshot demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tenshot.projects import console
from tenshot.projects.durations import parse_duration

if TYPE_CHECKING:
    from tenshot.serving.demo.run import Result

SHORT = {"cells": "solar-cells", "trees": "tree-crowns"}


def demo(
    home: Annotated[Path, typer.Option(help="Folder for everything that the demo writes.")] = Path("demo"),
    only: Annotated[Literal["cells", "trees"] | None, typer.Option(help="Run one of the two sets.")] = None,
    budget_cells: Annotated[str, typer.Option(metavar="TIME", help="Training budget of the classifier.")] = "2m",
    budget_trees: Annotated[str, typer.Option(metavar="TIME", help="Training budget of the detector.")] = "5m",
) -> None:
    """Run the whole main job on real photos: import, train, evaluate, serve, count.

    Solar cells (a classifier) and tree crowns (a detector), ten images of each kind; the photos come out of two
    published packages.
    """
    from tenshot.serving.demo.run import Demo

    budgets = {"solar-cells": parse_duration(budget_cells), "tree-crowns": parse_duration(budget_trees)}
    results = Demo(home, budgets).run([SHORT[only]] if only else list(budgets))
    console.emit({"sets": [result.to_json() for result in results]}, lambda: table(results))


def table(results: list[Result]) -> Any:
    """Set, images, metric with its interval, training, start to first answer, usage. Fits 80 columns."""
    from rich import box
    from rich.table import Table

    shown = Table(
        title="Ten labeled images of a kind, from photos to a metered endpoint",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_lines=True,
        pad_edge=False,
        collapse_padding=True,
    )
    for heading in (
        "version",
        "train /\ntest",
        "test images\n(95 %)",
        "training",
        "start to\nanswer",
        "usage",
    ):
        shown.add_column(heading, no_wrap=True)
    for result in results:
        shown.add_row(
            result.ref,
            f"{result.train_images} / {result.test_images}",
            result.headline.replace(" (", "\n").rstrip(")"),
            f"{result.train_s:.0f} s",
            f"{result.first_answer_s:.1f} s",
            "\n".join(usage(result)),
        )
    return shown


SPOKEN = {"training_second": "s trained", "inference_unit_second": "s served", "image": "images"}


def usage(result: Result) -> list[str]:
    """`201 images`, `121 s training`, …: what the ledger counted, each unit once."""
    totals: dict[str, float] = {}
    for row in result.usage:
        totals[row["unit"]] = totals.get(row["unit"], 0.0) + row["quantity"]
    return [f"{quantity:,.0f} {SPOKEN.get(unit, unit)}" for unit, quantity in totals.items()]
