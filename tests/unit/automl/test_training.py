"""Trainings that must not go well, are killed or cancelled, or have next to nothing to learn from."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tenshot.automl.predictor import Predictor
from tenshot.automl.search import study as studies
from tenshot.automl.search.place import storage
from tenshot.automl.search.space import load
from tenshot.automl.training import launch
from tenshot.automl.training.options import Options
from tenshot.datasets.ingest import import_dataset
from tenshot.projects.errors import EmptyDataError, TenshotError, TrainingError
from tenshot.projects.status import JobStatus, Task, VersionStatus
from tenshot.projects.workspace import Workspace

pytestmark = pytest.mark.slow

Draw = Callable[..., np.ndarray]


def save(folder: Path, images: dict[str, np.ndarray]) -> Path:
    for name, image in images.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def project(workspace: Workspace, data: Path, task: Task = Task.CLASSIFICATION) -> None:
    workspace.store.create_project("p", task, at=1.0)
    import_dataset(workspace, "p", data)


def train(workspace: Workspace, budget_s: float = 5.0, trials: int = 2) -> dict[str, Any]:
    """The details of the trained version, whose bundle loads."""
    version = launch.launch(workspace, "p", Options(budget_s, trials), show=lambda _: None)
    assert version.status is VersionStatus.TRAINING_COMPLETED
    Predictor.load(workspace.bundle_dir("p", version.number))
    return version.details


def refused(workspace: Workspace, message: str) -> TenshotError:
    with pytest.raises(TrainingError, match=message) as caught:
        train(workspace)
    (version,) = workspace.store.versions("p")
    (job,) = workspace.store.jobs(project="p")
    assert version.status is VersionStatus.TRAINING_FAILED
    assert job.status is JobStatus.FAILED
    assert version.status_message == job.message == caught.value.message
    assert not workspace.bundle_dir("p", 1).exists()
    return caught.value


class TestLittleData:
    def test_one_label(self, workspace: Workspace, draw: Draw, tmp_path: Path) -> None:
        project(workspace, save(tmp_path / "in", {f"red/{k}.png": draw(k, "red") for k in range(5)}))
        refused(workspace, r"carry one label \(red\); a classifier needs at least 2")

    def test_one_image(self, workspace: Workspace, draw: Draw, tmp_path: Path) -> None:
        project(workspace, save(tmp_path / "in", {"red/0.png": draw(0, "red")}))
        refused(workspace, "1 labeled training images; at least 2 are needed")

    def test_no_images(self, workspace: Workspace) -> None:
        workspace.store.create_project("p", Task.CLASSIFICATION, at=1.0)
        with pytest.raises(TenshotError) as caught:
            train(workspace)
        assert caught.value.hint
        assert workspace.store.versions("p") == []

    def test_one_image_of_a_label(self, workspace: Workspace, draw: Draw, tmp_path: Path) -> None:
        images = {f"red/{k}.png": draw(k, "red") for k in range(6)} | {"blue/0.png": draw(90, "blue")}
        project(workspace, save(tmp_path / "in", images))
        details = train(workspace)
        assert details["labels"] == ["blue", "red"]
        assert details["images"] == 6, "of the label of one image nothing can be checked"
        assert any("very few" in w for w in details["warnings"])

    def test_two_images(self, workspace: Workspace, draw: Draw, tmp_path: Path) -> None:
        project(workspace, save(tmp_path / "in", {"red/0.png": draw(0, "red"), "blue/0.png": draw(1, "blue")}))
        details = train(workspace)
        assert any("2 training images are very few" in w for w in details["warnings"])
        assert details["measured_on"] == "nothing"
        assert not details["metrics"]
        assert any("quality is unknown" in w for w in details["warnings"])

    def test_near_duplicates_only(self, workspace: Workspace, draw: Draw, tmp_path: Path) -> None:
        """Nothing can be held out: a model, no claim about its quality, and no report of nothing."""
        base = draw(0, "red", "blue")
        images = {}
        for k in range(6):
            image = base.copy()
            image[k, 0] += 1
            images[f"{'red' if k % 2 else 'blue'}/{k}.png"] = image
        project(workspace, save(tmp_path / "in", images))
        details = train(workspace)
        assert details["measured_on"] == "nothing"
        assert details["metrics"] == {}
        assert any("nothing could be held out" in w for w in details["warnings"])
        from tenshot.automl import listing

        with pytest.raises(EmptyDataError, match="nothing could be measured"):
            listing.report(workspace, "p@1")

    def test_grey_and_tiny(self, workspace: Workspace, draw: Draw, tmp_path: Path) -> None:
        images = {}
        for k in range(5):
            images[f"bright/{k}.png"] = np.clip(draw(k, side=30)[..., 0].astype(int) + 60, 0, 255).astype(np.uint8)
            images[f"dark/{k}.png"] = (draw(50 + k, side=30)[..., 0] // 4).astype(np.uint8)
        project(workspace, save(tmp_path / "in", images))
        assert train(workspace)["metrics"]["accuracy"] >= 0.8

    def test_multilabel_with_images_of_nothing(self, workspace: Workspace, draw: Draw, tmp_path: Path) -> None:
        rows, images = ["image,label"], {}
        for k in range(12):
            colours = [c for c, bit in (("red", 1), ("blue", 2)) if k & bit]
            images[f"{k}.png"] = draw(k, *colours)
            rows += [f"{k}.png,{c}" for c in colours] or [f"{k}.png,"]
        save(tmp_path / "in", images)
        table = tmp_path / "in" / "labels.csv"
        table.write_text("\n".join(rows) + "\n")
        project(workspace, table, Task.MULTILABEL)
        details = train(workspace)
        assert details["labels"] == ["blue", "red"]
        assert details["images"] == 12


CHEAP = {
    "frozen": {"policy": ["hflip"], "backbone": ["efficientnet_lite2"]},
    "finetune": {"start": [5], "size": [160], "steps": [40]},
}
STAGES = ["features", "heads", "fine-tuning", "final fit", "export", "evaluation", "report", "tracking"]


def recorded(workspace: Workspace) -> list[tuple[str, str]]:
    """Name and status of MLflow's runs of trainings that were not deleted."""
    path = Path(workspace.tracking_uri.removeprefix("sqlite:///"))
    if not path.is_file():
        return []
    with sqlite3.connect(path) as connection:
        if not connection.execute("SELECT name FROM sqlite_master WHERE name = 'runs'").fetchone():
            return []
        rows = connection.execute("SELECT name, status FROM runs WHERE lifecycle_stage = 'active'").fetchall()
    return [row for row in rows if row[0].startswith("version ")]


