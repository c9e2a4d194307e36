"""A worker: works off queued trainings, and else takes trials of trainings that other processes lead."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tenshot.automl.search import owners, sharing
from tenshot.automl.training import launch
from tenshot.projects import clock, extras, jobs
from tenshot.projects.errors import JobCancelled, StoreError, TenshotError
from tenshot.projects.status import JobStatus

if TYPE_CHECKING:
    from tenshot.automl.search.place import Place
    from tenshot.automl.search.sharing import Stage
    from tenshot.projects.records import Job
    from tenshot.projects.workspace import Workspace

log = logging.getLogger("tenshot.worker")
Notice = Callable[[str], None]

POLL_S = 1.0
"""Between two looks for something to do."""


@dataclass
class Done:
    trainings: list[dict[str, Any]] = field(default_factory=list)
    """`{"job", "project", "version", "status", "message"}` of each that this worker led."""
    trials: int = 0
    """Of other processes' trainings that this worker finished."""
    interrupted: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"trainings": self.trainings, "trials": self.trials, "interrupted": self.interrupted}


def work(workspace: Workspace, *, project: str | None = None, once: bool = False, notice: Notice) -> Done:
    """Work until Ctrl-C or SIGTERM, or, with `once`, until there is nothing to do.

    An interrupted trial fails and is tried again by another process; an interrupted training of its own fails as
    `tenshot train` does. Raises MissingDependencyError, ProjectNotFound, StoreError.
    """
    extras.require("train")
    launch.settle_threads()
    if project is not None:
        workspace.store.project(project)
    worker = _Worker(workspace, project, notice)
    with worker.listening():
        try:
            worker.run(once)
        except KeyboardInterrupt:
            worker.done.interrupted = True
    return worker.done


class _Worker:
    def __init__(self, workspace: Workspace, project: str | None, notice: Notice) -> None:
        self.workspace = workspace
        self.project = project
        self.notice = notice
        self.done = Done()
        self.stop = threading.Event()
        self.helping = False
        self.left: set[tuple[int, float]] = set()
        """Stages (job, end) that had nothing to take, or not for this process."""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """A signal ends a trial of another's training at its next step, and anything else at once."""

        def stop(*_: object) -> None:
            again = self.stop.is_set()
            self.stop.set()
            if again or not self.helping:
                raise KeyboardInterrupt

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def run(self, once: bool) -> None:
        while not self.stop.is_set():
            jobs.reap(self.workspace, clock.now())
            if self._train() or self._help():
                continue
            if once:
                return
            self.stop.wait(POLL_S)
        self.done.interrupted = True

    # Trainings of its own -----------------------------------------------------------------------------------------

    def _train(self) -> bool:
        """Take the oldest queued training, if there is one."""
        queued = self.workspace.store.jobs(project=self.project, statuses=[JobStatus.QUEUED])
        for job in sorted((j for j in queued if j.kind == launch.KIND), key=lambda j: j.id):
            self.notice(f"training {job.project}@{job.version} (job {job.id})")
            finished = launch.run(self.workspace, job.id, lambda _: None)
            if finished is not None:  # else another worker was faster
                self._note(finished)
                return True
        return False

    def _note(self, job: Job) -> None:
        row = {"job": job.id, "project": job.project, "version": job.version}
        self.done.trainings.append({**row, "status": str(job.status), "message": job.message})
        self.notice(f"{job.project}@{job.version}: {job.status} {job.message}".rstrip())

    # Trials of others' trainings ----------------------------------------------------------------------------------

    def _help(self) -> bool:
        """Take trials of a training that another process leads, if one has some to take."""
        from tenshot.automl.training.assigned import place_of_job
        from tenshot.automl.training.joining import JOINERS

        for job in self.workspace.store.jobs(project=self.project, statuses=[JobStatus.RUNNING]):
            if job.kind != launch.KIND or job.version is None:
                continue
            place = place_of_job(self.workspace, job)
            stage = sharing.current(place)
            if stage is None or stage.kind not in JOINERS or (job.id, stage.ends_at) in self.left:
                continue
            # A stage of a process that was killed is still there until the training goes on.
            if stage.owner == job.owner != owners.own() and sharing.is_open(place, stage):
                self.left.add((job.id, stage.ends_at))
                self._join(job, place, stage)
                return True
        return False

    def _join(self, job: Job, place: Place, stage: Stage) -> None:
        from tenshot.automl.search import study as studies

        self.notice(f"taking trials of {job.project}@{job.version} ({stage.kind})")
        watch = _Watch(self.workspace, job, place, stage, self.stop)
        before = _taken(place, stage)
        self.helping = True
        try:
            with owners.beating(place), watch:
                self._take(job, stage, watch.check)
        except studies.StageOver:
            pass
        except JobCancelled as error:
            log.debug("stopped: %s", error.message)
        except Exception as error:  # of this process: the leader and others go on
            log.debug("trials of %s@%s", job.project, job.version, exc_info=True)
            text = error.message if isinstance(error, TenshotError) else f"{type(error).__name__}: {error}"
            self.notice(f"no more trials of {job.project}@{job.version}: {text}")
        finally:
            self.helping = False
        taken = _taken(place, stage) - before
        self.done.trials += taken
        self.notice(f"finished {taken} trials of {job.project}@{job.version}")

    def _take(self, job: Job, stage: Stage, check: Callable[[], None]) -> None:
        from tenshot.automl.search.budget import Budget
        from tenshot.automl.training.assigned import assigned, dataset_of, training_entries
        from tenshot.automl.training.joining import JOINERS

        train = training_entries(self.workspace, dataset_of(self.workspace, job))
        budget = Budget.start(max(0.0, stage.ends_at - time.time()))
        assignment = assigned(self.workspace, job, train, budget=budget, progress=lambda _: None, check=check)
        JOINERS.get(stage.kind)(assignment, stage)


def _taken(place: Place, stage: Stage) -> int:
    """Trials of the study that this process finished, as far as it can be read."""
    from tenshot.automl.search import study as studies

    with suppress(StoreError, KeyError):
        return studies.taken(place, stage.kind)
    return 0


class _Watch:
    """Looks in a thread of its own whether the stage still runs; `check()` raises once it does not."""

    def __init__(
        self, workspace: Workspace, job: Job, place: Place, stage: Stage, interrupted: threading.Event
    ) -> None:
        self._workspace, self._job, self._place, self._stage = workspace, job, place, stage
        self._interrupted = interrupted
        self._over, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._look, name=f"watch of job {job.id}", daemon=True)

    def check(self) -> None:
        """Raises JobCancelled when this worker is to stop, StageOver when the stage has ended."""
        from tenshot.automl.search.study import StageOver

        if self._interrupted.is_set():
            raise JobCancelled("this worker was stopped")
        if self._over.is_set():
            raise StageOver

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(POLL_S):
            try:
                job = self._workspace.store.job(self._job.id)
                held = job.status is JobStatus.RUNNING and job.lock_token == self._job.lock_token
            except StoreError:
                held = True  # the next look may get through
            except TenshotError:
                held = False
            if not held or not sharing.is_open(self._place, self._stage):
                self._over.set()
                return
