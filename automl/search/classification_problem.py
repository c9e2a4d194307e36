"""What the phases of a search for classifiers share: the images and their folds, spaces, time, and what is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenshot.automl.search import space as spaces
from tenshot.automl.search import study as studies
from tenshot.automl.search.folds import Fold, answerable, fold_count, folds
from tenshot.automl.search.frozen import MOST_VIEWS, Frozen, Learning
from tenshot.automl.search.judging import Score, score
from tenshot.automl.search.rebasing import rebased

if TYPE_CHECKING:
    from torch import nn

    from tenshot.automl.search.budget import Budget
    from tenshot.automl.search.place import Where
    from tenshot.automl.training.trained import Series
    from tenshot.automl.trials import Trial
    from tenshot.projects.workspace import Workspace

Progress = Callable[[Mapping[str, Any]], None]

IMAGES, VIEWS = "images", "views"
"""Attributes of a study: how many images it looks at, and at how many views of each at most."""
BESIDE = "beside"
"""Attribute of a study of fine-tuning: the frozen candidate that its backbone and fitted heads come from."""
FEATURE_SHARE = 0.15
"""Of the budget, for features beyond the default's."""
ENOUGH_TO_COMPARE, ENOUGH_OF_A_LABEL, MOST_TO_COMPARE = 8, 3, 30
"""Images that are held out, in all and for each label on average (up to so many in all); with fewer, cross-validation
tells kinds of candidates apart no better than a coin, and what is better for more images wins by it."""


@dataclass(frozen=True)
class Chosen:
    """A network and what is known about it."""

    network: nn.Module
    backbone: str
    """Or several: `a+b`."""
    size: int
    """Of its input; 0: the backbone's own."""
    params: dict[str, Any]
    found: Score | None
    folds: Sequence[Fold] = ()
    """That it was found on."""

    def share(self, images: int) -> float:
        """Of so many training images, what a model of these folds learned from, on the mean."""
        return float(np.mean([len(train) for train, _ in self.folds])) / images if self.folds else 1.0


class Problem:
    """One search's images, spaces and time."""

    def __init__(
        self, workspace: Workspace, data: Learning, *, task: str, budget: Budget, trials: int, seed: int,
        journal: Where, progress: Progress, check: Callable[[], None], own_space: Mapping[str, Any] | None = None,
        base: str | None = None,
    ) -> None:  # fmt: skip
        self.data = data
        self.budget = budget
        self.trials = trials
        self.seed = seed
        self.journal = journal
        self.progress = progress
        self.check = check
        self.frozen = Frozen(workspace, data, check)
        self.spaces = spaces.load("multilabel" if task == "multilabel" else "classification", own_space)
        if base:
            self.spaces = rebased(self.spaces, self.frozen.extractor(base).backbone())
        self.warnings: list[str] = []
        self.records: list[Trial] = []
        self.curves: list[Series] = []
        self.best_accuracy = 0.0
        self._look_at(data)

    # Images -------------------------------------------------------------------------------------------------------

    def take_images(self) -> None:
        """Those that the budget allows to look at; a continued search takes as many as it did before."""
        before = studies.attributes_of(self.journal, "frozen")
        if IMAGES in before:
            warning = self.restrict(before)
        else:
            backbone, limit = str(self.spaces["frozen"].default["backbone"]), self.budget.until(FEATURE_SHARE)
            warning = self.frozen.narrow(backbone, limit.left, self.seed)
            self._look_at(self.frozen.data)
        self.warnings += [warning] if warning else []

    def restrict(self, seen: Mapping[str, Any]) -> str | None:
        """Look at the images that `seen` tells of; a warning if others are put aside."""
        self.frozen.most_views = int(seen.get(VIEWS, MOST_VIEWS))
        warning = self.frozen.restrict(int(seen[IMAGES]), self.seed)
        self._look_at(self.frozen.data)
        return warning

    @property
    def seen(self) -> dict[str, int]:
        """What another process has to know to look at the same images."""
        return {IMAGES: len(self.data.pictures), VIEWS: self.frozen.most_views}

    def _look_at(self, data: Learning) -> None:
        self.data = data
        self.count = fold_count(np.array(data.strata), np.array(data.groups))

    # Folds --------------------------------------------------------------------------------------------------------

    def folds(self, seed: int, count: int | None = None) -> list[Fold]:
        made = folds(self.data.strata, self.data.groups, count=count or self.count, seed=seed)
        return answerable(made, self.data.truth) if self.data.exclusive else made

    def last_folds(self, count: int | None = None) -> list[Fold]:
        """Those that the winner is scored on, at most `count` of them; none if nothing can be held out."""
        if self.count < 2 or count == 0:
            return []
        return self.folds(self.seed + 1000, count and min(count, self.count))

    def comparable(self) -> bool:
        """Whether enough images can be held out with another of their label left to learn from."""
        enough = max(ENOUGH_TO_COMPARE, min(ENOUGH_OF_A_LABEL * len(self.data.labels), MOST_TO_COMPARE))
        return self.count >= 2 and len(covered(self.folds(self.seed))) >= enough

    # Scores -------------------------------------------------------------------------------------------------------

    def frozen_score(self, params: Mapping[str, Any], own: list[Fold]) -> Score:
        return score(self.data, self.frozen.out_of_fold(dict(params), own), covered(own))

    def report(self, stage: str, study: Any) -> None:
        self.progress({
            "stage": stage,
            "trial": studies.finished(study),
            "trials": self.trials,
            "best": study.best_value,
            "metric": "log loss",
            "accuracy": self.best_accuracy,
            "left_s": self.budget.left,
        })  # fmt: skip


def covered(own: Sequence[Fold]) -> NDArray[np.int64]:
    """Images that one of the folds holds out."""
    return np.unique(np.concatenate([held for _, held in own])) if own else np.zeros(0, np.int64)
