"""How good a model a few images allow, and how honest its own figures are: Tenshot beside the obvious alternatives.

    make bench-accuracy DATA=../photos [ONLY=trash,shoes/10_per_class] [SEEDS=0,1] [METHODS=tenshot,logistic]
                        [BUDGET_CLS=5m] [BUDGET_DET=10m] [RESULTS=file.jsonl] [PAGE=file.md] [FORCE=1]

DATA holds a folder for each set: `images/`; `labels.csv` (image,label,split) or `train.json` and `test.json` (COCO);
and `shots.json`: {shots: {seed: [image, …]}}. Each method learns from one such draw and is measured on the whole test
split, which no choice of Tenshot's sees. Images are read where they lie; what is written goes to a temporary folder.

Every training runs in a process of its own and is appended to RESULTS (by default in the user's cache) when it is
done. What is there already is not run again (FORCE=1: it is), so that hours of trainings may be interrupted. Then the
tables go to docs/benchmarks.md (or PAGE); `--table-only` does just that.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import accuracy_results as results
import page
import samples
from accuracy_results import OWN, Measured, Wanted

from tenshot.projects import offline
from tenshot.projects.durations import format_duration, parse_duration
from tenshot.projects.workspace import Workspace

ROOT = Path(__file__).parents[2]
PROJECT = "bench"
TASKS = {"classification": "BUDGET_CLS", "detection": "BUDGET_DET"}
MARKER = "accuracy"

Said = argparse.Namespace


def main() -> int:
    said = _words().parse_args()
    offline.set_defaults()
    if said.one:
        name, shots, seed, method = said.one
        found = measure(said, Wanted(name, shots), int(seed), method)
        said.into.write_text(json.dumps(found.to_json()), "utf-8")
        return 0
    try:
        failed = 0 if said.table_only else run(said)
    except KeyboardInterrupt:
        _say("interrupted: the same command goes on from here")
        return 130
    write(said)
    return min(failed, 1)


def _words() -> argparse.ArgumentParser:
    """Flags; what is not said is read from the environment, where `make` puts NAME=value."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def word(flag: str, default: str, **more: Any) -> None:
        name = flag[2:].replace("-", "_").upper()
        words.add_argument(flag, default=os.environ.get(name) or default, **more)

    cache = Workspace.current().cache
    word("--data", "../shared/data", type=Path, help="folder of the sets")
    word("--only", "", help="sets (trash) or rows (trash/10_total), with commas; all of them where empty")
    word("--seeds", "0,1", help="draws of shots.json")
    word("--methods", ",".join(results.METHODS), help="with commas")
    word("--budget-cls", "5m", help="of a training of Tenshot's, classification")
    word("--budget-det", "10m", help="the same, detection")
    word("--results", str(cache / "bench-accuracy.jsonl"), type=Path, help="JSON lines, appended to")
    word("--page", str(page.PAGE), type=Path, help="where the tables go")
    word("--force", "", nargs="?", const="1", help="run again what the results hold")
    words.add_argument("--table-only", action="store_true", help="run nothing")
    words.add_argument("--one", nargs=4, metavar=("SET", "SHOTS", "SEED", "METHOD"), help=argparse.SUPPRESS)
    words.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    return words


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


# Runs -------------------------------------------------------------------------------------------------------------


def run(said: Said) -> int:
    """Run what the results lack, one draw of every set after the other; returns how many trainings failed."""
    known = {} if said.force else results.load(said.results)
    todo = [item for item in wanted(said) if _key(said, *item) not in known]
    failed = 0
    for number, (row, seed, method) in enumerate(todo):
        _say(f"{number + 1} of {len(todo)}: {row.key}, draw {seed}, {method}")
        found = _in_child(said, row, seed, method)
        if found is None:
            failed += 1
            _say(f"FAILED: {row.key}, draw {seed}, {method}")
            continue
        results.append(said.results, found)
        _say(f"{results.METRICS[found.task]} {found.value:.3f} in {found.wall_s:.0f} s ({found.cpu_s:.0f} CPU seconds)")
    return failed


def wanted(said: Said) -> Iterator[tuple[Wanted, int, str]]:
    for method in _split(said.methods):
        if method not in results.METHODS:
            sys.exit(f"got the method {method!r}; expected some of {', '.join(results.METHODS)}")
    for seed in map(int, _split(said.seeds)):
        for row in results.rows(_split(said.only)):
            fitting = (OWN, *_baselines(task_of(said, row)))
            yield from ((row, seed, method) for method in _split(said.methods) if method in fitting)


def task_of(said: Said, row: Wanted) -> str:
    return "classification" if (said.data / row.name / "labels.csv").is_file() else "detection"


def _baselines(task: str) -> tuple[str, ...]:
    return ("logistic", "fine-tuning") if task == "classification" else ("ultralytics",)


def budget_s(said: Said, task: str) -> float:
    return parse_duration(said.budget_cls if task == "classification" else said.budget_det)


def _key(said: Said, row: Wanted, seed: int, method: str) -> tuple[str, str, int, str, float | None]:
    return row.name, row.shots, seed, method, budget_s(said, task_of(said, row)) if method == OWN else None


