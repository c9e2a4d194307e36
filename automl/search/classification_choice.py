"""The last phase of a search for classifiers: a head on frozen features, a fine-tuned network, or both together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tenshot.automl.ensembles import pooled
from tenshot.automl.search import judging
from tenshot.automl.search.classification_frozen import FrozenPhase, frozen_chosen
from tenshot.automl.search.classification_problem import Chosen, Problem, covered
from tenshot.automl.search.classification_tuning import ENOUGH_STEPS, LEAST_TUNING_S, NO_TIME, FineTuning
from tenshot.automl.search.frozen import backbone_of
from tenshot.automl.search.judging import Score, score

if TYPE_CHECKING:
    from tenshot.automl.networks import Classifier
    from tenshot.automl.search.folds import Fold


def best_of(
    problem: Problem, params: dict[str, Any], tuning: FineTuning, recipe: dict[str, Any], tuned: Score
) -> Chosen:
    """Frozen, fine-tuned, or both together: on the same folds, in order of what an answer costs."""
    own, data = tuning.tuning.folds, problem.data
    rows = covered(own)
    frozen_logits = problem.frozen.out_of_fold(params, own)
    frozen = score(data, frozen_logits, rows)
    tuned_logits = np.zeros_like(frozen_logits)
    tuned_logits[rows] = tuned.outcome.raw
    temperatures = (frozen.temperature, tuned.temperature)
    mixed = pooled((frozen_logits, tuned_logits), temperatures, exclusive=data.exclusive)
    together = score(data, mixed, rows)
    taken = judging.cheapest_of_the_best([frozen.losses, tuned.losses, together.losses])
    if taken == 0:
        return frozen_chosen(problem, params)
    network = tuning.final(recipe)
    if taken == 2:
        return both(problem, params, network, recipe, temperatures, together, own)
    backbone = tuning.tuning.backbone
    return Chosen(
        network, backbone, int(recipe["size"]), {"kind": "finetune", "backbone": backbone, **recipe}, tuned, own
    )


def both(
    problem: Problem, params: dict[str, Any], network: Classifier, recipe: Mapping[str, Any],
    temperatures: tuple[float, float], found: Score | None, split: Sequence[Fold],
) -> Chosen:  # fmt: skip
    """The fine-tuned `network` beside the head, which learns from what the search did not look at, too."""
    from tenshot.automl.ensembles import Ensemble

    problem.frozen.extend(params, problem.budget.left)
    own = problem.frozen.extractor(backbone_of(params)).spec.height
    members, sizes = [problem.frozen.network(params), network], (own, int(recipe["size"]))
    whole = Ensemble(members, sizes, temperatures, exclusive=problem.data.exclusive)
    kind = {"kind": "ensemble", **params, **{f"finetune.{key}": value for key, value in recipe.items()}}
    return Chosen(whole, backbone_of(params), 0, kind, found, split)


def uncompared(problem: Problem) -> Chosen:
    """Without a word from cross-validation on what is better: the recipe for the fewest images, together with a
    fine-tuned network if there is time. Two different kinds of model are seldom wrong in the same way."""
    frozen = problem.spaces["frozen"]
    params = FrozenPhase(problem).first_usable([*frozen.known, frozen.default])
    planned = _mixture(problem, params)
    if planned is None:
        problem.warnings += [NO_TIME] if "finetune" in problem.spaces else []
        return frozen_chosen(problem, params)
    tuning, recipe = planned
    found, temperatures = _mixture_score(problem, params, tuning, recipe)
    return both(problem, params, tuning.final(recipe), recipe, temperatures, found, tuning.tuning.folds)


def _mixture(problem: Problem, params: dict[str, Any]) -> tuple[FineTuning, dict[str, Any]] | None:
    """How to fine-tune beside `params`: with two folds that tell how good it is, or none if they do not fit."""
    space = problem.spaces.get("finetune")
    if space is None or problem.budget.left < LEAST_TUNING_S:
        return None
    tuning = FineTuning(problem, params, 2)
    wanted = tuning.suited(space.default)
    for count in (2, 0):
        tuning.split(count)
        recipe = tuning.smaller(wanted)
        if recipe is not None and (recipe["steps"] >= min(ENOUGH_STEPS, wanted["steps"]) or not count):
            return tuning, recipe
    return None


def _mixture_score(
    problem: Problem, params: dict[str, Any], tuning: FineTuning, recipe: dict[str, Any]
) -> tuple[Score | None, tuple[float, float]]:
    """Of both together, and the temperatures that they are mixed with."""
    own, data = tuning.tuning.folds, problem.data
    rows = covered(own)
    if not len(rows):
        return None, (1.0, 1.0)
    problem.progress({"stage": "fine-tuning", "left_s": problem.budget.left})
    logits = (problem.frozen.out_of_fold(params, own), tuning.tuning.out_of_fold(recipe))
    first, second = (score(data, found, rows).temperature for found in logits)
    mixed = pooled(logits, (first, second), exclusive=data.exclusive)
    return score(data, mixed, rows), (first, second)
