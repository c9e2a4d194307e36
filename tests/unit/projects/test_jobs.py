"""Jobs, with real processes that are really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tenshot.projects import jobs
from tenshot.projects.errors import EmptyDataError, IllegalTransition, JobCancelled
from tenshot.projects.jobs import JobContext, reap, run_job
from tenshot.projects.processes import ProcessId
from tenshot.projects.records import Job
from tenshot.projects.status import JobStatus, Task, VersionStatus
from tenshot.projects.workspace import Workspace

CHILD = Path(__file__).with_name("job_process.py")


@pytest.fixture
def workspace(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """With a fast heartbeat, a project and a version that waits to be trained."""
    monkeypatch.setenv("TENSHOT_JOBS__HEARTBEAT_S", "0.05")
    workspace.store.create_project("p", Task.CLASSIFICATION, at=1.0)
    workspace.store.create_version("p", dataset_version=1, at=1.0)
    return workspace


@pytest.fixture
def queued(workspace: Workspace) -> Job:
    return workspace.store.enqueue("train", "p", version=1, at=1.0)


def until(condition: Callable[[], object], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.02)


def run(workspace: Workspace, handler: Callable[[JobContext], None]) -> Job:
    done = run_job(workspace, None, ["train"], {"train": handler})
    assert done is not None
    return done


def nothing(_context: JobContext) -> None:
    return


@pytest.fixture
def worker(workspace: Workspace, queued: Job) -> Iterator[subprocess.Popen[str]]:
    """Another process that has claimed the job and is at work."""
    process = subprocess.Popen([sys.executable, str(CHILD), "run"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        until(lambda: workspace.store.job(queued.id).progress)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_nothing_to_do(workspace: Workspace) -> None:
    assert run_job(workspace, None, ["train"], {"train": nothing}) is None


def test_succeeds(workspace: Workspace, queued: Job) -> None:
    seen = []
    done = run(workspace, lambda context: seen.append(context.job))
    assert (done.id, done.status, done.message) == (queued.id, JobStatus.SUCCEEDED, "")
    assert seen[0].status is JobStatus.RUNNING
    assert ProcessId.parse(seen[0].owner) is not None


def test_runs_the_job_that_was_asked_for(workspace: Workspace, queued: Job) -> None:
    second = workspace.store.enqueue("train", "p", at=2.0)
    done = run_job(workspace, second.id, ["train"], {"train": nothing})
    assert done is not None
    assert done.id == second.id
    assert workspace.store.job(queued.id).status is JobStatus.QUEUED


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        pytest.param(EmptyDataError("no images"), JobStatus.FAILED, "EmptyDataError: no images", id="ours"),
        pytest.param(KeyError("x"), JobStatus.FAILED, "KeyError: 'x'", id="not ours"),
        pytest.param(JobCancelled("stopped"), JobStatus.CANCELLED, "stopped", id="cancelled"),
    ],
)
def test_what_a_handler_raises(
    workspace: Workspace, queued: Job, error: Exception, status: JobStatus, message: str
) -> None:
    def handler(_context: JobContext) -> None:
        raise error

    done = run(workspace, handler)
    assert (done.status, done.message) == (status, message)
    version = workspace.store.version("p", 1)
    assert (version.status, version.status_message) == (VersionStatus.TRAINING_FAILED, message)


def test_interrupt_goes_on_after_the_job_is_ended(workspace: Workspace, queued: Job) -> None:
    def handler(_context: JobContext) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(workspace, handler)
    done = workspace.store.job(queued.id)
    assert (done.status, done.message) == (JobStatus.FAILED, "interrupted")


def test_heartbeats_carry_progress(workspace: Workspace, queued: Job) -> None:
    def handler(context: JobContext) -> None:
        began = context.job.heartbeat_at or 0.0
        context.progress({"trial": 1})
        until(lambda: workspace.store.job(queued.id).progress == {"trial": 1})
        until(lambda: (workspace.store.job(queued.id).heartbeat_at or 0.0) > began + 0.1)
        context.progress({"trial": 2})

    assert run(workspace, handler).progress == {"trial": 2}


def test_cancel_reaches_the_handler(workspace: Workspace, queued: Job) -> None:
    def handler(context: JobContext) -> None:
        context.check()
        jobs.cancel(workspace, queued.id, at=time.time())
        until(lambda: context.check())

    done = run(workspace, handler)
    assert done.status is JobStatus.CANCELLED
    assert "cancelled" in done.message


def test_job_taken_over_is_left_alone(workspace: Workspace, queued: Job) -> None:
    def handler(context: JobContext) -> None:
        workspace.store.requeue(queued.id, at=5.0)
        assert workspace.store.claim("other:1:1", kinds=["train"], at=6.0)
        until(lambda: context.check())

    done = run(workspace, handler)
    assert (done.status, done.owner) == (JobStatus.RUNNING, "other:1:1")


def test_training_is_metered(workspace: Workspace, queued: Job) -> None:
    run(workspace, lambda context: until(lambda: workspace.store.open_meters()[0].quantity > 0.1))
    (used,) = workspace.store.usage()
    assert (used.unit, used.project, used.version, used.operation) == ("training_second", "p", 1, "train")
    assert used.quantity == pytest.approx(used.end - used.start)
    assert 0.1 < used.quantity < 20
    assert workspace.store.open_meters() == []


@pytest.mark.parametrize(
    ("error", "billed"),
    [
        pytest.param(None, True, id="done"),
        pytest.param(ValueError("no"), False, id="failed"),
        pytest.param(JobCancelled("no"), False, id="cancelled"),
    ],
)
def test_only_what_succeeds_is_billed(workspace: Workspace, queued: Job, error: Exception | None, billed: bool) -> None:
    def handler(_: JobContext) -> None:
        if error:
            raise error

    run(workspace, handler)
    assert [used.billed for used in workspace.store.usage()] == [billed]


def test_import_is_not_metered(workspace: Workspace) -> None:
    workspace.store.enqueue("import", "p", at=1.0)
    run_job(workspace, None, ["import"], {"import": nothing})
    assert workspace.store.usage() == []


class TestReap:
    def test_killed_process(self, workspace: Workspace, queued: Job, worker: subprocess.Popen[str]) -> None:
        assert reap(workspace, time.time()) == []
        os.kill(worker.pid, signal.SIGKILL)
        # Not waited for: to the process table it is a zombie, as it is when its parent is busy.
        until(lambda: reap(workspace, time.time()))
        dead = workspace.store.job(queued.id)
        assert dead.status is JobStatus.FAILED
        assert f"process {worker.pid}" in dead.message
        assert workspace.store.version("p", 1).status is VersionStatus.TRAINING_FAILED
        assert workspace.store.version("p", 1).status_message == dead.message

    def test_killed_process_is_metered_to_its_last_beat(
        self, workspace: Workspace, queued: Job, worker: subprocess.Popen[str]
    ) -> None:
        until(lambda: workspace.store.open_meters()[0].quantity > 0.1)
        worker.kill()
        worker.wait()
        last_beat = workspace.store.job(queued.id).heartbeat_at
        reap(workspace, time.time() + 3600)
        (used,) = workspace.store.usage()
        assert used.end == pytest.approx(last_beat, abs=5.0)  # the two are not written in one transaction
        assert 0.1 < used.quantity < 30
        assert not used.billed

    def test_killed_job_can_be_taken_up(self, workspace: Workspace, queued: Job, worker: subprocess.Popen[str]) -> None:
        worker.kill()
        worker.wait()
        reap(workspace, time.time())
        workspace.store.advance_version("p", 1, VersionStatus.TRAINING_IN_PROGRESS, at=time.time())
        workspace.store.requeue(queued.id, at=time.time())
        done = run(workspace, nothing)
        assert (done.id, done.status, done.attempts) == (queued.id, JobStatus.SUCCEEDED, 2)
        assert len(workspace.store.usage()) == 2

    def test_living_process_is_left_alone_however_late(
        self, workspace: Workspace, queued: Job, worker: subprocess.Popen[str]
    ) -> None:
        assert worker.poll() is None
        assert reap(workspace, time.time() + 3600) == []

    @pytest.mark.parametrize(
        ("owner", "silent_s", "dead"),
        [
            pytest.param("elsewhere:1:1.0", 14.0, False, id="another host, in time"),
            pytest.param("elsewhere:1:1.0", 16.0, True, id="another host, silent"),
            pytest.param("?", 14.0, False, id="unknown, in time"),
            pytest.param("?", 16.0, True, id="unknown, silent"),
            pytest.param(str(ProcessId.own()), 16.0, False, id="this process"),
            pytest.param(str(ProcessId(ProcessId.own().host, os.getpid(), 5.0)), 0.0, True, id="reused pid"),
            pytest.param(str(ProcessId(ProcessId.own().host, 2**22 + 1, 5.0)), 0.0, True, id="no such pid"),
        ],
    )
    def test_who_is_dead(self, workspace: Workspace, queued: Job, owner: str, silent_s: float, dead: bool) -> None:
        workspace.store.claim(owner, kinds=["train"], at=100.0)
        assert bool(reap(workspace, 100.0 + silent_s)) is dead

    def test_dead_after_its_work_was_done(self, workspace: Workspace, queued: Job) -> None:
        workspace.store.claim("elsewhere:1:1.0", kinds=["train"], at=100.0)
        workspace.store.advance_version("p", 1, VersionStatus.TRAINING_COMPLETED, at=101.0)
        (job,) = reap(workspace, 200.0)
        assert job.status is JobStatus.SUCCEEDED

    def test_cancel_of_a_dead_one_says_so(self, workspace: Workspace, queued: Job) -> None:
        workspace.store.claim("elsewhere:1:1.0", kinds=["train"], at=100.0)
        with pytest.raises(IllegalTransition, match="FAILED"):
            jobs.cancel(workspace, queued.id, at=200.0)


@pytest.mark.parametrize("text", ["", "host", "host:1", "host:a:1.0", "host:1:"])
def test_no_process_id(text: str) -> None:
    assert ProcessId.parse(text) is None


def test_process_id_round_trip() -> None:
    own = ProcessId.own()
    assert own.alive()
    again = ProcessId.parse(str(own))
    assert again is not None
    assert again.alive()


def test_debug_shows_where_a_job_failed(workspace: Workspace, queued: Job, caplog: pytest.LogCaptureFixture) -> None:
    def handler(_context: JobContext) -> None:
        raise KeyError("x")

    with caplog.at_level("DEBUG", logger="tenshot"):
        run(workspace, handler)
    assert "in handler" in caplog.text
