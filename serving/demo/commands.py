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
    """Set, images, metric with its interval, training, start to first answer, usage."""
    from rich.table import Table

    shown = Table(title="Ten labeled images each, from photos to a metered endpoint")
    for heading in ("set", "train / test images", "on the test images", "training", "start → first answer", "usage"):
        shown.add_column(heading, justify="left" if heading in ("set", "usage") else "right")
    for result in results:
        shown.add_row(
            result.ref,
            f"{result.train_images} / {result.test_images}",
            result.headline,
            f"{result.train_s:.0f} s",
            f"{result.first_answer_s:.1f} s",
            usage(result),
        )
    return shown


def usage(result: Result) -> str:
    """`training_second 121 · image 201 · …`, each unit once."""
    totals: dict[str, float] = {}
    for row in result.usage:
        totals[row["unit"]] = totals.get(row["unit"], 0.0) + row["quantity"]
    return "\n".join(f"{quantity:,.0f} {unit.replace('_', ' ')}s" for unit, quantity in totals.items())
