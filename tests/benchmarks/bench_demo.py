"""The demo's two sets: Tenshot beside the obvious alternatives, on the same images and with the same metrics.

    make bench-demo

- solar cells: logistic regression (C = 0.05, four views) on frozen EfficientNet-Lite2 features
- tree crowns: `YOLO(...).train(data=...)` with every default of Ultralytics (100 epochs, 640 px, …) from the same
  converted weights; without a test split it validates on the training tiles, and its best.pt is measured

Prints a Markdown table and appends it to docs/benchmarks.md with the command, the machine and the date.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import baselines
import page
import samples
from samples import Shots

from tenshot.automl.evaluation.evaluate import Evaluation, evaluate
from tenshot.automl.evaluation.outcomes import Outcome
from tenshot.projects.status import Task
from tenshot.projects.workspace import Workspace
from tenshot.serving.demo import data
from tenshot.serving.demo.run import HEADLINE, Demo

ROOT = Path(__file__).parents[2]
BUDGETS_S = {"solar-cells": 120.0, "tree-crowns": 300.0}

Row = tuple[str, str, str, float]
"""set, method, metric with its interval, seconds of training"""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--only", choices=sorted(BUDGETS_S))
    words.add_argument("--home", type=Path, default=ROOT / "build" / "bench-demo")
    words.add_argument("--baselines", action="store_true", help="do not train Tenshot's own")
    said = words.parse_args()
    names = [said.only] if said.only else list(BUDGETS_S)
    rows = [] if said.baselines else [tenshot(said.home, name) for name in names]
    workspace = Workspace((said.home / ".tenshot").absolute())
    for name in names:
        spec = data.specs()[name]
        demo_set = data.write(name, spec, data.wheel(workspace, spec), said.home / "data" / name)
        label, baseline = BASELINES[name]
        begun = time.monotonic()
        found = evaluate(baseline(workspace, shots_of(demo_set)))
        rows.append((name, label, headline(found, demo_set.task), time.monotonic() - begun))
    report(sorted(rows))


def tenshot(home: Path, name: str) -> Row:
    result = Demo(home, BUDGETS_S).run([name])[0]
    return (name, f"Tenshot, --budget {BUDGETS_S[name] / 60:g}m", result.headline, result.train_s)


def headline(found: Evaluation, task: str) -> str:
    key, name = HEADLINE[task]
    low, high = found.intervals[key]
    return f"{name} {found.metrics[key]:.3f} ({low:.3f}–{high:.3f})"


def shots_of(demo_set: data.DemoSet) -> Shots:
    train, test = (tuple(samples.imported(folder, Task(demo_set.task))) for folder in (demo_set.train, demo_set.test))
    return Shots(demo_set.name, Task(demo_set.task), train, test)


def frozen_features(workspace: Workspace, shots: Shots) -> Outcome:
    return baselines.logistic(workspace, shots, policy="hflip")


BASELINES: dict[str, tuple[str, Callable[[Workspace, Shots], Outcome]]] = {
    "solar-cells": ("logistic regression on frozen EfficientNet-Lite2 features", frozen_features),
    "tree-crowns": ("Ultralytics' own defaults from the same weights", baselines.ultralytics),
}


def report(rows: list[Row]) -> None:
    cells = [(name, method, metric, f"{seconds:.0f} s") for name, method, metric, seconds in rows]
    page.append("Demo sets", "make bench-demo", ("set", "method", "on the test images (95 %)", "training"), cells)


if __name__ == "__main__":
    main()
