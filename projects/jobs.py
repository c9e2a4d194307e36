"""Jobs: claimed by one process, kept alive by its heartbeat, marked failed by others when that process dies.

A training is metered here, because the heartbeat knows how long it really ran: `training_second` from claim to finish,
or to the last heartbeat if the process was killed. Only one that succeeds is billed; the time of the others is shown.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenshot.projects import clock as clocks
from tenshot.projects.errors import IllegalTransition, JobCancelled, NotFoundError, StoreError, TenshotError
from tenshot.projects.metering.meter import Meter
from tenshot.projects.processes import ProcessId
from tenshot.projects.status import TRAINED, JobStatus

if TYPE_CHECKING:
    from tenshot.projects.clock import Clock
    from tenshot.projects.records import Job
    from tenshot.projects.workspace import Workspace

log = logging.getLogger("tenshot.jobs")

METERED = {"train": "training_second"}
"""Kind of job → the unit that its running time is counted in; the operation is the kind."""


@dataclass(frozen=True)
class JobContext:
    """What a handler gets."""

    workspace: Workspace
    job: Job
    _pulse: Pulse

    def progress(self, values: dict[str, Any]) -> None:
        """Publish how far the work is (JSON values). Written with the next heartbeat: call it as often as you like."""
        self._pulse.progress = values

    def check(self) -> None:
        """Call between steps. Raises JobCancelled once cancelling was asked for or another process took the job."""
        if self._pulse.stop_reason:
            raise JobCancelled(self._pulse.stop_reason)


Handler = Callable[[JobContext], None]


def run_job(
    workspace: Workspace,
    job_id: int | None,
    kinds: Iterable[str],
    handlers: Mapping[str, Handler],
    *,
    clock: Clock = clocks.now,
) -> Job | None:
    """Claim the oldest queued job of these kinds (or `job_id`), run its handler, and return the finished job.

    None if there was nothing to claim. What a handler raises becomes the job's message, `code: message`, and the job
    FAILED, or CANCELLED for JobCancelled; only what is not an Exception (Ctrl-C) is raised again. A version still in
    training when its job fails becomes TRAINING_FAILED.
    """
    store = workspace.store
    job = store.claim(str(ProcessId.own()), kinds=kinds, job_id=job_id, at=clock())
    if job is None:
        return None
    pulse = Pulse(workspace, job, clock)
    outcome, message = JobStatus.FAILED, "interrupted"
    try:
        outcome, message = _run(handlers[job.kind], JobContext(workspace, job, pulse))
    finally:
        pulse.stop(billed=outcome is JobStatus.SUCCEEDED)
        finished = _finish(workspace, job, outcome, message, at=clock())
    return finished


def reap(workspace: Workspace, at: float) -> list[Job]:
    """Mark the running jobs FAILED whose process is dead, and return them.

    On this host the process table decides, at once; of another host, a heartbeat older than `jobs.stale_after_s`.
    """
    found = []
    for job in workspace.store.jobs(statuses=[JobStatus.RUNNING]):
        if reason := _why_dead(job, at, workspace.settings.jobs.stale_after_s):
            outcome, message = _outcome_of_dead(workspace, job, reason)
            found.append(_finish(workspace, job, outcome, message, at=at))
    return found


def cancel(workspace: Workspace, job_id: int, at: float) -> Job:
    """Cancel a queued job at once, ask a running one to stop. Raises JobNotFound, IllegalTransition if it has ended."""
    reap(workspace, at)
    return workspace.store.cancel(job_id, at=at)


def meter_id(job: Job) -> str:
    return f"job-{job.id}-{job.attempts}"


class Pulse:
    """The heartbeat of a job, in a thread of its own until `stop`."""

    def __init__(self, workspace: Workspace, job: Job, clock: Clock) -> None:
        self.progress: dict[str, Any] | None = None
        self.stop_reason = ""
        self._store, self._job, self._clock = workspace.store, job, clock
        self._every_s = workspace.settings.jobs.heartbeat_s
        self._stopped = threading.Event()
        self._meter: Meter | None = None
        if unit := METERED.get(job.kind):
            self._meter = Meter(
                self._store,
                meter_id(job),
                unit=unit,
                project=job.project,
                version=job.version,
                operation=job.kind,
                clock=None if clock is clocks.now else clock,
            )
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat of job {job.id}", daemon=True)
        self._thread.start()

    def stop(self, *, billed: bool) -> None:
        """Returns after the last beat, which carries the last progress, and closes the meter."""
        self._stopped.set()
        self._thread.join()
        self._beat_once()
        if self._meter:
            self._meter.close(billed=billed)

    def _beat(self) -> None:
        while not self._stopped.wait(self._every_s):
            self._beat_once()

    def _beat_once(self) -> None:
        at = self._clock()
        try:
            if not self._store.heartbeat(self._job.id, str(self._job.lock_token), progress=self.progress, at=at):
                self.stop_reason = self.stop_reason or self._why_stopped()
            if self._meter:
                self._meter.beat()
        except (StoreError, NotFoundError) as error:
            # The next beat may get through; until then others see that this process is alive.
            log.warning("no heartbeat for job %s: %s", self._job.id, error)

    def _why_stopped(self) -> str:
        job = self._store.job(self._job.id)
        if job.lock_token == self._job.lock_token and job.cancel_requested:
            return f"job {job.id} was cancelled"
        return f"job {job.id} was taken over by another process"


def _run(handler: Handler, context: JobContext) -> tuple[JobStatus, str]:
    try:
        handler(context)
    except JobCancelled as error:
        return JobStatus.CANCELLED, error.message
    except TenshotError as error:
        log.debug("job %s failed", context.job.id, exc_info=True)
        return JobStatus.FAILED, f"{error.code}: {error.message}"
    except Exception as error:
        log.debug("job %s failed", context.job.id, exc_info=True)
        return JobStatus.FAILED, f"{type(error).__name__}: {error}"
    return JobStatus.SUCCEEDED, ""


def _finish(workspace: Workspace, job: Job, outcome: JobStatus, message: str, *, at: float) -> Job:
    """End the job, and the meter of a process that died: it counts up to the last heartbeat."""
    store = workspace.store
    if job.kind in METERED:
        store.close_meter(meter_id(job), at=None, billed=outcome is JobStatus.SUCCEEDED)
    try:
        return store.finish(job.id, str(job.lock_token), outcome, message=message, at=at)
    except IllegalTransition:
        # Somebody else has it by now, or ended it; theirs is the last word.
        return store.job(job.id)


def _why_dead(job: Job, at: float, stale_after_s: float) -> str:
    """An empty string if the job's process lives, or may live."""
    holder = ProcessId.parse(job.owner)
    alive = holder.alive() if holder else None
    if alive is False and holder is not None:
        return f"its process {holder.pid} on {holder.host} died"
    silent_s = at - (job.heartbeat_at or job.created_at)
    if alive is None and silent_s > stale_after_s:
        return f"no sign of life from {job.owner} for {silent_s:.0f} seconds"
    return ""


def _outcome_of_dead(workspace: Workspace, job: Job, reason: str) -> tuple[JobStatus, str]:
    """A process may die between the end of its work and saying so."""
    if job.version is not None and workspace.store.version(job.project, job.version).status in TRAINED:
        return JobStatus.SUCCEEDED, ""
    return JobStatus.FAILED, reason
