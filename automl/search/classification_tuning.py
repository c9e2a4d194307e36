"""The second phase of a search for classifiers: fine-tuning as far as the time left allows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tenshot.automl.search import study as studies
from tenshot.automl.search.classification_problem import BESIDE, Problem, covered
from tenshot.automl.search.frozen import members
from tenshot.automl.search.judging import Score, score
from tenshot.automl.training.trained import Series

if TYPE_CHECKING:
    from tenshot.automl.networks import Classifier
    from tenshot.automl.search.sharing import Stage
    from tenshot.automl.search.space import Space

TUNE_FOLDS = 3
LEAST_TUNING_S = 12.0
"""Seconds below which it is not even worth finding out what fine-tuning would take."""
ENOUGH_STEPS = 80
"""Of fine-tuning; with fewer, smaller images are the better bargain."""
NO_TIME = "the budget left no time for fine-tuning; the model is a head on frozen features"
FOLDS, DEFAULT = "folds", "default"
"""Attributes of a study: how many folds were asked for, and what was tried first."""


class FineTuning:
    """Fine-tuned networks of the backbone of one frozen candidate, on `count` folds (0: on all images only)."""

    def __init__(self, problem: Problem, params: Mapping[str, Any], count: int) -> None:
        from tenshot.automl.search.tuned import Tuning

        self.problem = problem
        self.params = params
        self.tuning = Tuning(problem.frozen, params, [], problem.seed)
        self.split(count)

    def split(self, count: int) -> None:
        """Into as many folds, of which some may hold nothing out that can be judged."""
        self.count = count
        self.tuning.folds = self.problem.last_folds(count)

    # What is planned ----------------------------------------------------------------------------------------------

    def space(self, before: Mapping[str, Any]) -> Space | None:
        """With what suits the images and fits the budget; None if nothing does. Plans the folds."""
        space = self.problem.spaces["finetune"]
        if studies.CHOICES in before:
            return replace(space, choices=before[studies.CHOICES], default=before[DEFAULT], known=())
        if self.problem.budget.left < LEAST_TUNING_S:
            return None
        suited = [self.suited(row) for row in (space.default, *space.known)]
        first = self._planned(suited[0])
        if first is None:
            return None
        largest = {"size": first["size"], "steps": first["steps"]}  # what is drawn must have a chance to fit
        rows = [{**row, **{key: min(row[key], most) for key, most in largest.items()}} for row in suited[1:]]
        known = [row for row in (self.smaller(row) for row in rows) if row is not None]
        choices = {
            **space.choices,
            "size": [size for size in space.choices["size"] if size <= first["size"]],
            "steps": [steps for steps in space.choices["steps"] if steps <= first["steps"]],
            "flip": space.choices["flip"] if suited[0]["flip"] != "none" else ["none"],
        }
        return replace(space, choices=choices, default=first, known=tuple(row for row in known if row != first))

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """At the size that suits the images, and mirrored if that did the frozen features no harm."""
        choices = self.problem.spaces["finetune"].choices
        size = self.tuning.suited_size(choices["size"], recipe["size"])
        mirrored = "horizontal" in choices["flip"] and self._flips_help
        return {**recipe, "size": size, "flip": "horizontal" if mirrored else recipe["flip"]}

    def _planned(self, recipe: dict[str, Any]) -> dict[str, Any] | None:
        """The recipe as the time left allows it: fewer folds before fewer steps, and smaller images last of all."""
        choices, enough = self.problem.spaces["finetune"].choices, min(ENOUGH_STEPS, recipe["steps"])
        for size in sorted((s for s in choices["size"] if s <= recipe["size"]), reverse=True):
            for steps in sorted((s for s in choices["steps"] if s <= recipe["steps"]), reverse=True):
                for count in range(min(TUNE_FOLDS, self.problem.count), 1, -1):
                    self.split(count)
                    tried = {**recipe, "size": size, "steps": steps}
                    if (steps >= enough or size == min(choices["size"])) and self._fits(tried):
                        return tried
        return None

    def smaller(self, recipe: dict[str, Any]) -> dict[str, Any] | None:
        """The recipe with as many of its steps as the time left allows, at its size or a smaller one."""
        choices = self.problem.spaces["finetune"].choices
        for size in sorted((s for s in choices["size"] if s <= recipe["size"]), reverse=True):
            for steps in sorted((s for s in choices["steps"] if s <= recipe["steps"]), reverse=True):
                if self._fits({**recipe, "size": size, "steps": steps}):
                    return {**recipe, "size": size, "steps": steps}
        return None

    def _fits(self, recipe: Mapping[str, Any]) -> bool:
        return self.tuning.estimate(recipe) <= self.problem.budget.left

    @cached_property
    def _flips_help(self) -> bool:
        """Whether mirrored views were no worse than cropped ones for the head that was chosen."""
        problem, row = self.problem, members(self.params)[0]
        own = problem.folds(problem.seed) if problem.count >= 2 else []
        policies = [policy for policy in ("crop", "hflip") if problem.frozen.has(row["backbone"], policy)]
        # Features of one of them may be too dear, or each image has one view, which nothing mirrors: then nothing is
        # known, and a mirrored digit is another.
        if not len(covered(own)) or len(policies) < 2 or problem.frozen.views < 2:
            return False
        plain, mirrored = (problem.frozen_score({**row, "policy": policy}, own).value for policy in policies)
        return mirrored <= plain

    # Trials -------------------------------------------------------------------------------------------------------

    def run(self, before: Mapping[str, Any]) -> tuple[dict[str, Any], Score] | None:
        """The best recipe and what it scored, or None if there was no time for it."""
        problem, space = self.problem, self.space(before)
        if space is None:
            problem.warnings.append(NO_TIME)
            return None
        told = {FOLDS: self.count, DEFAULT: dict(space.default), BESIDE: dict(self.params)}
        study = studies.open_study(
            problem.journal, space, seed=problem.seed, sampler="gp", pruner="wilcoxon", attributes=told
        )
        studies.run_trials(
            study, space, self._scored, trials=problem.trials, budget=problem.budget, cost=lambda: 0.0,
            needs=lambda trial: self._needs(study, trial), on_trial=lambda s: problem.report("fine-tuning", s),
            share={"params": dict(self.params), FOLDS: self.count, **problem.seen},
            keep=lambda: self._final_s(study), check=problem.check,
        )  # fmt: skip
        problem.records += studies.records(study)
        best = studies.best_params(study, 1)[0]
        kept = studies.kept_of(study, best).get("logits")
        usable = kept is not None and kept.shape == problem.data.truth.shape
        logits = kept if kept is not None and usable else self.tuning.out_of_fold(best)
        return best, score(problem.data, logits, covered(self.tuning.folds))

    def _final_s(self, study: studies.Study) -> float:
        """Seconds of the final fit as things stand."""
        return max((self.tuning.final_s(best) for best in studies.best_params(study, 1)), default=0.0)

    def _needs(self, study: studies.Study, params: dict[str, Any]) -> float:
        """Seconds of these parameters on the folds, and of the final fit of whichever wins: a cheap trial must not use
        up what the final fit of a dear one needs."""
        final = self._final_s(study)
        if not self.tuning.knows_pace_of(params) and self.problem.budget.left < final + LEAST_TUNING_S:
            return math.inf
        return self.tuning.scoring_s(params) + max(final, self.tuning.final_s(params))

    def _scored(self, params: dict[str, Any]) -> studies.Folded:
        data = self.problem.data
        logits = np.zeros(data.truth.shape)
        for _, held, found in self.tuning.fold_logits(params):
            logits[held] = found
            losses = score(data, logits, held).losses
            # Compared image by image: three folds alone would prove nothing.
            yield held.tolist(), losses[held]
        whole = score(data, logits, covered(self.tuning.folds))
        self.problem.best_accuracy = max(self.problem.best_accuracy, whole.accuracy)
        return studies.Scored(whole.value, whole.sd, {"logits": logits})

    def final(self, recipe: Mapping[str, Any]) -> Classifier:
        """The network on all images that the search looked at."""
        problem = self.problem
        problem.progress({"stage": "final fit", "left_s": problem.budget.left})
        network, curve = self.tuning.final(recipe)
        problem.curves.append(Series("fine-tuning loss", [(float(i + 1), v) for i, v in enumerate(curve.losses)]))
        if problem.frozen.rest is not None:
            problem.warnings.append("the fine-tuned network learned from the images that the search looked at, alone")
        return network

    def join(self, stage: Stage) -> None:
        """Take trials that another process leads, until there are none to take."""
        problem = self.problem
        study = studies.join(problem.journal, stage.kind, seed=stage.seed, sampler="gp", pruner="wilcoxon")
        space = replace(problem.spaces["finetune"], choices=study.user_attrs[studies.CHOICES])
        studies.run_trials(
            study, space, self._scored, trials=problem.trials, budget=problem.budget, cost=lambda: 0.0,
            needs=self.tuning.estimate, on_trial=lambda _: None, check=problem.check,
        )  # fmt: skip


def search_tuned(problem: Problem, params: Mapping[str, Any]) -> tuple[FineTuning, dict[str, Any], Score] | None:
    """The best way to fine-tune and what it scored; None if it is switched off or there was no time for it."""
    if "finetune" not in problem.spaces:
        return None
    before = studies.attributes_of(problem.journal, "finetune")
    tuning = FineTuning(problem, params, int(before.get(FOLDS, TUNE_FOLDS)))
    found = tuning.run(before)
    return found and (tuning, *found)
