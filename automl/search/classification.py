"""The search for classifiers, with one label an image or several.

Frozen features and linear heads first: a trial takes milliseconds. Their best few are scored again on fresh folds, so
that the luckiest of many does not win by its luck. Then, as far as the budget goes, the last stages are fine-tuned.
What departs from the known-good recipes must be better by more than two standard errors of the paired difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from tenshot.automl.evaluation import calibration
from tenshot.automl.evaluation.outcomes import ClassificationOutcome
from tenshot.automl.heads import Floats
from tenshot.automl.scores import Calibration
from tenshot.automl.search import space as spaces
from tenshot.automl.search import study as studies
from tenshot.automl.search.folds import Fold, fold_count, folds
from tenshot.automl.search.frozen import Frozen, Learning, tap_indices
from tenshot.automl.search.learning_curve import curve_of
from tenshot.automl.search.place import Where
from tenshot.automl.search.rebasing import rebased
from tenshot.automl.training.trained import LearningCurve, Series, Trained
from tenshot.automl.trials import Trial
from tenshot.projects.errors import TrainingError, WeightsError

if TYPE_CHECKING:
    from tenshot.automl.networks import Classifier
    from tenshot.automl.search.budget import Budget
    from tenshot.automl.search.space import Space
    from tenshot.projects.workspace import Workspace

Progress = Callable[[Mapping[str, Any]], None]

FEATURE_SHARE = 0.25
"""Of the budget, for features beyond the default's."""
FROZEN_SHARE = 0.45
RESCORED_SHARE = 0.6
RESCORED = 5
FRESH_REPEATS = 2
SMALL = 60
"""Up to so many images, a trial is scored on three repeats of its folds instead of one."""
TUNE_FOLDS = 3
SURE = 2.0
"""Standard errors: the challenger is the best of several, one of which is easily one error ahead by luck."""


@dataclass(frozen=True)
class Score:
    value: float
    """Mean log loss of the calibrated out-of-fold scores."""
    sd: float
    """Its standard error over the images."""
    losses: Floats
    """[N]"""
    outcome: ClassificationOutcome


def score(data: Learning, logits: Floats) -> Score:
    """Calibrate and measure. The log loss is a proper score: with ten images it tells candidates apart where their
    accuracies are equal."""
    kind = "softmax" if data.exclusive else "sigmoid"
    ids = tuple(p.id for p in data.pictures)
    plain = ClassificationOutcome(
        data.labels, ids, data.truth, logits, Calibration(kind).apply(logits), data.exclusive  # type: ignore[arg-type]
    )  # fmt: skip
    outcome = replace(plain, scores=calibration.simplest(plain).apply(logits))
    chance = np.clip(np.where(data.truth, outcome.scores, 1 - outcome.scores), 1e-7, 1.0)
    losses = -np.log(chance[data.truth] if data.exclusive else chance)
    per_image = losses if data.exclusive else losses.mean(axis=1)
    return Score(float(per_image.mean()), float(per_image.std() / np.sqrt(len(per_image))), per_image, plain)


