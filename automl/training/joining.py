"""Taking trials of a training that another process leads: one function a kind of trial, in a table.

join(job: Assignment, stage: Stage) -> None: takes trials until there are none to take.
`job.check` raises StageOver when the stage ends. Kinds without a row are not shared: a trial on frozen features takes
milliseconds, less than sharing it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tenshot.projects.registry import Registry

if TYPE_CHECKING:
    from tenshot.automl.search.sharing import Stage
    from tenshot.automl.training.learn import Assignment

Join = Callable[["Assignment", "Stage"], None]

JOINERS: Registry[Join] = Registry(
    "kind of trial",
    {
        "detection": "tenshot.automl.training.joining:detection",
        "finetune": "tenshot.automl.training.joining:finetune",
    },
)


def finetune(job: Assignment, stage: Stage) -> None:
    import torch

    from tenshot.automl.search.classification import Search
    from tenshot.automl.training.learn import learning

    torch.set_num_threads(job.threads)
    Search(
        job.workspace,
        learning(job),
        task=str(job.task),
        own_space=job.space,
        base=job.base,
        budget=job.budget,
        trials=stage.trials,
        seed=stage.seed,
        journal=job.place,
        progress=job.progress,
        check=job.check,
    ).join(stage)


def detection(job: Assignment, stage: Stage) -> None:
    from tenshot.automl.base import adopted
    from tenshot.automl.search.detection import join
    from tenshot.automl.search.detection_narrowing import narrowed_detection
    from tenshot.automl.training.learn import DETECTOR_BASE, examples, family_name, second_network

    base = job.base or DETECTOR_BASE
    join(
        examples(job),
        job.labels,
        weights=adopted.ensure(job.workspace, base),
        stage=stage,
        place=job.place,
        check=job.check,
        threads=job.threads,
        rules=narrowed_detection(job.space),
        family=family_name(base),
        second=second_network(job),
    )