COMMAND = [sys.executable, "-c", "from tenshot.projects.cli import main; main()"]


def until(condition: Callable[[], object], within_s: float = 240.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.05)


class TestProcess:
    @pytest.fixture(autouse=True)
    def data(self, workspace: Workspace, draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TENSHOT_JOBS__HEARTBEAT_S", "0.1")
        names = {f"{c}/{k}.png": draw(100 * i + k, c) for i, c in enumerate(("red", "blue")) for k in range(5)}
        project(workspace, save(tmp_path / "in", names))

    def start(self, tmp_path: Path, *argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, "train", "p", *argv, "--json"], stdout=subprocess.PIPE, text=True, cwd=tmp_path
        )

    def trials(self, workspace: Workspace) -> int:
        (job,) = workspace.store.jobs(project="p") or [None]
        return int(((job and job.progress) or {}).get("trial") or 0)

    def test_killed_and_resumed(self, workspace: Workspace, ask: Any, tmp_path: Path) -> None:
        process = self.start(tmp_path, "--budget", "40s", "--trials", "4")
        try:
            until(lambda: self.trials(workspace) or process.poll() is not None)
            assert process.poll() is None
            os.kill(process.pid, signal.SIGKILL)
        finally:
            process.kill()
            process.communicate()

        _, listed = ask("versions", "p")
        assert [(v["version"], v["status"]) for v in listed["versions"]] == [(1, "TRAINING_FAILED")]
        assert f"process {process.pid}" in listed["versions"][0]["message"]
        before = self.complete(workspace)
        assert before

        status, done = ask("train", "p", "--resume")
        assert status == 0, done
        assert done["version"] == 1
        assert [v.number for v in workspace.store.versions("p")] == [1]
        after = self.complete(workspace)
        assert after[: len(before)] == before, "finished trials stay as they are"
        assert len(after) <= 4
        assert len({repr(sorted(params.items())) for _, params, _ in after}) == len(after)
        Predictor.load(workspace.bundle_dir("p", 1))
        (job,) = workspace.store.jobs(project="p")
        assert (job.status, job.attempts) == (JobStatus.SUCCEEDED, 2)

    def test_killed_in_one_stage_after_the_other(self, workspace: Workspace, ask: Any, tmp_path: Path) -> None:
        """At most the running trial is lost, the same folds go on, and MLflow shows the training once."""
        (tmp_path / "own.yaml").write_text(json.dumps(CHEAP))
        argv = ["--budget", "20h", "--trials", "3", "--space", str(tmp_path / "own.yaml")]
        before: dict[tuple[str, int], Any] = {}
        for attempt, stage in enumerate(["heads", "fine-tuning", "export", "evaluation", "report", "tracking"], 1):
            self.kill_in(workspace, self.start(tmp_path, *argv), stage, attempt)
            argv = ["--resume"]
            after = self.scored(workspace)
            assert {number: after[number] for number in before} == before
            before = after
        assert before
        status, done = ask("train", "p", "--resume")
        assert status == 0, done
        assert done["version"] == 1
        after = self.scored(workspace)
        assert {number: after[number] for number in before} == before
        assert recorded(workspace) == [("version 1", "FINISHED")]
        Predictor.load(workspace.bundle_dir("p", 1))

    def kill_in(self, workspace: Workspace, process: subprocess.Popen[str], stage: str, attempt: int) -> None:
        def reached() -> bool:
            (job,) = workspace.store.jobs(project="p") or [None]
            return bool(job and job.attempts == attempt and job.progress.get("stage") in STAGES[STAGES.index(stage) :])

        try:
            until(lambda: reached() or process.poll() is not None, within_s=900)
            if stage == "tracking":  # its run exists, and is not finished
                until(lambda: recorded(workspace) or process.poll() is not None, within_s=900)
            assert process.poll() is None, stage
        finally:
            process.kill()
            process.communicate()

    def scored(self, workspace: Workspace) -> dict[tuple[str, int], Any]:
        """Every finished trial of any kind: parameters, value, when it began."""
        kept, found = storage(workspace.version_dir("p", 1) / "study" / "journal.log"), {}
        for study in kept.get_all_studies():
            for trial in kept.get_all_trials(study._study_id):
                if trial.state.name == "COMPLETE":
                    found[study.study_name, trial.number] = (trial.params, trial.value, trial.datetime_start)
        return found

    def test_one_seed_one_result(self, workspace: Workspace) -> None:
        """Two trainings that are ended by their trials give the same network."""
        found = []
        for number in (1, 2):
            version = launch.launch(workspace, "p", Options(72_000.0, 2, 7, space=CHEAP), show=lambda _: None)
            weights = workspace.bundle_dir("p", number) / "model.bin"
            told = {key: version.details[key] for key in ("params", "metrics", "intervals", "thresholds", "trials")}
            found.append((told, hashlib.sha256(weights.read_bytes()).hexdigest()))
        assert found[0] == found[1]

    def complete(self, workspace: Workspace) -> list[tuple[int, dict[str, Any], float]]:
        journal = workspace.version_dir("p", 1) / "study" / "journal.log"
        choices = studies.choices_of(journal, "frozen")
        assert choices is not None
        study = studies.open_study(journal, load("classification")["frozen"].narrowed(**choices), seed=0)
        return [(r.number, r.params, r.started_at) for r in studies.records(study) if r.state == "complete"]

    def test_cancelled(self, workspace: Workspace, ask: Any, tmp_path: Path) -> None:
        process = self.start(tmp_path, "--budget", "10m")
        try:
            until(lambda: any(j.progress for j in workspace.store.jobs(project="p")) or process.poll() is not None)
            (job,) = workspace.store.jobs(project="p")
            assert ask("jobs", "cancel", str(job.id))[0] == 0
            printed, _ = process.communicate(timeout=120)
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == 1
        assert json.loads(printed)["error"]["code"] == "JobCancelled"
        assert workspace.store.job(job.id).status is JobStatus.CANCELLED
        version = workspace.store.version("p", 1)
        assert version.status is VersionStatus.TRAINING_FAILED
        assert "cancelled" in version.status_message
        assert not workspace.bundle_dir("p", 1).exists()