def _in_child(said: Said, row: Wanted, seed: int, method: str) -> Measured | None:
    """In a process of its own: none inherits the threads, the memory or the caches of another."""
    with tempfile.TemporaryDirectory(prefix="bench-accuracy-") as folder:
        into = Path(folder) / "measured.json"
        own = [sys.executable, __file__, "--data", str(said.data), "--into", str(into)]
        own += ["--budget-cls", said.budget_cls, "--budget-det", said.budget_det]
        done = subprocess.run(
            [*own, "--one", row.name, row.shots, str(seed), method], stdout=sys.stderr.fileno(), check=False
        )
        if done.returncode or not into.is_file():
            return None
        return Measured.from_json(json.loads(into.read_text("utf-8")))


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


# One training -----------------------------------------------------------------------------------------------------


def measure(said: Said, row: Wanted, seed: int, method: str) -> Measured:
    shots = samples.read(said.data, row.name, row.shots, seed)
    with tempfile.TemporaryDirectory(prefix="bench-accuracy-") as folder:
        workspace = Workspace(Path(folder) / ".tenshot")
        if method == OWN:
            found = tenshot(workspace, shots, budget_s(said, str(shots.task)))
        else:
            found = baseline(workspace, shots, method)
    return replace(found, set=row.name, shots=row.shots, seed=seed, method=method, code=revision(),
                   machine=page.machine(), date=page.today())  # fmt: skip


def tenshot(workspace: Workspace, shots: samples.Shots, budget: float) -> Measured:
    """As `tenshot project create`, `tenshot dataset import` and `tenshot train --budget` do it."""
    from tenshot.automl.evaluation import calibration, outcomes
    from tenshot.automl.training import launch
    from tenshot.automl.training.options import Options
    from tenshot.datasets.ingest import import_dataset
    from tenshot.projects import clock

    workspace.store.create_project(PROJECT, shots.task, at=clock.now())
    table = workspace.home / "samples.csv"
    samples.write_csv(table, shots)
    imported = import_dataset(workspace, PROJECT, table)
    with clocks() as spent:
        version = launch.launch(workspace, PROJECT, Options(budget), show=lambda _: None)
    said, study = version.details, workspace.version_dir(PROJECT, version.number) / "study"
    test, primary = outcomes.load(study / "test.npz"), said["primary"]
    plain = calibration.apply_to(test, uncalibrated(str(shots.task)))
    oof = said["out_of_fold"]
    return Measured(
        "", "", 0, "", str(shots.task), imported.train, said["images"], said["metrics"][primary],
        _pair(said["intervals"].get(primary)) or (0.0, 1.0), *spent.both, metrics=said["metrics"],
        brier=calibration.quality(test).get("brier"), brier_uncalibrated=calibration.quality(plain).get("brier"),
        cross_validated=oof["metrics"].get(primary), cross_validated_interval=_pair(oof["intervals"].get(primary)),
        budget_s=budget, trials=said["trials"], params=said["params"],
        warnings=[*said["warnings"], *(refusal.message for refusal in imported.refused)],
    )  # fmt: skip


def uncalibrated(task: str) -> Any:
    from tenshot.automl.scores import Calibration

    return Calibration("softmax" if task == "classification" else "platt")


def _pair(values: Any) -> tuple[float, float] | None:
    return (float(values[0]), float(values[1])) if values else None


def baseline(workspace: Workspace, shots: samples.Shots, method: str) -> Measured:
    import baselines

    from tenshot.automl.evaluation.evaluate import evaluate

    with clocks() as spent:
        outcome = baselines.BASELINES[str(shots.task)][method](workspace, shots)
    found = evaluate(outcome)
    return Measured(
        "", "", 0, "", str(shots.task), len(shots.train), found.images, found.metrics[found.primary],
        found.intervals.get(found.primary, (0.0, 1.0)), *spent.both, metrics=found.metrics,
        brier=found.metrics.get("brier"),
    )  # fmt: skip


@dataclass
class Spent:
    wall_s: float = 0.0
    cpu_s: float = 0.0

    @property
    def both(self) -> tuple[float, float]:
        return self.wall_s, self.cpu_s


@contextmanager
def clocks() -> Iterator[Spent]:
    """Wall-clock and CPU seconds (of this process and its children) of the block, known when it has ended."""
    wall, cpu, spent = time.monotonic(), _cpu_s(), Spent()
    yield spent
    spent.wall_s, spent.cpu_s = time.monotonic() - wall, _cpu_s() - cpu


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def revision() -> str:
    words = ("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


# Page -------------------------------------------------------------------------------------------------------------


def write(said: Said) -> None:
    """The tables of everything that was measured with these budgets, whatever ONLY and SEEDS say."""
    budgets = {task: budget_s(said, task) for task in TASKS}
    known = [m for m in results.load(said.results).values() if m.method != OWN or m.budget_s == budgets[m.task]]
    if not known:
        _say(f"{said.results} holds nothing that was measured with these budgets; {said.page} stays as it is")
        return
    own = {row.key: row for row in results.rows(sorted({f"{m.set}/{m.shots}" for m in known}))}
    order = [row for row in results.ROWS if row.key in own] + [r for r in own.values() if r not in results.ROWS]
    shown = {name: ", ".join(sorted({getattr(m, name) for m in known})) for name in ("machine", "date", "code")}
    spoken = ", ".join(f"{format_duration(seconds)} a {task}" for task, seconds in budgets.items())
    page.put(
        MARKER,
        f"`make bench-accuracy DATA=…` · budget: {spoken} · {shown['machine']} · {shown['date']} · code {shown['code']}"
        f"\n\n{results.tables(order, known)}",
        said.page,
    )


if __name__ == "__main__":
    sys.exit(main())
