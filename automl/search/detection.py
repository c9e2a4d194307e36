"""The search for a detector: a usable one first, then cross-validated recipes in an Optuna study.

The default recipe is trained on all images before anything else and kept beside the study, so that there is something
to answer with whatever happens next. Its cross-validation comes second: how good it is, its thresholds, and what other
recipes are measured against. Another one is fitted to all images only if it is surely better. Everything that was
found (detector, scores, out-of-fold predictions) lies beside the journal, so that a search that was killed goes on
where it stopped.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tenshot.automl.detectors import family_of
from tenshot.automl.detectors.examples import Example
from tenshot.automl.detectors.recipe import Recipe
from tenshot.automl.evaluation.outcomes import DetectionOutcome
from tenshot.automl.search import study as studies
from tenshot.automl.search import suppressions
from tenshot.automl.search.detection_budget import SOON_S, Cost, Plan, epochs_within, first_epochs, plan, replanned
from tenshot.automl.search.detection_fits import Fit, Fits
from tenshot.automl.search.detection_problem import Problem
from tenshot.automl.search.detection_result import DetectionResult
from tenshot.automl.search.detection_second import Crops, MakeExtractor, pays
from tenshot.automl.search.detection_space import Space, default_recipe, space
from tenshot.automl.search.detection_trials import STUDY, Trials
from tenshot.automl.search.place import Place, Where, place_of
from tenshot.automl.search.score_scale import shifted
from tenshot.automl.search.sharing import Stage
from tenshot.automl.search.suppressions import Way, map50
from tenshot.projects.errors import EmptyDataError, JobCancelled, TrainingError, WeightsError

FIRST = "detector-first.pt"
MORE_EPOCHS = 1.25
"""As many times the first fit's epochs must be affordable in the end, for the default to be fitted again."""

Progress = Callable[[dict[str, Any]], None]
Check = Callable[[], None]


def search(
    train_examples: Sequence[Example],
    labels: Sequence[str],
    *,
    weights: Path,
    budget_s: float,
    trials: int,
    seed: int,
    journal: Where,
    progress: Progress = lambda _: None,
    check: Check = lambda: None,
    threads: int = 0,
    left: Callable[[], float] | None = None,
    family: str = "yolov8n",
    rules: Space | None = None,
    second: MakeExtractor | None = None,
) -> DetectionResult:
    """The best recipe that `budget_s` seconds of wall clock and `trials` trials find, and a detector trained with it.

    weights: the base network's ONNX file. journal: where the study lies; a second call with the same one and images
    continues the search (its budget is its own). progress gets `{"stage", "trial", "fold", "epoch", "epochs", "best",
    "left_s"}`. check raises to cancel.
    left: seconds left now, where that may change while the search goes on. second: the backbone that may look at the
    boxes again. Raises EmptyDataError, TrainingError, JobCancelled.
    """
    if not any(example.boxes for example in train_examples):
        raise EmptyDataError("none of the training images has a box", hint="label at least a few images")
    end = time.monotonic() + budget_s
    problem = _problem(train_examples, labels, weights, seed, threads, family, rules, second)
    clock = left or (lambda: end - time.monotonic())
    return _Search(problem, place_of(journal), clock, trials, progress, check).result()


def join(
    train_examples: Sequence[Example],
    labels: Sequence[str],
    *,
    weights: Path,
    stage: Stage,
    place: Place,
    check: Check,
    threads: int = 0,
    family: str = "yolov8n",
    rules: Space | None = None,
    second: MakeExtractor | None = None,
) -> None:
    """Take trials of a search that another process leads, on the same images, until there are none to take. What check
    raises ends it. Raises TrainingError where the images or settings are not the same."""
    problem = _problem(train_examples, labels, weights, stage.seed, threads, family, rules, second)
    run = _Search(problem, place, lambda: stage.ends_at - time.time(), stage.trials, lambda _: None, check)
    run.join(Cost(**stage.details["cost"]))


def _problem(
    examples: Sequence[Example], labels: Sequence[str], weights: Path, seed: int, threads: int, family: str,
    rules: Space | None, second: MakeExtractor | None,
) -> Problem:  # fmt: skip
    pictures, names = list(examples), tuple(labels)
    crops = Crops(pictures, names, second, seed) if second and pays(pictures) else None
    return Problem(pictures, names, weights, seed, threads, family_of(family), rules or space(), crops)