def clearly_better(losses: Floats, rivals: Floats) -> bool:
    """Whether the mean of the paired differences is more than two standard errors in favour of `losses`."""
    gain = rivals - losses
    return bool(gain.mean() > SURE * gain.std(ddof=1) / np.sqrt(len(gain)))


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
        strata, groups = np.array(data.strata), np.array(data.groups)
        self.count = fold_count(strata, groups)

    def run(self) -> Trained:
        if self.count < 2:
            self.warnings.append(
                "nothing could be held out (all images are near duplicates of one another): "
                "the default was trained and its quality is unknown"
            )
            return self._frozen_result(dict(self.spaces["frozen"].default), None)
        params = self._search_frozen()
        fresh = self._folds(self.seed + 1000)
        final = score(self.data, self.frozen.out_of_fold(params, fresh))
        self.learning_curve = curve_of(self.frozen, params, fresh, seed=self.seed, left_s=self.budget.left)
        tuned = self._search_tuned(params)
        if tuned is not None:
            return tuned
        return self._frozen_result(params, final.outcome)

    # Frozen features ----------------------------------------------------------------------------------------------

    def _search_frozen(self) -> dict[str, Any]:
        before = studies.choices_of(self.journal, "frozen")
        space = self.spaces["frozen"].narrowed(**before) if before else self._affordable(self.spaces["frozen"])
        repeats = 3 if len(self.data.pictures) <= SMALL else 1
        own = [self._folds(self.seed + r) for r in range(repeats)]
        study = studies.open_study(self.journal, space, seed=self.seed)
        pace = self._trial_s

        def evaluate(params: dict[str, Any]) -> tuple[float, float]:
            started = monotonic()
            found = self._mean_score(params, own)
            pace.append(monotonic() - started)
            return found

        studies.run_trials(
            study, space, evaluate, trials=self.trials, budget=self.budget.until(FROZEN_SHARE),
            cost=lambda: max(pace[-5:], default=0.0), on_trial=lambda s: self._report("heads", s),
        )  # fmt: skip
        self.records += studies.records(study)
        return self._rescored(study, [dict(row) for row in (space.default, *space.known)])

    def _affordable(self, space: Space) -> Space:
        """The backbones and policies whose features fit the budget, the default's first."""
        first = (space.default["backbone"], space.default["policy"])
        self.progress({"stage": "features", "backbone": first[0], "policy": first[1], "left_s": self.budget.left})
        self.frozen.features(*first)
        limit = self.budget.until(FEATURE_SHARE)
        policies = [first[1], *(p for p in space.choices["policy"] if p != first[1])]
        backbones = [first[0], *(b for b in space.choices["backbone"] if b != first[0])]
        kept_backbones, kept_policies = [first[0]], [first[1]]
        for policy in policies[1:]:
            if self._compute(limit, [(first[0], policy)]):
                kept_policies.append(policy)
        for backbone in backbones[1:]:
            if self._compute(limit, [(backbone, policy) for policy in kept_policies]):
                kept_backbones.append(backbone)
        return space.narrowed(backbone=kept_backbones, policy=kept_policies)

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

    def _mean_score(self, params: dict[str, Any], repeats: Sequence[list[Fold]]) -> tuple[float, float]:
        found = [score(self.data, self.frozen.out_of_fold(params, own)) for own in repeats]
        self.best_accuracy = max(self.best_accuracy, self._accuracy(found[0]))
        return float(np.mean([f.value for f in found])), float(np.mean([f.sd for f in found]))

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
        rival = int(np.argmin([row.mean() for row in rivals]))
        losses: list[Floats] = []
        for params in candidates:
            if limit.left < each:
                break
            losses.append(self._losses(params, fresh))
        if not losses:
            return known[rival]
        best = int(np.argmin([row.mean() for row in losses]))
        return candidates[best] if clearly_better(losses[best], rivals[rival]) else known[rival]

    def _losses(self, params: dict[str, Any], repeats: Sequence[list[Fold]]) -> Floats:
        """[N] mean loss of each image over the repeats."""
        found = [score(self.data, self.frozen.out_of_fold(params, own)).losses for own in repeats]
        return np.asarray(np.mean(found, axis=0))

    def _frozen_result(self, params: dict[str, Any], oof: ClassificationOutcome | None) -> Trained:
        from tenshot.automl.networks import Classifier

        extractor = self.frozen.extractor(params["backbone"])
        head = self.frozen.fit(params)
        import torch

        network = Classifier(
            extractor.backbone(),
            tap_indices(params["taps"]),
            torch.from_numpy(head.weight).float(),
            torch.from_numpy(head.bias).float(),
        )
        return self._result(network, params["backbone"], {"kind": "frozen", **params}, oof)

    # Fine-tuning --------------------------------------------------------------------------------------------------

    def _search_tuned(self, frozen_params: dict[str, Any]) -> Trained | None:
        """The fine-tuned network, or None if there was no time for it or it is not clearly better."""
        from tenshot.automl.search.tuned import Tuning

        if "finetune" not in self.spaces:  # the user switched it off
            return None
        own = self._folds(self.seed + 1000, count=min(TUNE_FOLDS, self.count))
        rival = score(self.data, self.frozen.out_of_fold(frozen_params, own))
        tuning = Tuning(self.frozen, {**frozen_params, "taps": "7"}, own, self.seed)
        space = self.spaces["finetune"]
        study = studies.open_study(self.journal, space, seed=self.seed)
        if not tuning.fits_memory(space.choices["start"]):
            self.warnings.append("there are too many images for fine-tuning; the model is a head on frozen features")
            return None
        if not studies.finished(study) and tuning.estimate(dict(space.default)) > self.budget.left:
            self.warnings.append("the budget left no time for fine-tuning; the model is a head on frozen features")
            return None
        results: dict[str, Score] = {}

        def evaluate(params: dict[str, Any]) -> tuple[float, float]:
            found = score(self.data, tuning.out_of_fold(params))
            results[repr(sorted(params.items()))] = found
            self.best_accuracy = max(self.best_accuracy, self._accuracy(found))
            return found.value, found.sd

        # A trial and the final fit on all images must both fit.
        studies.run_trials(
            study, space, evaluate, trials=self.trials, budget=self.budget, cost=lambda: 0.0,
            needs=tuning.estimate, on_trial=lambda s: self._report("fine-tuning", s),
        )  # fmt: skip
        self.records += studies.records(study)
        best = studies.best_params(study, 1)[0]
        found = results.get(repr(sorted(best.items()))) or score(self.data, tuning.out_of_fold(best))
        if not clearly_better(found.losses, rival.losses):
            return None
        network, curve = tuning.final(best)
        self.curves.append(Series("fine-tuning loss", [(float(i + 1), v) for i, v in enumerate(curve.losses)]))
        params = {"kind": "finetune", **{k: v for k, v in frozen_params.items() if k != "taps"}, **best}
        return self._result(network, frozen_params["backbone"], params, found.outcome)

    # Both ---------------------------------------------------------------------------------------------------------

    def _result(
        self, network: Classifier, backbone: str, params: dict[str, Any], oof: ClassificationOutcome | None
    ) -> Trained:
        from tenshot.automl.training.served import served

        extractor = self.frozen.extractor(backbone)
        run, write = served(network, lambda name: self.frozen.extractor(name).backbone(), extractor.spec)
        return Trained(
            labels=self.data.labels,
            base=backbone,
            input=extractor.spec,
            suppression=None,
            oof=oof,
            network=run,
            export=write,
            params=params,
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
        return folds(self.data.strata, self.data.groups, count=count or self.count, seed=seed)

    def _accuracy(self, found: Score) -> float:
        outcome = found.outcome
        if outcome.exclusive:
            return float((outcome.raw.argmax(1) == outcome.truth.argmax(1)).mean())
        return float(((outcome.scores > 0.5) == outcome.truth).mean())

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
