"""The progress of a training as a bar over its budget, on stderr."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

from tenshot.automl.training.learn import Progress
from tenshot.projects import console


@contextmanager
def bar(budget_s: float) -> Iterator[Progress]:
    """Yields a function that shows the values of a search; silent with `--json`."""
    if console.mode.json:
        yield lambda _: None
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    started = monotonic()
    with Bars(*columns, console=console.stderr(), refresh_per_second=4) as bars:
        task = bars.add_task("training", total=budget_s)

        def show(values: Mapping[str, Any]) -> None:
            spent = monotonic() - started
            bars.update(task, completed=min(spent, budget_s), description=describe(values))

        yield show
        bars.update(task, completed=budget_s, description="training done")


def describe(values: Mapping[str, Any]) -> str:
    """One line: stage, trial, fold and epoch, best score so far, time left."""
    parts = [str(values.get("stage", "training"))]
    for key in ("backbone", "policy"):
        if key in values:
            parts.append(str(values[key]))
    if values.get("trial") is not None:
        parts.append(f"trial {values['trial']}")
    if values.get("fold") is not None:
        parts.append(f"fold {values['fold']}")
    if values.get("epoch") is not None:
        parts.append(f"epoch {values['epoch']}/{values.get('epochs', '?')}")
    if values.get("accuracy"):
        parts.append(f"best accuracy {values['accuracy']:.3f}")
    elif isinstance(values.get("best"), float):
        parts.append(f"best {values.get('metric', 'mAP50')} {values['best']:.3f}")
    if isinstance(values.get("left_s"), float):
        parts.append(f"{max(0.0, values['left_s']):.0f} s left")
    return " · ".join(parts)