@dataclass
class _Search:
    problem: Problem
    place: Place
    left: Callable[[], float]
    """Seconds."""
    most: int
    """Trials."""
    progress: Progress
    check: Check

    def result(self) -> DetectionResult:
        started = time.monotonic()
        wanted = default_recipe(self.problem.examples, self.problem.rules)
        self.fits = Fits.probed(self.problem, self.check, wanted)
        self.study = opened(self.place, self.problem.seed)
        self._claim()
        made = self._planned(wanted)
        self.full = wanted.with_(image_size=made.image_size)
        first = self._first(made)
        self.trials = self._trials(self._kept(replanned(self._left(), self._images, self.full, made, self.fits.cost)))
        if self.trials.plan.folds:
            self._try_recipes()
        best = self.trials.confirmed(self.trials.chosen())
        best, fit = self._final(best, first)
        return self._described(best, fit, time.monotonic() - started)

    def join(self, cost: Cost) -> None:
        self.fits = Fits(self.problem, self.check, cost)
        self.study = joined(self.place, self.problem.seed)
        self._claim()
        made = Plan(**self.study.user_attrs["plan"])
        wanted = default_recipe(self.problem.examples, self.problem.rules)
        self.full = wanted.with_(image_size=made.image_size)
        self._trials(made).run()

    @property
    def _images(self) -> int:
        return len(self.problem.examples)

    def _left(self) -> float:
        return max(0.0, self.left())

    # The plan -----------------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        """The study belongs to these images and labels. Raises TrainingError if it is another search's."""
        mine = self.problem.fingerprint
        if self.study.user_attrs.get("fingerprint", mine) != mine:
            raise TrainingError(
                f"{self.place.journal} belongs to a search over other images, labels or settings",
                hint="begin a new training, without --resume",
            )
        self.study.set_user_attr("fingerprint", mine)

    def _planned(self, wanted: Recipe) -> Plan:
        """A detector that an earlier call left is not given up for one of smaller images."""
        made = plan(self._left(), self._images, self.problem.groups, wanted, self.fits.cost)
        first = self.study.user_attrs.get("first")
        before = min(wanted.image_size, first["recipe"]["image_size"]) if first else 0
        return self._kept(replace(made, image_size=max(made.image_size, before)))

    def _kept(self, made: Plan) -> Plan:
        """A continued search keeps its folds and epochs, so that its trials can be compared."""
        before = self.study.user_attrs.get("plan")
        if before and any(t.state.name == "COMPLETE" for t in self.study.trials):
            return Plan(**before)
        self.study.set_user_attr("plan", asdict(made))
        return made

    def _trials(self, made: Plan) -> Trials:
        default = self.full.with_(epochs=made.epochs)
        return Trials(
            self.problem, self.fits, self.study, made, default, self.full.epochs, self.left, self.most, self._show_trial
        )

    def _try_recipes(self) -> None:
        details = {"cost": asdict(self.fits.cost)}
        with studies.published(self.study, trials=self.most, left_s=self._left(), details=details):
            self.trials.run()

    # Detectors ----------------------------------------------------------------------------------------------------

    def _first(self, made: Plan) -> Fit:
        """The default on all images, or what an earlier call left of it."""
        path, kept = self.place.folder / FIRST, self.study.user_attrs.get("first")
        if kept and path.is_file() and kept["recipe"]["image_size"] == self.full.image_size:
            try:
                return Fit(self.problem.family.load(path), Recipe.from_json(kept["recipe"]), tuple(kept["history"]))
            except WeightsError:
                pass  # damaged: train it again
        epochs = first_epochs(self._left(), self._images, self.full, made, self.fits.cost)
        fit = self._fit("first fit", self.full.with_(epochs=epochs), within=SOON_S)
        self.problem.family.save(fit.detector, path)
        self.study.set_user_attr("first", {"recipe": fit.recipe.to_json(), "history": list(fit.history)})
        return fit

    def _final(self, best: Any, first: Fit) -> tuple[Any, Fit]:
        """Another recipe's detector, if it has won and its training comes to its end; otherwise the first, trained for
        longer if it had to be short and there is time now."""
        recipe = Recipe.from_json(best.user_attrs["recipe"]) if best else self.full
        default = best is None or best.user_attrs["kind"] == "default"
        recipe = (self.full if default else recipe).with_(epochs=self.full.epochs)
        epochs = epochs_within(self._left(), self._images, recipe, self.fits.cost)
        enough = MORE_EPOCHS * len(first.history)
        if default and epochs < enough:
            return best, first
        fit: Fit | None = None
        try:
            fit = self._fit("final fit", recipe.with_(epochs=epochs))
        except JobCancelled:
            raise
        except TrainingError:
            pass  # the first detector is there
        # A schedule that was shortened has come to its end as well.
        if fit and (fit.share == 1.0 or (default and len(fit.history) >= enough)):
            return best, fit
        return (best if default else self._default()), first

    def _default(self) -> Any:
        return next((t for t in self.trials.complete() if t.user_attrs["kind"] == "default"), None)

    def _fit(self, stage: str, recipe: Recipe, within: float = math.inf) -> Fit:
        """Fewer epochs, as they were planned, are better than a schedule that is cut off."""
        return self.fits.fit(
            recipe,
            self.problem.examples,
            deadline=time.monotonic() + min(self._left(), within),
            on_epoch=lambda epoch, epochs: self._show(stage, None, None, epoch, epochs),
        )

    # What is told -------------------------------------------------------------------------------------------------

    def _show_trial(self, trial: int, fold: int, epoch: int, epochs: int) -> None:
        self._show("search", trial, fold, epoch, epochs)

    def _show(self, stage: str, trial: int | None, fold: int | None, epoch: int, epochs: int) -> None:
        best = max((t.value for t in self.study.trials if t.state.name == "COMPLETE"), default=None)
        told = {"stage": stage, "trial": trial, "fold": fold, "epoch": epoch, "epochs": epochs, "best": best}
        self.progress({**told, "left_s": self._left()})

    def _described(self, best: Any, fit: Fit, seconds: float) -> DetectionResult:
        way, outcome = self.trials.answers(best) if best else (self._untested(), None)
        if outcome is not None:
            outcome = self._on_scale_of(fit.detector, outcome, best.user_attrs["sureness"])
        return DetectionResult(
            recipe=fit.recipe,
            detector=fit.detector,
            input_px=way.side(fit.recipe.image_size),
            suppression=way.suppression,
            second=self.problem.crops if way.second else None,
            outcome=outcome,
            folds=len(self.trials.folds) if outcome else 0,
            metric=map50(outcome) if outcome else None,
            fold_scores=tuple(best.user_attrs["fold_scores"]) if best else (),
            history=fit.history,
            trials=self.trials.records(),
            plan=self.trials.plan,
            seconds=seconds,
            warnings=self._warnings(outcome is None),
        )

    def _warnings(self, unknown: bool) -> tuple[str, ...]:
        absent = self.problem.crops.absent if self.problem.crops else ""
        alone = self.problem.groups < 2
        why = "nothing could be held out" if alone else "the budget left no time for cross-validation"
        found = (f"{why}: the quality is unknown",) if unknown else ()
        return (*found, f"nothing looked at the boxes twice: {absent}") if absent else found

    def _on_scale_of(self, final: Any, outcome: DetectionOutcome, folds: list[float]) -> DetectionOutcome:
        mine = self.problem.sureness(final, self.problem.examples)
        return outcome if mine is None or not folds else shifted(outcome, mine - float(np.mean(folds)))

    def _untested(self) -> Way:
        most = max(len(e.boxes) for e in self.problem.examples)
        return Way(suppressions.untested(most, self.problem.rules.suppression.max_detections))


def opened(place: Place, seed: int) -> Any:
    """The study, as the process that leads it: few trials, each of them dear, compared image by image."""
    with _experimental():
        return studies.lead(place, STUDY, seed=seed, direction="maximize", sampler="gp", pruner="wilcoxon", startup=5)


def joined(place: Place, seed: int) -> Any:
    with _experimental():
        return studies.join(place, STUDY, seed=seed, sampler="gp", pruner="wilcoxon")


@contextmanager
def _experimental() -> Iterator[None]:
    """Optuna says of this pruner that its interface may change: of interest to us, not to who trains a detector."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
