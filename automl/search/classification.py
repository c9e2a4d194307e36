"""The search for classifiers, with one label an image or several.

Frozen features and their heads first: a trial takes milliseconds. Their best few are scored again on fresh folds, so
that the luckiest of many does not win by its luck. Then, as far as the budget goes, the last stages are fine-tuned, and
the two kinds may answer together. Of the three the cheapest is taken that none beats by more than one standard error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenshot.automl.ensembles import pooled
from tenshot.automl.heads import Floats
from tenshot.automl.search import judging
from tenshot.automl.search import space as spaces
from tenshot.automl.search import study as studies
from tenshot.automl.search.folds import Fold, answerable, fold_count, folds
from tenshot.automl.search.frozen import Frozen, Learning, backbone_of, members
from tenshot.automl.search.judging import Score, clearly_better, score
from tenshot.automl.search.learning_curve import curve_of
from tenshot.automl.search.rebasing import rebased
from tenshot.automl.training.trained import LearningCurve, Series, Trained
from tenshot.automl.trials import Trial
from tenshot.projects.errors import TrainingError, WeightsError

if TYPE_CHECKING:
    from torch import nn

    from tenshot.automl.networks import Classifier
    from tenshot.automl.search.budget import Budget
    from tenshot.automl.search.place import Where
    from tenshot.automl.search.sharing import Stage
    from tenshot.automl.search.space import Space
    from tenshot.automl.search.tuned import Tuning
    from tenshot.projects.workspace import Workspace

Progress = Callable[[Mapping[str, Any]], None]

FEATURE_SHARE = 0.15
"""Of the budget, for features beyond the default's."""
FROZEN_SHARE = 0.28
RESCORED_SHARE = 0.33
RESCORED = 5
FRESH_REPEATS = 2
SMALL = 60
"""Up to so many images, a trial is scored on three repeats of its folds instead of one."""
TUNE_FOLDS = 3
LEAST_TUNING_S = 12.0
"""Seconds below which it is not even worth finding out what fine-tuning would take."""
ENOUGH_STEPS = 80
"""Of fine-tuning; with fewer, smaller images are the better bargain."""
IMAGES, FOLDS, DEFAULT = "images", "folds", "default"
"""Attributes of a study: how many images it looks at, how many folds they are in, and what was tried first."""
ENOUGH_TO_COMPARE, ENOUGH_OF_A_LABEL, MOST_TO_COMPARE = 8, 3, 30
"""Images that are held out, in all and for each label on average (up to so many in all); with fewer, cross-validation
tells kinds of candidates apart no better than a coin, and what is better for more images wins by it."""


@dataclass(frozen=True)
class Chosen:
    """A network and what is known about it."""

    network: nn.Module
    backbone: str
    size: int
    """Of its input; 0: the backbone's own."""
    params: dict[str, Any]
    found: Score | None


