"""`tenshot worker` in real processes: a queue is worked off, a training is shared, and workers are killed."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tenshot.automl.predictor import Predictor
from tenshot.automl.search import study as studies
from tenshot.automl.search.place import storage
from tenshot.automl.training import launch
from tenshot.automl.training.assigned import place_of_job
from tenshot.automl.training.options import Options
from tenshot.datasets.ingest import import_dataset
from tenshot.projects.records import Job
from tenshot.projects.status import JobStatus, Task, VersionStatus
from tenshot.projects.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

COMMAND = [sys.executable, "-c", "from tenshot.projects.cli import main; main()"]
COLOURS = {"blue": (220, 60, 40), "red": (40, 40, 220)}
CHEAP = {
    "frozen": {"policy": ["hflip"], "backbone": ["efficientnet_lite2"]},
    "finetune": {"start": [5], "size": [160], "steps": [40]},
}
Start = Callable[..., subprocess.Popen[str]]


def until(condition: Callable[[], object], within_s: float = 1200.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.1)


@pytest.fixture
def project(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """`p` with six discs of each colour; heartbeats are quick."""
    monkeypatch.setenv("TENSHOT_JOBS__HEARTBEAT_S", "0.2")
    monkeypatch.setenv("TENSHOT_TRAINING__THREADS", "1")
    random = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(6):
            ground = random.integers(60, 200, (5, 5, 3)).astype(np.uint8)
            image = cv2.resize(ground, (80, 80), interpolation=cv2.INTER_CUBIC)
            cv2.circle(image, [int(v) for v in random.integers(20, 60, 2)], 16, colour, -1)
            cv2.imwrite(str(tmp_path / "in" / name / f"{number}.png"), image)
    workspace.store.create_project("p", Task.CLASSIFICATION, at=1.0)
    import_dataset(workspace, "p", tmp_path / "in")
    return workspace


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def begin(*argv: str) -> subprocess.Popen[str]:
        running.append(subprocess.Popen([*COMMAND, *argv, "--json"], stdout=subprocess.PIPE, text=True, cwd=tmp_path))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()


def printed(process: subprocess.Popen[str]) -> Any:
    out, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, out
    return json.loads(out)


def trials(workspace: Workspace, job: Job) -> list[Any]:
    place = place_of_job(workspace, job)
    if not place.exists:
        return []
    kept = storage(place)
    try:
        return list(kept.get_all_trials(kept.get_study_id_from_name(place.name("finetune"))))
    except KeyError:
        return []


def running(workspace: Workspace, job: Job, process: subprocess.Popen[str]) -> list[Any]:
    """Fine-tuning trials that this process is in, their parameters chosen."""
    mine = [t for t in trials(workspace, job) if f":{process.pid}:" in t.user_attrs.get(studies.OWNER, "")]
    return [t for t in mine if t.state.name == "RUNNING" and len(t.params) >= 10]


def recorded(workspace: Workspace) -> list[tuple[str, str]]:
    """Name and status of MLflow's runs of trainings that were not deleted."""
    path = workspace.tracking_uri.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, status FROM runs WHERE lifecycle_stage = 'active'").fetchall()
    return [row for row in rows if row[0].startswith("version ")]


def test_a_queue_is_worked_off(project: Workspace, start: Start) -> None:
    for _ in range(2):
        launch.enqueue(project, "p", Options(72_000.0, 2, space={**CHEAP, "finetune": False}))
    done = [printed(process) for process in (start("worker", "--once"), start("worker", "--once", "--project", "p"))]
    assert sorted(row["version"] for one in done for row in one["trainings"]) == [1, 2]
    assert all(v.status is VersionStatus.TRAINING_COMPLETED for v in project.store.versions("p"))


def test_a_worker_that_dies_loses_one_trial(project: Workspace, start: Start) -> None:
    job = launch.enqueue(project, "p", Options(72_000.0, 3, space=CHEAP))
    leader = start("worker", "--once")
    until(lambda: running(project, job, leader) or leader.poll() is not None)
    killed = start("worker", "--project", "p")
    until(lambda: running(project, job, killed) or leader.poll() is not None)
    (lost,) = running(project, job, killed)
    killed.kill()
    killed.wait()
    done = printed(leader)
    assert [row["status"] for row in done["trainings"]] == ["SUCCEEDED"]
    found = trials(project, job)
    assert found[lost.number].state.name == "FAIL"
    (again,) = [t for t in found if t.user_attrs.get(studies.RETRY_OF) == lost.number]
    assert again.params == lost.params
    assert again.state.name in ("COMPLETE", "PRUNED")
    assert all(t.state.is_finished() for t in found)
    assert recorded(project) == [("version 1", "FINISHED")]
    Predictor.load(project.bundle_dir("p", 1))


def test_ctrl_c_gives_the_trial_back(project: Workspace, start: Start) -> None:
    job = launch.enqueue(project, "p", Options(72_000.0, 3, space=CHEAP))
    leader = start("worker", "--once")
    until(lambda: running(project, job, leader) or leader.poll() is not None)
    helper = start("worker")
    until(lambda: running(project, job, helper) or leader.poll() is not None)
    (lost,) = running(project, job, helper)
    helper.send_signal(signal.SIGINT)
    assert printed(helper)["interrupted"] is True
    assert trials(project, job)[lost.number].state.name == "FAIL"
    assert [row["status"] for row in printed(leader)["trainings"]] == ["SUCCEEDED"]
    (again,) = [t for t in trials(project, job) if t.user_attrs.get(studies.RETRY_OF) == lost.number]
    assert again.params == lost.params


def test_ctrl_c_of_an_idle_worker(project: Workspace, start: Start) -> None:
    worker = start("worker")
    job = launch.enqueue(project, "p", Options(72_000.0, 2, space={**CHEAP, "finetune": False}))
    until(lambda: project.store.job(job.id).status is JobStatus.SUCCEEDED)
    until(lambda: project.store.version("p", 1).status is VersionStatus.TRAINING_COMPLETED)
    worker.send_signal(signal.SIGTERM)
    done = printed(worker)
    assert done["interrupted"] is True
    assert len(done["trainings"]) == 1
