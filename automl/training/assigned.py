"""From a `train` job to what its search is asked to do: the same in the process that leads it and in every worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from tenshot.automl.search.place import Place, resolved
from tenshot.automl.training.learn import Assignment, Progress
from tenshot.automl.training.options import Options
from tenshot.datasets import snapshots
from tenshot.datasets.doctor import near_duplicate_groups
from tenshot.datasets.images import ImageStore

if TYPE_CHECKING:
    from tenshot.automl.search.budget import Budget
    from tenshot.datasets.annotations import Entry
    from tenshot.projects.records import DatasetVersion, Job
    from tenshot.projects.workspace import Workspace


def dataset_of(workspace: Workspace, job: Job) -> DatasetVersion:
    """The dataset version that the job was created for. Raises DatasetNotFound."""
    return workspace.store.dataset_version(job.project, job.payload["dataset_version"])


def training_entries(workspace: Workspace, dataset: DatasetVersion) -> list[Entry]:
    """Labeled training images."""
    return [e for e in snapshots.entries(workspace, dataset, split="train") if e.labeled]


def labels_of(train: list[Entry]) -> tuple[str, ...]:
    return tuple(sorted({name for e in train for name in (*e.labels, *(b.label for b in e.boxes))}))


def assigned(
    workspace: Workspace, job: Job, train: list[Entry], *, budget: Budget, progress: Progress,
    check: Callable[[], None],
) -> Assignment:  # fmt: skip
    options, training = Options.from_payload(job.payload), workspace.settings.training
    return Assignment(
        workspace=workspace,
        task=workspace.store.project(job.project).task,
        entries=train,
        labels=labels_of(train),
        groups=near_duplicate_groups(workspace, train),
        load=ImageStore(workspace.images).load,
        budget=budget,
        trials=options.trials or training.trials,
        seed=options.seed,
        threads=training.threads or os.cpu_count() or 1,
        place=place_of_job(workspace, job),
        base=options.base,
        space=options.space,
        progress=progress,
        check=check,
    )


def place_of_job(workspace: Workspace, job: Job) -> Place:
    """Where the studies of the job's version lie. In a database their names say when the job was made, too: the name
    and number of a deleted project's version may come again, and so may those of another workspace."""
    number, settings = int(job.version or 0), workspace.settings
    return Place(
        journal=workspace.version_dir(job.project, number) / "study" / "journal.log",
        url=resolved(settings.training.storage_url, workspace.home),
        prefix=f"{job.project}/{number}-{int(job.created_at * 1000):x}",
        beat_s=settings.jobs.heartbeat_s,
        stale_after_s=settings.jobs.stale_after_s,
    )
