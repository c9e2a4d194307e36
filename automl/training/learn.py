"""From entries of a dataset version to a trained network: one function a task, in a table.

learn(job: Assignment) -> Trained
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tenshot.automl.features import Extractor, Picture
from tenshot.automl.predictor import RGB
from tenshot.automl.search.budget import Budget
from tenshot.automl.search.place import Place
from tenshot.automl.training.trained import Series, Trained
from tenshot.projects.registry import Registry

if TYPE_CHECKING:
    from tenshot.automl.detectors.examples import Example
    from tenshot.automl.search.frozen import Learning
    from tenshot.datasets.annotations import Entry
    from tenshot.projects.status import Task
    from tenshot.projects.workspace import Workspace

Progress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Assignment:
    """What a search is asked to do."""

    workspace: Workspace
    task: Task
    entries: Sequence[Entry]
    """Labeled training images."""
    labels: tuple[str, ...]
    groups: Mapping[str, int]
    """Image → group; images of one group (near duplicates) stay on one side of every split."""
    load: Callable[[str], RGB]
    budget: Budget
    trials: int
    seed: int
    threads: int
    place: Place
    """Where the search's studies lie."""
    progress: Progress
    check: Callable[[], None]
    base: str | None = None
    """See `Options.base`."""
    space: Mapping[str, Any] = field(default_factory=dict)
    """See `Options.space`."""


Learn = Callable[[Assignment], Trained]

LEARNERS: Registry[Learn] = Registry(
    "task",
    {
        "classification": "tenshot.automl.training.learn:classifier",
        "multilabel": "tenshot.automl.training.learn:classifier",
        "detection": "tenshot.automl.training.learn:detector",
    },
)


DETECTOR_BASE = "nudenet_yolov8n"
"""Finds boxes."""
SECOND_BASE = "efficientnet_lite2"
"""Tells their labels apart, where that pays (automl/second_look.py)."""


def learning(job: Assignment) -> Learning:
    """What a classifier learns from."""
    from tenshot.automl.search.frozen import Learning

    index = {name: i for i, name in enumerate(job.labels)}
    truth = np.zeros((len(job.entries), len(index)), np.bool_)
    for row, entry in enumerate(job.entries):
        truth[row, [index[name] for name in entry.labels]] = True
    return Learning(
        pictures=[Picture(entry.image, _loader(job, entry)) for entry in job.entries],
        truth=truth,
        labels=job.labels,
        exclusive=job.task == "classification",
        groups=[job.groups[entry.image] for entry in job.entries],
    )


def classifier(job: Assignment) -> Trained:
    """Raises TrainingError when there is nothing to tell apart."""
    import torch

    from tenshot.automl.search.classification import search

    torch.set_num_threads(job.threads)
    return search(
        job.workspace,
        learning(job),
        task=str(job.task),
        own_space=job.space,
        base=job.base,
        budget=job.budget,
        trials=job.trials,
        seed=job.seed,
        journal=job.place,
        progress=job.progress,
        check=job.check,
    )


def examples(job: Assignment) -> list[Example]:
    """What a detector learns from."""
    from tenshot.automl.detectors.examples import Example

    return [
        Example(
            entry.image,
            _loader(job, entry),
            entry.boxes,
            str(job.groups[entry.image]),
            (entry.height_px, entry.width_px),
        )
        for entry in job.entries
    ]


def detector(job: Assignment) -> Trained:
    """Raises EmptyDataError if no image has a box."""
    from tenshot.automl.base import adopted
    from tenshot.automl.detectors import family_of
    from tenshot.automl.search.detection import search
    from tenshot.automl.search.detection_narrowing import narrowed_detection

    base = job.base or DETECTOR_BASE
    found = search(
        examples(job),
        job.labels,
        weights=adopted.ensure(job.workspace, base),
        budget_s=max(1.0, job.budget.left),
        left=lambda: job.budget.left,
        trials=job.trials,
        seed=job.seed,
        journal=job.place,
        progress=job.progress,
        check=job.check,
        threads=job.threads,
        rules=narrowed_detection(job.space),
        family=family_name(base),
        second=second_network(job),
    )
    family = family_of(family_name(base))
    side = found.input_px

    def export(directory: Path) -> None:
        family.export(found.detector, directory, (side, side))
        if found.second:
            found.second.export(directory)

    return Trained(
        labels=job.labels,
        base=f"{base}+{SECOND_BASE}" if found.second else base,
        input=family.input_spec(side),
        suppression=found.suppression,
        oof=found.outcome,
        oof_share=1 - 1 / found.folds if found.folds else 1.0,
        network=family.network(found.detector),
        export=export,
        params=found.recipe.to_json(),
        objective="cross-validated mAP50",
        trials=list(found.trials),
        curves=_losses(found.history),
        warnings=list(found.warnings),
        second=found.second.look(range(len(job.entries))) if found.second else None,
    )


def second_network(job: Assignment) -> Callable[[], Extractor]:
    """The backbone that may look at a detector's boxes again; read when it is wanted."""
    return lambda: Extractor(job.workspace, SECOND_BASE, "stretch")


def family_name(base: str) -> str:
    """Of a detector's base: published weights are a family each."""
    return base if ":" in base else "yolov8n"


def _loader(job: Assignment, entry: Entry) -> Callable[[], RGB]:
    return lambda: job.load(entry.image)


def _losses(history: Sequence[Mapping[str, float]]) -> list[Series]:
    names = [name for name in (history[0] if history else {}) if name != "epoch"]
    return [Series(name, [(row["epoch"], row[name]) for row in history]) for name in names]