class Search:
    """One search. `run()` is the whole of it; the rest are its steps."""

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
        self.learning_curve: LearningCurve | None = None
        self.best_accuracy = 0.0
        self._trial_s: list[float] = []
        """Of each trial on frozen features."""
        self._look_at(data)

    def run(self) -> Trained:
        self._take_images()
        if not self._comparable():
            return self._uncompared()
        params = self._search_frozen()
        fresh = self._folds(self.seed + 1000)
        self.learning_curve = curve_of(self.frozen, params, fresh, seed=self.seed, left_s=self.budget.left)
        tuned = self._search_tuned(params)
        chosen = self._frozen_chosen(params) if tuned is None else self._best_of(params, *tuned)
        return self._result(chosen)

    def _take_images(self) -> None:
        """Those that the budget allows to look at; a continued search takes as many as it did before."""
        before = studies.attributes_of(self.journal, "frozen").get(IMAGES)
        if before:
            self.frozen.restrict(int(before), self.seed)
        else:
            backbone, limit = str(self.spaces["frozen"].default["backbone"]), self.budget.until(FEATURE_SHARE)
            warning = self.frozen.narrow(backbone, limit.left, self.seed)
            self.warnings += [warning] if warning else []
        self._look_at(self.frozen.data)

    def _look_at(self, data: Learning) -> None:
        self.data = data
        self.count = fold_count(np.array(data.strata), np.array(data.groups))

    def _comparable(self) -> bool:
        """Whether enough images can be held out with another of their label left to learn from."""
        enough = max(ENOUGH_TO_COMPARE, min(ENOUGH_OF_A_LABEL * len(self.data.labels), MOST_TO_COMPARE))
        return self.count >= 2 and len(covered(self._folds(self.seed))) >= enough

    def _uncompared(self) -> Trained:
        """Without a word from cross-validation on what is better: the recipe for the fewest images, together with a
        fine-tuned network if there is time. Two different kinds of model are seldom wrong in the same way."""
        params = self._first_usable([*self.spaces["frozen"].known, self.spaces["frozen"].default])
        planned = self._mixture(params)
        if planned is None:
            chosen = self._frozen_chosen(params)
        else:
            tuning, recipe = planned
            found, temperatures = self._mixture_score(params, tuning, recipe)
            chosen = self._both(params, self._final(tuning, recipe), recipe, temperatures, found)
        known = "" if chosen.found else " and their quality is unknown"
        self.warnings.append(
            "too few images can be held out to compare models (an image whose label no other carries, but for near "
            f"duplicates, cannot be checked): known-good recipes were trained{known}; add images of each label"
        )
        return self._result(chosen)

    def _mixture(self, params: dict[str, Any]) -> tuple[Tuning, dict[str, Any]] | None:
        """How to fine-tune beside `params`: with two folds that tell how good it is, or none if they do not fit."""
        space = self.spaces.get("finetune")
        if space is None or self.budget.left < LEAST_TUNING_S:
            return None
        for count in (2, 0):
            tuning = self._tuning(params, count)
            recipe = self._smaller(tuning, self._suited(tuning, params, space.default))
            if recipe is not None and (recipe["steps"] >= ENOUGH_STEPS or not count):
                return tuning, recipe
        return None

    def _mixture_score(
        self, params: dict[str, Any], tuning: Tuning, recipe: dict[str, Any]
    ) -> tuple[Score | None, tuple[float, float]]:
        """Of both together, and the temperatures that they are mixed with."""
        rows = covered(tuning.folds)
        if not len(rows):
            return None, (1.0, 1.0)
        self.progress({"stage": "fine-tuning", "left_s": self.budget.left})
        logits = (self.frozen.out_of_fold(params, tuning.folds), tuning.out_of_fold(recipe))
        first, second = (score(self.data, found, rows).temperature for found in logits)
        mixed = pooled(logits, (first, second), exclusive=self.data.exclusive)
        return score(self.data, mixed, rows), (first, second)

    def _first_usable(self, recipes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The first of them whose weights can be had, with its features. Raises WeightsError if there is none."""
        for recipe in recipes[:-1]:
            try:
                self._features_of(recipe)
            except WeightsError as error:
                self.warnings.append(f"{recipe['backbone']} was not tried: {error.message}")
            else:
                return dict(recipe)
        self._features_of(recipes[-1])
        return dict(recipes[-1])

    # Frozen features ----------------------------------------------------------------------------------------------

    def _features_of(self, params: Mapping[str, Any]) -> None:
        backbone, policy = backbone_of(params), members(params)[0]["policy"]
        self.progress({"stage": "features", "backbone": backbone, "policy": policy, "left_s": self.budget.left})
        self.frozen.features(backbone, policy)

    def _search_frozen(self) -> dict[str, Any]:
        before = studies.choices_of(self.journal, "frozen")
        space = self.spaces["frozen"].narrowed(**before) if before else self._affordable(self.spaces["frozen"])
        repeats = 3 if len(self.data.pictures) <= SMALL else 1
        own = [self._folds(self.seed + r) for r in range(repeats)]
        study = studies.open_study(self.journal, space, seed=self.seed)
        study.set_user_attr(IMAGES, len(self.data.pictures))
        pace = self._trial_s

        def evaluate(params: dict[str, Any]) -> tuple[float, float]:
            started = monotonic()
            found = self._mean_score(params, own)
            pace.append(monotonic() - started)
            return found

        studies.run_trials(
            study, space, evaluate, trials=self.trials, budget=self.budget.until(FROZEN_SHARE),
            cost=lambda: max(pace[-5:], default=0.0), on_trial=lambda s: self._report("heads", s), check=self.check,
        )  # fmt: skip
        self.records += studies.records(study)
        return self._rescored(study, [dict(row) for row in (space.default, *space.known)])

    def _affordable(self, space: Space) -> Space:
        """The backbones and policies whose features fit the budget, the default's first."""
        first = (space.default["backbone"], space.default["policy"])
        self._features_of(space.default)
        limit = self.budget.until(FEATURE_SHARE)
        named = {row["backbone"]: None for row in space.known}  # those of the known recipes before others
        backbones, policies = [first[0]], [first[1]]
        for backbone in (b for b in {**named, **dict.fromkeys(space.choices["backbone"])} if b != first[0]):
            if self._compute(limit, [(backbone, first[1])]):
                backbones.append(backbone)
        for policy in (p for p in space.choices["policy"] if p != first[1]):
            if self._compute(limit, [(backbone, policy) for backbone in backbones]):
                policies.append(policy)
        return space.narrowed(backbone=backbones, policy=policies)

    def _compute(self, limit: Budget, wanted: list[tuple[str, str]]) -> bool:
        """Compute these features if all of them are likely to fit; True if they are there."""
        try:
            if limit.left < sum(self.frozen.features_s(*one) for one in wanted):
                return False
        except WeightsError as error:  # of a backbone that only was to be tried as well
            self.warnings.append(f"{wanted[0][0]} was not tried: {error.message}")
            return False
        for backbone, policy in wanted:
            self.progress({"stage": "features", "backbone": backbone, "policy": policy, "left_s": self.budget.left})
            self.frozen.features(backbone, policy)
        return True

    def _mean_score(self, params: Mapping[str, Any], repeats: Sequence[list[Fold]]) -> tuple[float, float]:
        found = [self._frozen_score(params, own) for own in repeats]
        self.best_accuracy = max(self.best_accuracy, found[0].accuracy)
        return float(np.mean([f.value for f in found])), float(np.mean([f.sd for f in found]))

    def _frozen_score(self, params: Mapping[str, Any], own: list[Fold]) -> Score:
        return score(self.data, self.frozen.out_of_fold(dict(params), own), covered(own))

    def _rescored(self, study: Any, known: list[dict[str, Any]]) -> dict[str, Any]:
        """The best of the top few on folds that none of them was chosen by, if it beats the best of the known-good
        recipes there by more than two standard errors; else that recipe. With ten images most winners are lucky ones.
        Where there is no time to find out it is the default, the first of `known`."""
        fresh = [self._folds(self.seed + 500 + r) for r in range(FRESH_REPEATS)]
        candidates = [params for params in studies.best_params(study, RESCORED) if params not in known]
        limit, each = self.budget.until(RESCORED_SHARE), max(self._trial_s, default=0.0)
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
        return np.asarray(np.mean([self._frozen_score(params, own).losses for own in repeats], axis=0))

    def _frozen_chosen(self, params: dict[str, Any], found: Score | None = None) -> Chosen:
        """With the head on all images, also those that the search did not look at."""
        if found is None and self.count >= 2:
            own = self._folds(self.seed + 1000)
            found = self._frozen_score(params, own) if len(covered(own)) else None
        self.frozen.extend(params, self.budget.left)
        return Chosen(self.frozen.network(params), backbone_of(params), 0, {"kind": "frozen", **params}, found)

    # Fine-tuning --------------------------------------------------------------------------------------------------

    def _tuning(self, params: Mapping[str, Any], count: int) -> Tuning:
        from tenshot.automl.search.tuned import Tuning

        return Tuning(self.frozen, params, self._tuning_folds(count), self.seed)

    def _tuning_folds(self, count: int) -> list[Fold]:
        return self._folds(self.seed + 1000, count=min(count, self.count)) if count and self.count >= 2 else []

    def _search_tuned(self, params: dict[str, Any]) -> tuple[Tuning, dict[str, Any], Score] | None:
        """The best way to fine-tune and what it scored, or None if there was no time for it."""
        if "finetune" not in self.spaces:
            return None
        before = studies.attributes_of(self.journal, "finetune")
        tuning = self._tuning(params, int(before.get(FOLDS, TUNE_FOLDS)))
        space = self._tuned_space(tuning, params, before)
        if space is None:
            self.warnings.append("the budget left no time for fine-tuning; the model is a head on frozen features")
            return None
        study = studies.open_study(self.journal, space, seed=self.seed, sampler="gp", pruner="wilcoxon")
        study.set_user_attr(FOLDS, len(tuning.folds))
        study.set_user_attr(DEFAULT, dict(space.default))
        # A trial and the final fit on all images must both fit.
        studies.run_trials(
            study, space, lambda trial: self._tuned_objective(tuning, trial), trials=self.trials, budget=self.budget,
            cost=lambda: 0.0, needs=tuning.estimate, on_trial=lambda s: self._report("fine-tuning", s),
            share={"params": params, IMAGES: len(self.data.pictures), FOLDS: len(tuning.folds)},
            keep=lambda: tuning.final_s(space.default), check=self.check,
        )  # fmt: skip
        self.records += studies.records(study)
        best = studies.best_params(study, 1)[0]
        kept = studies.kept_of(study, best).get("logits")
        logits = tuning.out_of_fold(best) if kept is None or kept.shape != self.data.truth.shape else kept
        return tuning, best, score(self.data, logits, covered(tuning.folds))

    def _tuned_space(self, tuning: Tuning, params: Mapping[str, Any], before: Mapping[str, Any]) -> Space | None:
        """With what suits the images and fits the budget; None if nothing does. Plans the folds of `tuning`."""
        space = self.spaces["finetune"]
        if studies.CHOICES in before:
            return replace(space, choices=before[studies.CHOICES], default=before[DEFAULT], known=())
        if self.budget.left < LEAST_TUNING_S:
            return None
        suited = [self._suited(tuning, params, row) for row in (space.default, *space.known)]
        first = self._planned(tuning, suited[0])
        if first is None:
            return None
        largest = {"size": first["size"], "steps": first["steps"]}  # what is drawn must have a chance to fit
        rows = [{**row, **{key: min(row[key], most) for key, most in largest.items()}} for row in suited[1:]]
        known = [row for row in (self._smaller(tuning, row) for row in rows) if row is not None]
        choices = {
            **space.choices,
            "size": [size for size in space.choices["size"] if size <= first["size"]],
            "steps": [steps for steps in space.choices["steps"] if steps <= first["steps"]],
            "flip": space.choices["flip"] if suited[0]["flip"] != "none" else ["none"],
        }
        return replace(space, choices=choices, default=first, known=tuple(row for row in known if row != first))

    def _suited(self, tuning: Tuning, params: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
        """At the size that suits the images, and mirrored if that did the frozen features no harm."""
        choices = self.spaces["finetune"].choices
        size = tuning.suited_size(choices["size"], recipe["size"])
        mirrored = "horizontal" in choices["flip"] and self._flips_help(params)
        return {**recipe, "size": size, "flip": "horizontal" if mirrored else recipe["flip"]}

    def _planned(self, tuning: Tuning, recipe: dict[str, Any]) -> dict[str, Any] | None:
        """The recipe as the time left allows it: fewer folds before fewer steps, and smaller images last of all."""
        choices, enough = self.spaces["finetune"].choices, min(ENOUGH_STEPS, recipe["steps"])
        for size in sorted((s for s in choices["size"] if s <= recipe["size"]), reverse=True):
            for steps in sorted((s for s in choices["steps"] if s <= recipe["steps"]), reverse=True):
                for count in range(min(TUNE_FOLDS, self.count), 1, -1):
                    tuning.folds = self._tuning_folds(count)
                    tried = {**recipe, "size": size, "steps": steps}
                    if (steps >= enough or size == min(choices["size"])) and self._fits(tuning, tried):
                        return tried
        return None

    def _smaller(self, tuning: Tuning, recipe: dict[str, Any]) -> dict[str, Any] | None:
        """The recipe with as many of its steps as the time left allows, at its size or a smaller one."""
        choices = self.spaces["finetune"].choices
        for size in sorted((s for s in choices["size"] if s <= recipe["size"]), reverse=True):
            for steps in sorted((s for s in choices["steps"] if s <= recipe["steps"]), reverse=True):
                if self._fits(tuning, {**recipe, "size": size, "steps": steps}):
                    return {**recipe, "size": size, "steps": steps}
        return None

    def _fits(self, tuning: Tuning, recipe: Mapping[str, Any]) -> bool:
        return tuning.estimate(recipe) <= self.budget.left

    def _flips_help(self, params: Mapping[str, Any]) -> bool:
        """Whether mirrored views were no worse than cropped ones for the head that was chosen."""
        own = self._folds(self.seed) if self.count >= 2 else []
        if not len(covered(own)):
            return False
        try:
            plain, mirrored = (
                self._frozen_score({**members(params)[0], "policy": policy}, own).value
                for policy in ("crop", "hflip")
                if self.frozen.has(members(params)[0]["backbone"], policy)
            )
        except ValueError:  # features of one of them were too dear: nothing is known, and a mirrored digit is another
            return False
        return mirrored <= plain

    def _tuned_objective(self, tuning: Tuning, params: dict[str, Any]) -> studies.Folded:
        logits = np.zeros(self.data.truth.shape)
        for _, held, found in tuning.fold_logits(params):
            logits[held] = found
            losses = score(self.data, logits, held).losses
            # Compared image by image: three folds alone would prove nothing.
            yield held.tolist(), losses[held]
        whole = score(self.data, logits, covered(tuning.folds))
        self.best_accuracy = max(self.best_accuracy, whole.accuracy)
        return studies.Scored(whole.value, whole.sd, {"logits": logits})

    def _final(self, tuning: Tuning, recipe: Mapping[str, Any]) -> Classifier:
        self.progress({"stage": "final fit", "left_s": self.budget.left})
        network, curve = tuning.final(recipe)
        self.curves.append(Series("fine-tuning loss", [(float(i + 1), v) for i, v in enumerate(curve.losses)]))
        return network

    def join(self, stage: Stage) -> None:
        """Take trials of fine-tuning of a search that another process leads, until there are none to take."""
        self.frozen.restrict(int(stage.details[IMAGES]), self.seed)
        self._look_at(self.frozen.data)
        tuning = self._tuning(stage.details["params"], int(stage.details[FOLDS]))
        study = studies.join(self.journal, stage.kind, seed=stage.seed, sampler="gp", pruner="wilcoxon")
        space = replace(self.spaces["finetune"], choices=study.user_attrs[studies.CHOICES])
        studies.run_trials(
            study, space, lambda trial: self._tuned_objective(tuning, trial), trials=self.trials, budget=self.budget,
            cost=lambda: 0.0, needs=tuning.estimate, on_trial=lambda _: None, check=self.check,
        )  # fmt: skip

    # Both ---------------------------------------------------------------------------------------------------------

    def _best_of(self, params: dict[str, Any], tuning: Tuning, recipe: dict[str, Any], tuned: Score) -> Chosen:
        """Frozen, fine-tuned, or both together: on the same folds, in order of what an answer costs."""
        rows = covered(tuning.folds)
        frozen_logits = self.frozen.out_of_fold(params, tuning.folds)
        frozen = score(self.data, frozen_logits, rows)
        tuned_logits = np.zeros_like(frozen_logits)
        tuned_logits[rows] = tuned.outcome.raw
        temperatures = (frozen.temperature, tuned.temperature)
        mixed = pooled((frozen_logits, tuned_logits), temperatures, exclusive=self.data.exclusive)
        both = score(self.data, mixed, rows)
        taken = judging.cheapest_of_the_best([frozen.losses, tuned.losses, both.losses])
        if taken == 0:
            return self._frozen_chosen(params)
        network = self._final(tuning, recipe)
        if taken == 2:
            return self._both(params, network, recipe, temperatures, both)
        kind = {"kind": "finetune", "backbone": tuning.backbone, **recipe}
        return Chosen(network, tuning.backbone, int(recipe["size"]), kind, tuned)

    def _both(
        self, params: dict[str, Any], network: Classifier, recipe: Mapping[str, Any],
        temperatures: tuple[float, float], found: Score | None,
    ) -> Chosen:  # fmt: skip
        from tenshot.automl.ensembles import Ensemble

        own = self.frozen.extractor(backbone_of(params)).spec.height
        members, sizes = [self.frozen.network(params), network], (own, int(recipe["size"]))
        whole = Ensemble(members, sizes, temperatures, exclusive=self.data.exclusive)
        kind = {"kind": "ensemble", **params, **{f"finetune.{key}": value for key, value in recipe.items()}}
        return Chosen(whole, backbone_of(params), 0, kind, found)

    def _result(self, chosen: Chosen) -> Trained:
        from tenshot.automl.training.served import served

        extractor = self.frozen.extractor(chosen.backbone)
        spec = extractor.spec
        if chosen.size:
            spec = replace(spec, height=chosen.size, width=chosen.size)
        run, write = served(chosen.network, lambda name: self.frozen.extractor(name).backbone(), spec)
        return Trained(
            labels=self.data.labels,
            base=chosen.backbone.split("+")[0],
            input=spec,
            suppression=None,
            oof=chosen.found.outcome if chosen.found else None,
            network=run,
            export=write,
            params=chosen.params,
            objective="cross-validated log likelihood",
            trials=self.records,
            curves=[*self.curves, *self._trial_curves()],
            warnings=self.warnings,
            learning_curve=self.learning_curve,
        )

    def _trial_curves(self) -> list[Series]:
        points: list[tuple[float, float]] = []
        for number, record in enumerate(r for r in self.records if r.value is not None):
            value = float(record.value or 0.0)
            best = max(points[-1][1], value) if points else value
            points.append((float(number + 1), best))
        return [Series("best cross-validated log likelihood so far", points)]

    def _folds(self, seed: int, count: int | None = None) -> list[Fold]:
        made = folds(self.data.strata, self.data.groups, count=count or self.count, seed=seed)
        return answerable(made, self.data.truth) if self.data.exclusive else made

    def _report(self, stage: str, study: Any) -> None:
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


def search(workspace: Workspace, data: Learning, **options: Any) -> Trained:
    """Raises TrainingError when there is nothing to tell apart."""
    carried = data.truth.any(axis=0)
    if data.exclusive and carried.sum() < 2:
        names = [data.labels[int(i)] for i in np.flatnonzero(carried)]
        raise TrainingError(
            f"the training images carry one label ({', '.join(names) or 'none'}); a classifier needs at least 2",
            hint="import images of another label, or use a detection project to find one kind of object",
        )
    return Search(workspace, data, **options).run()
