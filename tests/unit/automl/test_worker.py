"""What a worker takes, and what it leaves alone. Real processes and trainings: tests/e2e/test_workers.py."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tenshot.automl.search import owners, sharing
from tenshot.automl.search.sharing import Stage
from tenshot.automl.training import launch, worker
from tenshot.automl.training.assigned import place_of_job
from tenshot.projects.errors import JobCancelled
from tenshot.projects.processes import ProcessId
from tenshot.projects.status import JobStatus, Task
from tenshot.projects.workspace import Workspace

LIVING = str(ProcessId.of(os.getppid()))
DEAD = LIVING.replace(f":{os.getppid()}:", ":4000000:")
ELSEWHERE = "elsewhere:1:1.00"


def running_job(workspace: Workspace, owner: str) -> Any:
    """A `train` job of `p` that `owner` holds."""
    store = workspace.store
    store.create_project("p", Task.CLASSIFICATION, at=1.0)
    store.add_dataset_version("p", snapshot_sha256="0" * 64, parent=None, source="here", stats={}, at=1.0)
    job = store.enqueue_training("p", dataset_version=1, payload={"budget_s": 1.0, "dataset_version": 1}, at=1.0)
    return store.claim(owner, kinds=["train"], job_id=job.id, at=time.time())


def stage(owner: str, kind: str = "finetune") -> Stage:
    return Stage(kind, owner, 0, 5, time.time() + 60, details={"params": {"head": "a"}})


def helper(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, project: str | None = None) -> tuple[Any, list[Any]]:
    found, taken = worker._Worker(workspace, project, lambda _: None), []
    monkeypatch.setattr(found, "_join", lambda job, place, stage: taken.append((job.id, place.journal, stage.kind)))
    return found, taken


@pytest.mark.parametrize(
    ("holder", "leader", "kind", "helps"),
    [
        pytest.param(LIVING, LIVING, "finetune", True, id="fine-tuning"),
        pytest.param(LIVING, LIVING, "detection", True, id="detection"),
        pytest.param(ELSEWHERE, ELSEWHERE, "finetune", True, id="on another host"),
        pytest.param(LIVING, LIVING, "frozen", False, id="not worth sharing"),
        pytest.param(DEAD, DEAD, "finetune", False, id="killed leader"),
        pytest.param(LIVING, DEAD, "finetune", False, id="stage of the leader before"),
        pytest.param(LIVING, None, "finetune", False, id="no stage"),
    ],
)
def test_takes_trials(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, holder: str, leader: str | None, kind: str, helps: bool
) -> None:
    job = running_job(workspace, holder)
    place = place_of_job(workspace, job)
    place.folder.mkdir(parents=True)
    found, taken = helper(workspace, monkeypatch)
    with ExitStack() as stack:
        if leader:
            stack.enter_context(sharing.published(place, stage(leader, kind)))
        assert found._help() is helps
        assert taken == ([(job.id, place.journal, kind)] if helps else [])
        assert found._help() is False, "once a stage"
    assert not (place.folder / sharing.FILE).exists()


def test_other_projects_are_left_alone(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    job = running_job(workspace, LIVING)
    workspace.store.create_project("other", Task.CLASSIFICATION, at=1.0)
    place = place_of_job(workspace, job)
    place.folder.mkdir(parents=True)
    found, taken = helper(workspace, monkeypatch, project="other")
    with sharing.published(place, stage(LIVING)):
        assert found._help() is False
    assert taken == []


def test_the_stage_is_watched(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker stops when the stage ends, when its job ends, and when it is told to."""
    from threading import Event

    from tenshot.automl.search.study import StageOver

    monkeypatch.setattr(worker, "POLL_S", 0.01)
    job = running_job(workspace, LIVING)
    place = place_of_job(workspace, job)
    place.folder.mkdir(parents=True)

    def ends(watch: worker._Watch) -> bool:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                watch.check()
            except StageOver:
                return True
            Event().wait(0.01)
        return False

    mine, told = stage(LIVING), Event()
    with sharing.published(place, mine):
        stopped = worker._Watch(workspace, job, place, mine, told)
        with stopped:
            stopped.check()
            told.set()
            with pytest.raises(JobCancelled):
                stopped.check()
    after = worker._Watch(workspace, job, place, mine, Event())
    with after:
        assert ends(after), "the stage is closed"
    with sharing.published(place, mine):
        ended = worker._Watch(workspace, job, place, mine, Event())
        workspace.store.finish(job.id, str(job.lock_token), JobStatus.FAILED, at=time.time())
        with ended:
            assert ends(ended), "the job is over"


def test_half_a_stage_is_none(tmp_path: Path) -> None:
    from tenshot.automl.search.place import Place

    place = Place(tmp_path / "journal.log")
    for text in ("", "{", "[]", '{"kind": "finetune"}'):
        (tmp_path / sharing.FILE).write_text(text)
        assert sharing.current(place) is None


def test_a_stage_is_read_as_it_was_written(tmp_path: Path) -> None:
    from tenshot.automl.search.place import Place

    place, mine = Place(tmp_path / "journal.log"), stage(owners.own())
    with sharing.published(place, mine):
        assert sharing.current(place) == mine
        assert sharing.is_open(place, mine)
    assert not sharing.is_open(place, mine)


def test_studies_of_two_trainings_never_meet(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a database their names hold the project, the version and when the job was made."""
    monkeypatch.setenv("TENSHOT_TRAINING__STORAGE_URL", "sqlite:///studies.db")
    job = running_job(workspace, LIVING)
    place = place_of_job(workspace, job)
    assert place.name("finetune") == "p/1-3e8/finetune"
    assert place.url == f"sqlite:///{workspace.home}/studies.db", "wherever the process works"


def test_nothing_to_do(workspace: Workspace, ask: Any) -> None:
    assert ask("worker", "--once") == (0, {"trainings": [], "trials": 0, "interrupted": False})
    status, document = ask("worker", "--once", "--project", "nobody")
    assert status == 1
    assert document["error"]["code"] == "ProjectNotFound"


def test_queued(workspace: Workspace, ask: Any, tmp_path: Path) -> None:
    running_job(workspace, LIVING)
    own = tmp_path / "own.yaml"
    own.write_text(json.dumps({"finetune": False}))
    status, document = ask("train", "p", "--queue", "--trials", "3", "--space", str(own))
    assert (status, document) == (0, {"job": 2, "project": "p", "version": 2, "status": "QUEUED"})
    job = workspace.store.job(2)
    assert (job.kind, job.payload["trials"], job.payload["space"]) == (launch.KIND, 3, {"finetune": False})
    assert ask("train", "p", "--queue", "--resume")[0] == 2
