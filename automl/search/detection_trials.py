"""The trials of a detection search: which recipe is next, whether there is time for it, and which one has won.

Several processes may run this on one study (`study.turn`); the leader says what is known to be good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tenshot.automl.detectors.recipe import Recipe
from tenshot.automl.evaluation.outcomes import DetectionOutcome
from tenshot.automl.search import detection_validation as validation
from tenshot.automl.search import study as studies
from tenshot.automl.search import suppressions
from tenshot.automl.search.detection_budget import Plan
from tenshot.automl.search.detection_choice import MARGIN, surely_better
from tenshot.automl.search.detection_fits import Fits
from tenshot.automl.search.detection_problem import Problem
from tenshot.automl.search.detection_space import Choices, default_params, recipe_with
from tenshot.automl.search.detection_validation import Validated
from tenshot.automl.search.suppressions import Way, map50
from tenshot.automl.trials import Trial
from tenshot.projects.errors import JobCancelled, TrainingError

STUDY = "detection"
MOST_SKIPPED = 3
"""Drawn recipes in a row that the time left does not allow before the search ends."""
SLACK = 1.1

Show = Callable[[int, int, int, int], None]
"""trial, fold, epoch, epochs in all."""


@dataclass
class Trials:
    problem: Problem
    fits: Fits
    study: Any
    """Of `study.lead` or `study.join`."""
    plan: Plan
    default: Recipe
    """With the plan's size and epochs."""
    full: int
    """Epochs of the final fit."""
    left: Callable[[], float]
    """Seconds."""
    most: int
    """Trials that count."""
    show: Show = lambda *_: None
    passed: list[dict[str, float]] = field(default_factory=list)
    """What this run had no time for; another run may have."""
    over: bool = False
    """The deadline has cut a trial: it would cut every other."""

    def run(self) -> None:
        self.folds = self.problem.folds(self.plan.folds)
        skipped = 0

        def may_begin(others: int) -> bool:
            return not self.over and skipped < MOST_SKIPPED and self._counted() + others < self.most

        while studies.turn(self.study, may_begin, waits=self._waits, check=self.fits.check):
            trial, recipe = self._ask()
            crowded = studies.crowded(self.study, trial, self._counted(), self.most)
            if crowded or not self._affordable(recipe):
                self.passed.append(dict(trial.params))
                self._tell(trial, "FAIL", skipped=True)
                skipped += 1
                continue
            skipped = 0
            self._try(trial, recipe)
        studies.close(self.study)

    # What is next -------------------------------------------------------------------------------------------------

    def _counted(self) -> int:
        return sum(_settled(t) for t in self.study.trials)

    def _waits(self) -> bool:
        """Whether there is time to wait for the trials of others, before a final fit."""
        return not self.complete() or self.left() > self._final_s(self.default)

    def _ask(self) -> tuple[Any, Recipe]:
        if self.study.leads:
            self._enqueue_known()
        trial = studies.begin(self.study)
        params = {name: _suggest(trial, name, how) for name, how in self.problem.rules.space.items()}
        known = self._known_rows()
        number = known.index(params) if params in known else None
        trial.set_user_attr("kind", "drawn" if number is None else ("first" if number else "default"))
        return trial, recipe_with(self.default, params)

    def _known_rows(self) -> list[dict[str, float]]:
        """The default, then the known alternatives."""
        base = default_params(self.problem.rules, self.default)
        return [{**base, **row} for row in ({}, *self.problem.rules.first)]

    def _enqueue_known(self) -> None:
        """The next known recipe that nobody has tried or is about to, and that this run did not have to skip."""
        done = [t.params for t in self.study.trials if _settled(t)] + self.passed
        for params in self._known_rows():
            if params not in done and not studies.tries(self.study, params):
                self.study.enqueue_trial(params)
                return

    def _affordable(self, recipe: Recipe) -> bool:
        """Its folds and the final fit that would follow if it won fit into the time left. The first trial always does:
        the plan was made for it, and it needs no final fit."""
        if not self.complete() and not studies.elsewhere(self.study):
            return True
        return SLACK * (self._folds_s(recipe) + self._final_s(recipe)) < self.left()

    def _folds_s(self, recipe: Recipe) -> float:
        """Training on each fold and asking about every image."""
        images = len(self.problem.examples)
        return self.fits.cost.folds_s(images, self.plan.folds, recipe) + images * self.fits.asking_s

    def _final_s(self, recipe: Recipe) -> float:
        return self.fits.cost.fit_s(len(self.problem.examples), recipe.with_(epochs=self.full))

    # One trial ----------------------------------------------------------------------------------------------------

    def _try(self, trial: Any, recipe: Recipe) -> None:
        started = time.monotonic()
        trial.set_user_attr("recipe", recipe.to_json())
        try:
            known = self.validated(recipe, trial)
        except JobCancelled:
            self._tell(trial, "FAIL", lost=True)
            raise
        except TrainingError as error:
            self._tell(trial, "FAIL", error=error.message)
            return
        except BaseException as error:
            self._tell(trial, "FAIL", **({"lost": True} if studies.loses(self.study, error) else {}))
            raise
        self._end(trial, known, round(time.monotonic() - started, 2))

    def validated(self, recipe: Recipe, trial: Any, again: int = 0) -> Validated:
        """Cross-validate; every image's score is reported, so that the pruner compares the same images."""
        keeps = 0.0 if not self.complete() else self._final_s(recipe)

        reported: set[int] = set()

        def on_fold(number: int, known: Validated) -> bool:
            if again:
                return True
            scores = dict(known.image_scores())
            for image in scores.keys() - reported:
                trial.report(scores[image], image)
            reported.update(scores)
            return not (number + 1 < len(self.folds) and trial.should_prune())

        return validation.validate(
            self.fits,
            self.problem.folds(self.plan.folds, again) if again else self.folds,
            recipe,
            self.ways(),
            deadline=lambda: time.monotonic() + self.left() - keeps,
            on_fold=on_fold,
            on_epoch=lambda fold, epoch, epochs: self.show(trial.number, fold, epoch, epochs),
        )

    def _end(self, trial: Any, known: Validated, seconds: float) -> None:
        """What the deadline cut counts only while there is nothing else: a few images' worth of the default."""
        facts = {"seconds": seconds, "fold_scores": known.fold_scores}
        self.over = known.cut
        if known.cut and (self.complete() or not known.fold_scores):
            self._tell(trial, "FAIL", seconds=seconds, cut=True)
        elif len(known.fold_scores) < len(self.folds) and not known.cut:
            self._tell(trial, "PRUNED", seconds=seconds)
        else:
            known.save(self.study.place.trial_dir(STUDY, trial.number))
            facts |= {"sureness": known.sureness, "images": dict(known.image_scores()), "cut": known.cut}
            studies.tell(self.study, trial, map50(known.outcome), **facts)

    def _tell(self, trial: Any, state: str, **attributes: Any) -> None:
        import optuna

        studies.tell(self.study, trial, state=optuna.trial.TrialState[state], **attributes)

    # What came out ------------------------------------------------------------------------------------------------

    def ways(self) -> list[Way]:
        return suppressions.grid(
            self.problem.rules.suppression, len(self.problem.labels), self.problem.crops is not None
        )

    def complete(self) -> list[Any]:
        return [t for t in self.study.trials if t.state.name == "COMPLETE"]

    def chosen(self) -> Any:
        """The best of the trials that are surely better than the default, or the default; None before any finished."""
        done = self.complete()
        default = next((t for t in done if t.user_attrs["kind"] == "default"), None)
        if default is None:
            return max(done, key=lambda t: (t.value, -t.number), default=None)
        better = [t for t in done if t.value > default.value + MARGIN and surely_better(_images(t), _images(default))]
        return max(better, key=lambda t: (t.value, -t.number), default=default)

    def confirmed(self, trial: Any) -> Any:
        """The trial if it stays better on fresh folds, too, otherwise the default; unasked while there is no time."""
        default = next((t for t in self.complete() if t.user_attrs["kind"] == "default"), trial)
        if trial is None or trial.number == default.number:
            return trial
        recipes = [Recipe.from_json(t.user_attrs["recipe"]) for t in (trial, default)]
        if SLACK * (sum(map(self._folds_s, recipes)) + self._final_s(recipes[0])) > self.left():
            return trial
        try:
            fresh = [self.validated(recipe, trial, again=1) for recipe in recipes]
        except JobCancelled:
            raise
        except TrainingError:  # what fails on other images is not better
            return default
        if any(one.cut for one in fresh):
            return trial
        means = [_mean(dict(one.image_scores()), _images(t)) for one, t in zip(fresh, (trial, default), strict=True)]
        return trial if surely_better(*means) else default

    def answers(self, trial: Any) -> tuple[Way, DetectionOutcome]:
        """How a detector of this trial's recipe is best asked, and the out-of-fold predictions asked so."""
        folder, limits = self.study.place.trial_dir(STUDY, trial.number), self.problem.rules.suppression.max_detections
        # A process that had no second network at hand left no answers of it.
        found = [(way, validation.load(folder, way)) for way in self.ways() if validation.has(folder, way)]
        way, outcome = suppressions.choose(found, limits)
        if way.second and not self._looks_again():
            return suppressions.choose([one for one in found if not one[0].second], limits)
        return way, outcome

    def _looks_again(self) -> bool:
        """Whether the second network can be had here and now; another process may have asked it."""
        crops = self.problem.crops
        return crops is not None and crops.look(range(len(self.problem.examples))) is not None

    def records(self) -> tuple[Trial, ...]:
        return tuple(_described(t) for t in self.study.trials if "recipe" in t.user_attrs)


def _images(trial: Any) -> dict[int, float]:
    return {int(i): score for i, score in trial.user_attrs["images"].items()}


def _mean(one: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    return {i: (one[i] + other[i]) / 2 for i in one.keys() & other.keys()}


def _settled(trial: Any) -> bool:
    """Tried to the end, if only to an error of the training. What was skipped, cut or interrupted may come again."""
    ended = trial.state.name in ("COMPLETE", "PRUNED") or "error" in trial.user_attrs
    return "recipe" in trial.user_attrs and ended


def _suggest(trial: Any, name: str, how: Any) -> float:
    if isinstance(how, Choices):
        return float(trial.suggest_categorical(name, how.choices))
    return float(trial.suggest_float(name, how.low, how.high, log=how.log))


def _described(trial: Any) -> Trial:
    scores = trial.user_attrs.get("fold_scores")
    return Trial(
        number=trial.number,
        kind=trial.user_attrs.get("kind", "drawn"),
        params=dict(trial.params),
        value=trial.value if scores else None,
        sd=float(np.std(scores)) if scores else None,
        seconds=trial.user_attrs.get("seconds", 0.0),
        state=trial.state.name.lower(),
    )
