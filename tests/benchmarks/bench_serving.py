"""An endpoint beside a bare loop, MLflow's scoring server and Ultralytics in FastAPI; its start, memory and nerves.

    make bench-serving [ONLY=loop,mlflow,ultralytics,start,requests,abuse] [SECONDS=20] [ROUNDS=3] [REQUESTS=100000]
                       [MINUTES=5] [PHOTOS=folder] [RESULTS=file.jsonl] [PAGE=file.md] [FORCE=1]

loop         one core: a bare loop (decode, run the network) and the endpoint in turn on the same core, the clients on
             another; then all cores: as many loops as cores, and the endpoint with as many units
mlflow       the same bundle as the MLflow model that training logs, in `mlflow models serve`, all cores
ultralytics  YOLOv8n with the same weights behind FastAPI, and as an endpoint, all cores
start        from `start` to the first answer; from zero to the first answer where it sleeps
requests     REQUESTS requests: what failed, how memory grew, whether the ledger has what the clients counted
abuse        64 clients, one image in ten is none, for MINUTES

Photos are made (three sizes, up to 1920 px) unless PHOTOS names a folder of JPEGs. Weights are random, YOLOv8n's not.
Every part is appended to RESULTS (by default in the user's cache) when it is done, and not measured again for the same
options (FORCE=1: it is). Then the tables go to docs/benchmarks.md (or PAGE).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import page
import rivals
import served
import serving_results as results
from served import Body
from serving_results import Goal, Line, Part

from tenshot.projects import offline
from tenshot.projects.metering import ledger
from tenshot.projects.processes import cores
from tenshot.projects.workspace import Workspace
from tenshot.serving.benching import figures, http1, load, watch
from tenshot.serving.benching.figures import Stage
from tenshot.serving.endpoints import control
from tenshot.serving.endpoints.access import Access

MARKER = "serving"
CLIENTS = (1, 2, 4, 8)
STARTS = 5
WARM_S = 2.0
WARM_REQUESTS = 0.02
"""Share of the requests after which memory is looked at for the first time; at least LEAST_WARM."""
LEAST_WARM = 500
ABUSERS = 64
BAD_EVERY = 10
NO_IDLE_STOP = 0.0
MEMORY_MB = 400


@dataclass(frozen=True)
class Said:
    only: tuple[str, ...]
    seconds: float
    rounds: int
    requests: int
    minutes: float
    photos: Path | None
    results: Path
    page: Path
    force: bool
    table_only: bool


@dataclass(frozen=True)
class Bench:
    """A workspace in a temporary folder, and what is served in it, made when it is asked for."""

    said: Said
    folder: Path

    @cached_property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / "home")

    @cached_property
    def photos(self) -> list[Body]:
        found = served.given(self.said.photos) if self.said.photos else served.photos(self.folder / "photos")
        if not found:
            raise SystemExit(f"no JPEGs in {self.said.photos}")
        return found

    @cached_property
    def classifier(self) -> str:
        served.make_classifier(self.folder / "classifier")
        return served.install(self.workspace, self.folder / "classifier")

    @cached_property
    def detector(self) -> tuple[str, Path]:
        """Reference, and the checkpoint of the same network."""
        weights = served.make_detector(Workspace.current(), self.folder / "detector", Path(self.photos[0][0]))
        return served.install(self.workspace, self.folder / "detector"), weights

    def bundle(self, ref: str) -> Path:
        version = self.workspace.resolve(ref)
        return self.workspace.bundle_dir(version.project, version.number)

    @contextmanager
    def endpoint(self, ref: str, units: int = 1, on: set[int] | None = None) -> Iterator[tuple[str, int]]:
        """Address and process; it stays on the cores `on`."""
        with _pinned(on):
            found = control.start(
                self.workspace, ref, units=units, idle_stop_s=NO_IDLE_STOP, access=Access(secured=False)
            ).endpoint
        try:
            yield f"{found.url}/predict", found.supervisor_pid
        finally:
            control.stop(self.workspace, ref)


# Parts ------------------------------------------------------------------------------------------------------------


def loop(bench: Bench) -> tuple[list[Goal], list[Line], list[str]]:
    ref, said = bench.classifier, bench.said
    one, all_of_them = _in_turn(bench, ref, 1, (1, 2, 4)), _in_turn(bench, ref, cores(), CLIENTS)
    lines: list[Line] = []
    for label, (bare, endpoint) in (("one core", one), (f"{cores()} cores", all_of_them)):
        lines.append(Line.of(f"bare loop, {label}", bare, clients=False))
        lines += [Line.of(f"endpoint, {label}", stage) for stage in endpoint]
    lone = one[1][0]
    overhead_ms = (lone.p50_ms or 0.0) - (one[0].p50_ms or 0.0)
    memory_mb = max(stage.memory_bytes or 0 for stage in one[1]) / 1e6
    goals = [
        _ratio("throughput ÷ bare loop, one core", _best(one[1]), one[0], 0.90),
        _ratio(f"throughput ÷ bare loops, {cores()} cores", _best(all_of_them[1]), all_of_them[0], 0.90),
        Goal("p50 − p50 of the bare loop, one client", f"{overhead_ms:.1f} ms", "≤ 5 ms", overhead_ms <= 5),
        Goal("memory, one unit", f"{memory_mb:.0f} MB", f"≤ {MEMORY_MB} MB", memory_mb <= MEMORY_MB),
    ]
    client = max(stage.client_cores for stage in all_of_them[1])
    where = "on a core of their own" if cores() > 1 else "on the same core"
    notes = [
        f"one core: endpoint and loop on the same core, the clients {where}",
        f"the loop and the endpoint in turn, {said.rounds} rounds of {said.seconds:g} s; the median round counts",
        f"{cores()} cores: one loop a core; the clients share the endpoint's cores and took up to {client:.2f} of one",
    ]
    return goals, lines, notes


def _in_turn(bench: Bench, ref: str, count: int, clients: Sequence[int]) -> tuple[Stage, list[Stage]]:
    """The bare loop and the endpoint, round after round, on `count` cores: what is slow for a while slows both."""
    mine, others = _shares(count)
    bare: list[Stage] = []
    endpoint: dict[int, list[Stage]] = {n: [] for n in clients}
    for _ in range(bench.said.rounds):
        with _pinned(mine):
            found, cpu_s = rivals.bare(bench.bundle(ref), bench.photos, bench.said.seconds, count)
        bare.append(figures.stage(count, found, units=count, cpu_s=cpu_s, memory_bytes=None))
        with bench.endpoint(ref, count, on=mine) as (url, process), _pinned(others):
            for n, stage in zip(clients, _curve(bench, url, process, bench.photos, clients), strict=True):
                endpoint[n].append(stage)
    return _middle(bare), [_middle(stages) for stages in endpoint.values()]


def mlflow(bench: Bench) -> tuple[list[Goal], list[Line], list[str]]:
    ref = bench.classifier
    with bench.endpoint(ref, cores()) as (url, process):
        own = list(_curve(bench, url, process, bench.photos, CLIENTS))
    with rivals.mlflow_server(bench.bundle(ref), _new(bench.folder / "mlflow")) as (url, process):
        bodies = rivals.for_mlflow(bench.photos, bench.folder / "mlflow" / "bodies")
        other = list(_curve(bench, url, process, bodies, CLIENTS))
    return _beside("MLflow's scoring server", own, other, "same classifier")


def ultralytics(bench: Bench) -> tuple[list[Goal], list[Line], list[str]]:
    ref, checkpoint = bench.detector
    with bench.endpoint(ref, cores()) as (url, process):
        own = list(_curve(bench, url, process, bench.photos, CLIENTS))
    with rivals.ultralytics_server(checkpoint, _new(bench.folder / "ultralytics")) as (url, process):
        other = list(_curve(bench, url, process, bench.photos, CLIENTS))
    return _beside("Ultralytics + FastAPI", own, other, "YOLOv8n, 640 px")


def _beside(name: str, own: Sequence[Stage], other: Sequence[Stage], what: str) -> tuple[Any, ...]:
    lines = [*(Line.of(f"endpoint, {what}", s) for s in own), *(Line.of(f"{name}, {what}", s) for s in other)]
    return [_ratio(f"throughput ÷ {name}, each at its best", _best(own), _best(other), 2.5)], lines, []


def start(bench: Bench) -> tuple[list[Goal], list[Line], list[str]]:
    """The first start builds the Bento. Each ends with the answer to a photo."""
    ref, seconds = bench.classifier, []
    for _ in range(STARTS):
        begun = time.perf_counter()
        with bench.endpoint(ref) as (url, _process):
            _first_answer(bench, url)
            seconds.append(time.perf_counter() - begun)
    first, worst = seconds[0], max(seconds[1:])
    goals = [
        Goal("start → first answer, the first time", f"{first:.2f} s", "≤ 5 s", first <= 5),
        Goal(f"start → first answer, worst of {STARTS - 1} later", f"{worst:.2f} s", "≤ 5 s", worst <= 5),
    ]
    woken = _wake(bench, ref)
    if woken is not None:
        goals.append(Goal("asleep → first answer", f"{woken:.2f} s", "≤ 5 s", woken <= 5))
    return goals, [], []


def _wake(bench: Bench, ref: str) -> float | None:
    """Seconds from the first request to a sleeping endpoint to its answer; None where endpoints do not sleep."""
    from tenshot.projects import cli

    verbs = getattr(cli.load("endpoints"), "commands", {})
    if "wake-on-request" not in verbs:
        _say("endpoints do not sleep yet: left out")
        return None
    os.environ["TENSHOT_HOME"] = str(bench.workspace.home)
    found = control.start(bench.workspace, ref, idle_stop_s=2.0, access=Access(secured=False)).endpoint
    try:
        if cli.run(["endpoints", "wake-on-request", ref]) != 0:
            return None
        deadline = time.monotonic() + 120
        while (now := bench.workspace.store.endpoint(found.version_id)) is None or now.workers:
            if time.monotonic() > deadline:
                raise SystemExit("the endpoint does not fall asleep")
            time.sleep(0.1)
        begun = time.perf_counter()
        _first_answer(bench, f"{now.url}/predict")
        return time.perf_counter() - begun
    finally:
        control.stop(bench.workspace, ref)


def _first_answer(bench: Bench, url: str) -> None:
    path, kind = bench.photos[0]
    target = http1.Target.of(url)
    head = http1.Connection(target, 120.0).ask(http1.request(target, Path(path).read_bytes(), kind, {}))
    if head.status != 200:
        raise SystemExit(f"the first answer is {head.status}")


def requests(bench: Bench) -> tuple[list[Goal], list[Line], list[str]]:
    ref, wanted = bench.classifier, bench.said.requests
    warm = min(wanted // 2, max(LEAST_WARM, round(wanted * WARM_REQUESTS))) or 1
    before = _images(bench.workspace)
    with bench.endpoint(ref, cores()) as (url, process):
        first = load.measure(_job(url, bench.photos, 8, requests=warm))
        begun = watch.memory_bytes(process)
        seen = watch.Watch(process)
        found = load.measure(_job(url, bench.photos, 8, requests=wanted - warm), tick=seen.look)
        seen.look()
        ended = watch.memory_bytes(process)
    if not (first.complete and found.complete):
        raise KeyboardInterrupt
    answered = sum(len(samples.latencies_s.get(200, ())) for samples in (first, found))
    failed, grown = wanted - answered, ended / begun - 1
    missing = _images(bench.workspace) - before - answered
    stage = figures.stage(8, found, units=cores(), cpu_s=seen.cpu_s, memory_bytes=ended)
    goals = [
        Goal(f"{wanted:,} requests: failed", str(failed), "0", failed == 0),
        Goal(f"{wanted:,} requests: memory growth", f"{grown:.1%}", "< 5 %", grown < 0.05),
        Goal(f"{wanted:,} requests: ledger − client count", f"{missing:g}", "0", missing == 0),
    ]
    note = f"memory: {begun / 1e6:.0f} MB after {warm} requests, {ended / 1e6:.0f} MB after {wanted}"
    return goals, [Line.of(f"endpoint, {wanted:,} requests", stage)], [note]


def abuse(bench: Bench) -> tuple[list[Goal], list[Line], list[str]]:
    ref, seconds = bench.classifier, bench.said.minutes * 60
    bad = served.bad_images(bench.folder / "bad", bench.photos)
    with bench.endpoint(ref, cores()) as (url, process):
        _warm_up(url, bench.photos)
        seen = watch.Watch(process)
        found = load.measure(_job(url, _mixed(bench.photos, bad), ABUSERS, seconds), tick=seen.look)
        seen.look()
        stage = figures.stage(ABUSERS, found, units=cores(), cpu_s=seen.cpu_s, memory_bytes=watch.memory_bytes(process))
    if not found.complete:
        raise KeyboardInterrupt
    counts = {status: len(some) for status, some in sorted(found.latencies_s.items())}
    broken = sum(n for status, n in counts.items() if status == load.NO_ANSWER or (status >= 500 and status != 503))
    spread = (stage.p99_ms or float("inf")) / (stage.p50_ms or 1.0)
    what = f"{ABUSERS} clients, 10 % bad images, {bench.said.minutes:g} min"
    goals = [
        Goal(f"{what}: 5xx but 503, or no answer", str(broken), "0", broken == 0),
        Goal(f"{what}: p99 ÷ p50", f"{spread:.1f}", "≤ 10", spread <= 10),
    ]
    said = ", ".join(f"{count} × {status or 'no answer'}" for status, count in counts.items())
    reasons = "".join(f"; {count} × {reason}" for reason, count in found.errors.items())
    return goals, [Line.of(f"endpoint, {what}", stage)], [f"{what}: {said}{reasons}"]


def _mixed(good: Sequence[Body], bad: Sequence[Body]) -> list[Body]:
    """Every tenth is a bad one, each kind as often as the others."""
    found = []
    for i in range(BAD_EVERY * len(bad) * len(good)):
        place = i // BAD_EVERY
        found.append(bad[place % len(bad)] if i % BAD_EVERY == BAD_EVERY - 1 else good[(i - place) % len(good)])
    return found


PARTS: dict[str, Callable[[Bench], tuple[Any, ...]]] = {
    "loop": loop,
    "mlflow": mlflow,
    "ultralytics": ultralytics,
    "start": start,
    "requests": requests,
    "abuse": abuse,
}


# Measuring --------------------------------------------------------------------------------------------------------


def _curve(bench: Bench, url: str, process: int, bodies: Sequence[Body], clients: Sequence[int]) -> Iterator[Stage]:
    _warm_up(url, bodies)
    for count in clients:
        seen = watch.Watch(process)
        found = load.measure(_job(url, bodies, count, bench.said.seconds), tick=seen.look)
        seen.look()
        if not found.complete:
            raise KeyboardInterrupt
        memory = watch.memory_bytes(process)
        stage = figures.stage(count, found, units=cores(), cpu_s=seen.cpu_s, memory_bytes=memory)
        _say(f"  {count} clients: {stage.per_second:.1f}/s, p50 {stage.p50_ms} ms, {stage.failures} failed")
        yield stage


def _warm_up(url: str, bodies: Sequence[Body]) -> None:
    load.measure(_job(url, bodies, 4, WARM_S))


def _job(url: str, bodies: Sequence[Body], clients: int, seconds: float = 1e9, requests: int = 0) -> load.Job:
    return load.Job(url, tuple(bodies), clients, seconds, requests)


def _shares(count: int) -> tuple[set[int], set[int]]:
    """`count` cores for what is measured, and the others for the clients; all for both where none is left."""
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(cores()))
    return set(mine[:count]), set(mine[count:] or mine)


@contextmanager
def _pinned(to: set[int] | None) -> Iterator[None]:
    """What is started meanwhile stays on these cores."""
    if to is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, to)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _middle(stages: Sequence[Stage]) -> Stage:
    """The round with the median throughput."""
    return sorted(stages, key=lambda stage: stage.per_second)[(len(stages) - 1) // 2]


def _best(stages: Sequence[Stage]) -> Stage:
    return max(stages, key=lambda stage: stage.per_second)


def _ratio(measure: str, own: Stage, other: Stage, least: float) -> Goal:
    found = own.per_second / other.per_second if other.per_second else 0.0
    return Goal(measure, f"{found:.2f}", f"≥ {least:.2f}", found >= least)


def _images(workspace: Workspace) -> float:
    rows = ledger.account(workspace).rows
    return sum(row.quantity for row in rows if row.unit == "image")


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# Parts, results, page ---------------------------------------------------------------------------------------------


def main() -> int:
    said = _said()
    offline.set_defaults()
    try:
        if not said.table_only:
            run(said)
    except KeyboardInterrupt:
        _say("interrupted: the same command goes on from here")
        return 130
    page.put(MARKER, results.text(list(PARTS), results.load(said.results)), said.page)
    return 0


def run(said: Said) -> None:
    known = {} if said.force else results.load(said.results)
    asked = _asked(said)
    todo = [name for name in said.only if name not in known or dict(known[name].asked) != asked[name]]
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as folder:
        bench = Bench(said, Path(folder))
        for name in todo:
            _say(name)
            begun = time.monotonic()
            goals, lines, notes = PARTS[name](bench)
            part = Part(name, asked[name], page.machine(), page.today(), tuple(goals), tuple(lines), tuple(notes))
            results.append(said.results, part)
            for goal in goals:
                _say(f"  {goal.measure}: {goal.value} ({goal.wanted}: {'yes' if goal.met else 'NO'})")
            _say(f"  took {time.monotonic() - begun:.0f} s")


def _asked(said: Said) -> dict[str, dict[str, Any]]:
    photos = str(said.photos) if said.photos else "made"
    timed: dict[str, Any] = {"photos": photos, "seconds": said.seconds}
    return {
        "loop": timed | {"rounds": said.rounds},
        "mlflow": timed,
        "ultralytics": timed,
        "start": {"photos": photos},
        "requests": {"photos": photos, "requests": said.requests},
        "abuse": {"photos": photos, "minutes": said.minutes},
    }


def _said() -> Said:
    """Flags; what is not said is read from the environment, where `make` puts NAME=value."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def word(flag: str, default: str, **more: Any) -> None:
        words.add_argument(flag, default=os.environ.get(flag[2:].upper()) or default, **more)

    word("--only", ",".join(PARTS), help="parts, with commas")
    word("--seconds", "20", type=float, help="of each number of clients, and of the bare loop")
    word("--rounds", "3", type=int, help="of the bare loop and the endpoint in turn")
    word("--requests", "100000", type=int)
    word("--minutes", "5", type=float, help="of abuse")
    word("--photos", "", help="folder of JPEGs; empty: they are made")
    word("--results", str(Workspace.current().cache / "bench-serving.jsonl"), type=Path, help="appended to")
    word("--page", str(page.PAGE), type=Path, help="where the tables go")
    word("--force", "", nargs="?", const="1", help="measure again what the results hold")
    words.add_argument("--table-only", action="store_true", help="measure nothing")
    said = vars(words.parse_args())
    only = tuple(name.strip() for name in said["only"].split(",") if name.strip())
    if unknown := [name for name in only if name not in PARTS]:
        words.error(f"--only: got {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    photos = Path(said["photos"]).absolute() if said["photos"] else None
    return Said(**said | {"only": only, "photos": photos, "force": bool(said["force"])})


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
