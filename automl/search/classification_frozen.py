"""The first phase of a search for classifiers: heads on frozen features, where a trial takes milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from tenshot.automl.heads import Floats
from tenshot.automl.search import study as studies
from tenshot.automl.search.classification_problem import BESIDE, FEATURE_SHARE, Chosen, Problem, covered
from tenshot.automl.search.folds import Fold
from tenshot.automl.search.frozen import backbone_of, members
from tenshot.automl.search.judging import clearly_better
from tenshot.projects.errors import WeightsError

if TYPE_CHECKING:
    from tenshot.automl.search.budget import Budget
    from tenshot.automl.search.space import Space

FROZEN_SHARE = 0.28
RESCORED_SHARE = 0.33
RESCORED = 5
FRESH_REPEATS = 2
SMALL = 60
"""Up to so many images, a trial is scored on three repeats of its folds instead of one."""


class FrozenPhase:
    """`run()` finds the best head; `first_usable` is for searches that cannot compare any."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._trial_s: list[float] = []

    def run(self) -> dict[str, Any]:
        """The head that later phases are compared with; a continued search that tuned beside one already keeps it."""
        problem = self.problem
        before = studies.choices_of(problem.journal, "frozen")
        beside = studies.attributes_of(problem.journal, "finetune").get(BESIDE)
        space = problem.spaces["frozen"]
        space = space.narrowed(**before) if before else self._affordable(space)
        study = studies.open_study(problem.journal, space, seed=problem.seed, attributes=problem.seen)
        if beside is None:
            self._try(study, space)
        problem.records += studies.records(study)
        return dict(beside) if beside else self._rescored(study, [dict(row) for row in (space.default, *space.known)])

    def first_usable(self, recipes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The first of them whose weights can be had, with its features. Raises WeightsError if there is none."""
        for recipe in recipes[:-1]:
            try:
                self._features_of(recipe)
            except WeightsError as error:
                self.problem.warnings.append(f"{recipe['backbone']} was not tried: {error.message}")
            else:
                return dict(recipe)
        self._features_of(recipes[-1])
        return dict(recipes[-1])

    # Features -----------------------------------------------------------------------------------------------------

    def _features_of(self, params: Mapping[str, Any]) -> None:
        self._compute(backbone_of(params), members(params)[0]["policy"])

    def _compute(self, backbone: str, policy: str) -> None:
        problem = self.problem
        problem.progress({
            "stage": "features", "backbone": backbone, "policy": policy, "left_s": problem.budget.left
        })  # fmt: skip
        problem.frozen.features(backbone, policy)

    def _affordable(self, space: Space) -> Space:
        """The backbones and policies whose features fit the budget, the default's first."""
        first = (space.default["backbone"], space.default["policy"])
        self._features_of(space.default)
        limit = self.problem.budget.until(FEATURE_SHARE)
        named = {row["backbone"]: None for row in space.known}  # those of the known recipes before others
        backbones, policies = [first[0]], [first[1]]
        for backbone in (b for b in {**named, **dict.fromkeys(space.choices["backbone"])} if b != first[0]):
            if self._fit(limit, [(backbone, first[1])]):
                backbones.append(backbone)
        for policy in (p for p in space.choices["policy"] if p != first[1]):
            if self._fit(limit, [(backbone, policy) for backbone in backbones]):
                policies.append(policy)
        return space.narrowed(backbone=backbones, policy=policies)

    def _fit(self, limit: Budget, wanted: list[tuple[str, str]]) -> bool:
        """Compute these features if all of them are likely to fit; True if they are there."""
        try:
            if limit.left < sum(self.problem.frozen.features_s(*one) for one in wanted):
                return False
        except WeightsError as error:  # of a backbone that only was to be tried as well
            self.problem.warnings.append(f"{wanted[0][0]} was not tried: {error.message}")
            return False
        for backbone, policy in wanted:
            self._compute(backbone, policy)
        return True

    # Trials -------------------------------------------------------------------------------------------------------

    def _try(self, study: studies.Study, space: Space) -> None:
        problem, pace = self.problem, self._trial_s
        repeats = 3 if len(problem.data.pictures) <= SMALL else 1
        own = [problem.folds(problem.seed + r) for r in range(repeats)]

        def evaluate(params: dict[str, Any]) -> tuple[float, float]:
            started = monotonic()
            found = self._mean_score(params, own)
            pace.append(monotonic() - started)
            return found

        studies.run_trials(
            study, space, evaluate, trials=problem.trials, budget=problem.budget.until(FROZEN_SHARE),
            cost=lambda: max(pace[-5:], default=0.0), on_trial=lambda s: problem.report("heads", s),
            check=problem.check,
        )  # fmt: skip

    def _mean_score(self, params: Mapping[str, Any], repeats: Sequence[list[Fold]]) -> tuple[float, float]:
        found = [self.problem.frozen_score(params, own) for own in repeats]
        self.problem.best_accuracy = max(self.problem.best_accuracy, found[0].accuracy)
        return float(np.mean([f.value for f in found])), float(np.mean([f.sd for f in found]))

    def _rescored(self, study: studies.Study, known: list[dict[str, Any]]) -> dict[str, Any]:
        """The best of the top few on folds that none of them was chosen by, if it beats the best of the known-good
        recipes there by more than two standard errors; else that recipe. With ten images most winners are lucky ones.
        Where there is no time to find out it is the default, the first of `known`."""
        problem = self.problem
        fresh = [problem.folds(problem.seed + 500 + r) for r in range(FRESH_REPEATS)]
        candidates = [params for params in studies.best_params(study, RESCORED) if params not in known]
        limit, each = problem.budget.until(RESCORED_SHARE), max(self._trial_s, default=0.0)
        if limit.left < len(known) * each:
            return known[0]
        rivals = [self._losses(params, fresh) for params in known]
        rival = int(np.argmin([np.nanmean(row) for row in rivals]))
        losses: list[Floats] = []
        for params in candidates:
            if limit.left < each:
                break
            losses.append(self._losses(params, fresh))
        if not losses:
            return known[rival]
        best = int(np.argmin([np.nanmean(row) for row in losses]))
        return candidates[best] if clearly_better(losses[best], rivals[rival]) else known[rival]

    def _losses(self, params: Mapping[str, Any], repeats: Sequence[list[Fold]]) -> Floats:
        """[N] mean loss of each image over the repeats; NaN for an image that one of them did not hold out."""
        return np.asarray(np.mean([self.problem.frozen_score(params, own).losses for own in repeats], axis=0))


def frozen_chosen(problem: Problem, params: dict[str, Any]) -> Chosen:
    """With the head on all images, also those that the search did not look at."""
    own = problem.last_folds()
    found = problem.frozen_score(params, own) if len(covered(own)) else None
    problem.frozen.extend(params, problem.budget.left)
    return Chosen(problem.frozen.network(params), backbone_of(params), 0, {"kind": "frozen", **params}, found, own)
