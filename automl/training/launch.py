"""Starting a training: a version, a job for it, and this process to run it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenshot.automl.base import adopted
from tenshot.automl.search import narrowing
from tenshot.automl.training.learn import Progress
from tenshot.automl.training.options import Options
from tenshot.projects import clock, extras, jobs
from tenshot.projects.errors import JobCancelled, JobNotFound, TrainingError
from tenshot.projects.status import JobStatus, Task, VersionStatus

if TYPE_CHECKING:
    from tenshot.projects.records import Job, ModelVersion
    from tenshot.projects.workspace import Workspace

KIND = "train"


def launch(
    workspace: Workspace, project: str, options: Options, *, resume: bool = False, space_file: Path | None = None,
    show: Progress, notice: Callable[[str], None] = lambda _: None,
) -> ModelVersion:  # fmt: skip
    """Train in this process and return the trained version. `resume` goes on with the last training that did not
    finish, with the options that it began with. space_file, notice: see `enqueue`.

    Raises MissingDependencyError before anything is created, ProjectNotFound, DatasetNotFound, SettingsError,
    TrainingError (with the reason), JobCancelled.
    """
    extras.require("train")
    jobs.reap(workspace, clock.now())
    job = _left_behind(workspace, project) if resume else enqueue(workspace, project, options, space_file, notice)
    finished = run(workspace, job.id, show)
    if finished is None:
        raise TrainingError(f"job {job.id} was taken by another process", hint="see: tenshot jobs list")
    if finished.status is not JobStatus.SUCCEEDED:
        kind = JobCancelled if finished.status is JobStatus.CANCELLED else TrainingError
        raise kind(finished.message, hint=f"once mended, go on with: tenshot train {project} --resume")
    return workspace.store.version(project, int(finished.version or 0))


def enqueue(
    workspace: Workspace, project: str, options: Options, space_file: Path | None = None,
    notice: Callable[[str], None] = lambda _: None,
) -> Job:  # fmt: skip
    """A new version of the newest dataset, and a queued job for it.

    space_file: the user's own search space; None: the workspace's for this task, if it has one. notice gets a line
    where `options.base` has to be fetched. Raises ProjectNotFound, DatasetNotFound, SettingsError, and where the base
    cannot be had UnknownNameError, UsageError, WeightsError; nothing is created then.
    """
    store, at = workspace.store, clock.now()
    dataset, task = store.dataset_version(project), str(store.project(project).task)
    if options.space:
        narrowing.check(task, options.space, "search space")
    space = options.space or narrowing.own_space(workspace, task, space_file)
    if options.base:
        extras.require("train")
        options = replace(options, base=adopted.adopt(workspace, options.base, Task(task), notice).name)
    whole = replace(options, trials=options.trials or workspace.settings.training.trials, space=space)
    payload = {**whole.to_payload(), "dataset_version": dataset.number}
    return store.enqueue_training(project, dataset_version=dataset.number, payload=payload, at=at)


def run(workspace: Workspace, job_id: int | None, show: Progress) -> Job | None:
    """Run one training job; None if there was none to claim."""
    settle_threads()
    from tenshot.automl.training.run import train

    return jobs.run_job(workspace, job_id, [KIND], {KIND: lambda context: train(context, show)})


def settle_threads() -> None:
    """Torch's idle threads give their core to others instead of spinning on it, which matters on a shared machine. Read
    when OpenMP is loaded, so it has to be called before torch is imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _left_behind(workspace: Workspace, project: str) -> Job:
    """The newest training that did not finish, queued again with the budget, trials and seed that it was given. Its
    search goes on from its journal."""
    store, at = workspace.store, clock.now()
    store.project(project)
    open_ = (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.QUEUED)
    for job in store.jobs(project=project, statuses=open_):
        if job.kind != KIND or job.version is None:
            continue
        if store.version(project, job.version).status is VersionStatus.TRAINING_FAILED:
            store.advance_version(project, job.version, VersionStatus.TRAINING_IN_PROGRESS, message="resumed", at=at)
        return job if job.status is JobStatus.QUEUED else store.requeue(job.id, at=at)
    raise JobNotFound(
        f"project {project!r} has no training that could go on", hint=f"start one: tenshot train {project}"
    )


def queued_document(job: Job) -> dict[str, Any]:
    """What `train --queue --json` prints."""
    return {"job": job.id, "project": job.project, "version": job.version, "status": str(job.status)}


def document(version: ModelVersion) -> dict[str, Any]:
    """What `train --json` prints."""
    found = version.details
    shown = ("metrics", "intervals", "thresholds")
    return {
        "project": version.project,
        "version": version.number,
        **{key: found.get(key, {}) for key in shown},
        "seconds": found.get("seconds", 0.0),
        "trials": found.get("trials", 0),
        "primary": found.get("primary"),
        "measured_on": found.get("measured_on"),
        "images": found.get("images"),
        "unproven": found.get("unproven", []),
        "params": found.get("params", {}),
        "warnings": found.get("warnings", []),
        "review": found.get("review", {}),
    }
