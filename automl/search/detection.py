"""The search for a detector: cross-validated recipes in an Optuna study, then one fit on all images.

The default recipe is tried first, and it stays unless another one beats it clearly, since the best of many noisy scores
is too good to be true. Everything that a finished trial found (score, out-of-fold predictions) lies beside the journal,
so that a search that was killed goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tenshot.automl.bundle import Suppression
from tenshot.automl.detectors import family_of
from tenshot.automl.detectors.examples import Example, truth
from tenshot.automl.detectors.recipe import Recipe
from tenshot.automl.evaluation import outcomes
from tenshot.automl.evaluation.outcomes import Boxes, DetectionOutcome
from tenshot.automl.predictor import prepare, suppress
from tenshot.automl.search import study as studies
from tenshot.automl.search import suppressions
from tenshot.automl.search.detection_budget import Cost, Plan, epochs_within, plan
from tenshot.automl.search.detection_result import DetectionResult
from tenshot.automl.search.detection_space import (
    Choices,
    Space,
    default_params,
    default_recipe,
    recipe_with,
    space,
)
from tenshot.automl.search.place import Place, Where, place_of
from tenshot.automl.search.score_scale import shifted, sureness
from tenshot.automl.search.sharing import Stage
from tenshot.automl.search.suppressions import map50
from tenshot.automl.trials import Trial
from tenshot.projects.errors import EmptyDataError, JobCancelled, TrainingError

MARGIN = 0.01
"""mAP50 by which a recipe must beat the default to replace it."""
RESERVED = 0.4
"""Largest share of the budget that is kept for the final fit."""
MOST_SKIPPED = 3
"""Drawn recipes in a row that the time left does not allow before the search ends."""
STATISTICS_IMAGES = 32
PROBE_IMAGES = 4
PROBE_EPOCHS = 3
STUDY = "detection"

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
) -> DetectionResult:
    """The best recipe that `budget_s` seconds of wall clock and `trials` trials find, and a detector trained with it.

    weights: the base network's ONNX file. journal: where the study lies; a second call with the same one and images
    continues the search (its budget is its own). progress gets `{"stage", "trial", "fold", "epoch", "epochs", "best",
    "left_s"}`. check raises to cancel.
    left: seconds left now, where that may change while the search goes on. Raises EmptyDataError, TrainingError,
    JobCancelled.
    """
    if not any(example.boxes for example in train_examples):
        raise EmptyDataError("none of the training images has a box", hint="label at least a few images")
    end = time.monotonic() + budget_s
    run = _Search(
        examples=list(train_examples),
        labels=tuple(labels),
        weights=weights,
        left=left or (lambda: end - time.monotonic()),
        budget_s=budget_s,
        trials=trials,
        seed=seed,
        place=place_of(journal),
        progress=progress,
        check=check,
        threads=threads,
        family=family_of(family),
        rules=rules or space(),
    )
    return run.result()


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
) -> None:
    """Take trials of a search that another process leads, on the same images, until there are none to take. What check
    raises ends it. Raises TrainingError where the images or settings are not the same."""
    run = _Search(
        examples=list(train_examples),
        labels=tuple(labels),
        weights=weights,
        left=lambda: stage.ends_at - time.time(),
        budget_s=stage.details["budget_s"],
        trials=stage.trials,
        seed=stage.seed,
        place=place,
        progress=lambda _: None,
        check=check,
        threads=threads,
        family=family_of(family),
        rules=rules or space(),
    )
    run.join(stage)


@dataclass
class _Search:
    examples: list[Example]
    labels: tuple[str, ...]
    weights: Path
    left: Callable[[], float]
    budget_s: float
    trials: int
    seed: int
    place: Place
    progress: Progress
    check: Check
    threads: int
    family: Any
    rules: Space

    @property
    def end(self) -> float:
        """The `time.monotonic()` at which the search has to be over, as things stand."""
        return time.monotonic() + self.left()

    def result(self) -> DetectionResult:
        started = time.monotonic()
        self.default = default_recipe(self.examples, self.rules)
        self.cost = self._measured_cost(self.default)
        self.study = self._study()
        self.plan = self._planned()
        self.full = self.default.epochs
        self.default = self.default.with_(epochs=self.plan.epochs, image_size=self.plan.image_size)
        if self.plan.folds:
            details = {"cost": asdict(self.cost), "budget_s": self.budget_s}
            with studies.published(self.study, trials=self.trials, left_s=self.left(), details=details):
                self._try_recipes()
        best = self._chosen()
        recipe = Recipe.from_json(best.user_attrs["recipe"]) if best else self.default
        detector, recipe, history = self._final(recipe)
        suppression, outcome = self._suppression(best) if best else (self._plain_suppression(), None)
        if outcome is not None:
            outcome = self._on_scale_of(detector, outcome, best.user_attrs.get("sureness"))
        return DetectionResult(
            recipe=recipe,
            detector=detector,
            suppression=suppression,
            outcome=outcome,
            metric=map50(outcome) if outcome else None,
            fold_scores=tuple(best.user_attrs["fold_scores"]) if best else (),
            history=history,
            trials=tuple(_described(t) for t in self.study.trials if "recipe" in t.user_attrs),
            plan=self.plan,
            seconds=time.monotonic() - started,
        )

    def join(self, stage: Stage) -> None:
        self.default = default_recipe(self.examples, self.rules)
        self.cost = Cost(**stage.details["cost"])
        self.study = studies.join(self.place, STUDY, seed=self.seed, sampler="tpe", pruner="median")
        self._claim(self.study)
        self.plan = Plan(**self.study.user_attrs["plan"])
        self.full = self.default.epochs
        self.default = self.default.with_(epochs=self.plan.epochs, image_size=self.plan.image_size)
        self._try_recipes()

    # The study ------------------------------------------------------------------------------------------------

    def _study(self) -> Any:
        study = studies.lead(
            self.place, STUDY, seed=self.seed, direction="maximize", sampler="tpe", pruner="median", startup=5
        )
        self._claim(study)
        return study

    def _claim(self, study: Any) -> None:
        """The journal belongs to these images and labels. Raises TrainingError if it is another search's."""
        rows = [(e.image, e.group, [(b.label, *b.xyxy) for b in e.boxes]) for e in self.examples]
        text = json.dumps([self.labels, rows, self.seed, self.rules.model_dump()])
        mine = hashlib.sha256(text.encode()).hexdigest()
        found = study.user_attrs.get("fingerprint", mine)
        if found != mine:
            raise TrainingError(
                f"{self.place.journal} belongs to a search over other images, labels or settings",
                hint="begin a new training, without --resume",
            )
        study.set_user_attr("fingerprint", mine)

    def _planned(self) -> Plan:
        """A continued search keeps its folds and epochs, so that its trials can be compared."""
        kept = self.study.user_attrs.get("plan")
        if kept and any(t.state.name == "COMPLETE" for t in self.study.trials):
            return Plan(**kept)
        groups = len({e.group or e.image for e in self.examples})
        made = plan(self.end - time.monotonic(), len(self.examples), groups, self.default, self.cost)
        self.study.set_user_attr("plan", asdict(made))
        return made

    def _try_recipes(self) -> None:
        self.folds = self._folds()
        skipped = 0

        def may_begin(others: int) -> bool:
            return skipped < MOST_SKIPPED and self._finished() + others < self.trials

        while studies.turn(self.study, may_begin, waits=self._waits, check=self.check):
            trial, recipe = self._ask()
            if not self._affordable(recipe):
                self._tell(trial, "PRUNED")
                skipped += 1
                continue
            skipped = 0
            self._try(trial, recipe)
        studies.close(self.study)

    def _waits(self) -> bool:
        """Whether there is time to wait for the trials of others, before the final fit."""
        return not self._complete() or self.left() > self._reserve(self.default)

    def _finished(self) -> int:
        """Trials that need not be repeated: what was interrupted or never started does not count."""
        return sum("recipe" in t.user_attrs and _settled(t) for t in self.study.trials)

    def _ask(self) -> tuple[Any, Recipe]:
        if self.study.leads:
            self._enqueue_known()
        trial = studies.begin(self.study)
        params = {name: _suggest(trial, name, how) for name, how in self.rules.space.items()}
        known = self._known_rows()
        number = known.index(params) if params in known else None
        trial.set_user_attr("kind", "drawn" if number is None else ("first" if number else "default"))
        return trial, recipe_with(self.default, params)

    def _known_rows(self) -> list[dict[str, float]]:
        """The default, then the known alternatives."""
        base = default_params(self.rules, self.default)
        return [{**base, **row} for row in ({}, *self.rules.first)]

    def _enqueue_known(self) -> None:
        """The next known recipe that nobody has tried or is about to."""
        tried = [t.params for t in self.study.trials if _settled(t)]
        for params in self._known_rows():
            if params not in tried and not studies.tries(self.study, params):
                self.study.enqueue_trial(params)
                return

    def _affordable(self, recipe: Recipe) -> bool:
        """Its folds and the dearest final fit that may follow fit into the time left. The first trial always does: the
        plan was made for it."""
        if not self._complete() and not studies.elsewhere(self.study):
            return True
        images, recipes = len(self.examples), (recipe, *self._complete_recipes())
        finals = [self.cost.fit_s(images, r.with_(epochs=self.full)) for r in recipes]
        needed = self.cost.folds_s(images, self.plan.folds, recipe) + max(finals)
        return time.monotonic() + 1.1 * needed < self.end

    def _complete(self) -> list[Any]:
        return [t for t in self.study.trials if t.state.name == "COMPLETE"]

    def _complete_recipes(self) -> list[Recipe]:
        best = self._chosen()
        return [Recipe.from_json(best.user_attrs["recipe"])] if best else []

    def _try(self, trial: Any, recipe: Recipe) -> None:
        started = time.monotonic()
        trial.set_user_attr("recipe", recipe.to_json())
        try:
            scores = self._cross_validate(trial, recipe)
        except JobCancelled:
            self._tell(trial, "FAIL", lost=True)
            raise
        except TrainingError as error:
            self._tell(trial, "FAIL", error=error.message)
            return
        except BaseException as error:
            self._tell(trial, "FAIL", **({"lost": True} if studies.loses(self.study, error) else {}))
            raise
        trial.set_user_attr("seconds", round(time.monotonic() - started, 2))
        if scores is None:
            self._tell(trial, "PRUNED")
            return
        studies.tell(self.study, trial, map50(self._load(trial.number, Suppression())), fold_scores=scores)

    def _tell(self, trial: Any, state: str, **attributes: Any) -> None:
        import optuna

        studies.tell(self.study, trial, state=optuna.trial.TrialState[state], **attributes)

    def _chosen(self) -> Any:
        """The best finished trial, or the default if that is within MARGIN of it; None before any finished."""
        done = self._complete()
        if not done:
            return None
        best = max(done, key=lambda t: (t.value, -t.number))
        default = [t for t in done if t.user_attrs["kind"] == "default"]
        return default[0] if default and default[0].value + MARGIN >= best.value else best

    # Training -------------------------------------------------------------------------------------------------

    def _folds(self) -> list[Any]:
        from tenshot.automl.search.folds import folds

        counts = {name: sum(any(b.label == name for b in e.boxes) for e in self.examples) for name in self.labels}
        rarest = [min({b.label for b in e.boxes}, key=lambda n: (counts[n], n), default="") for e in self.examples]
        strata = [self.labels.index(name) if name else len(self.labels) for name in rarest]
        names = [e.group or e.image for e in self.examples]
        index = {name: i for i, name in enumerate(dict.fromkeys(names))}
        return folds(strata, [index[n] for n in names], count=self.plan.folds, seed=self.seed)

    def _cross_validate(self, trial: Any, recipe: Recipe) -> list[float] | None:
        """mAP50 of each fold, after saving the out-of-fold predictions; None if it was pruned on the way."""
        grid = self._grid()
        found: list[dict[int, Boxes]] = [{} for _ in grid]
        scores: list[float] = []
        sure: list[float | None] = []
        for number, (train, held) in enumerate(self.folds):
            detector = self._fit(recipe, [self.examples[i] for i in train], trial=trial.number, fold=number)
            for i in held.tolist():
                for per_image, boxes in zip(found, self._predict(detector, self.examples[i], grid), strict=True):
                    per_image[i] = boxes
            sure += [self._sureness(detector, [self.examples[i] for i in train])]
            # The grid's first entry is the suppression that recipes are compared with.
            scores.append(map50(self._outcome({i: found[0][i] for i in held.tolist()})))
            trial.report(float(np.mean(scores)), number)
            if number + 1 < len(self.folds) and trial.should_prune():
                return None
        trial.set_user_attr("sureness", [value for value in sure if value is not None])
        for how, predictions in zip(grid, found, strict=True):
            outcomes.save(self._outcome(predictions), self._path(trial.number, how))
        return scores

    def _fit(self, recipe: Recipe, examples: list[Example], *, trial: int | None, fold: int | None) -> Any:
        images = [e.pixels() for e in examples[:STATISTICS_IMAGES]]
        base = self.family.load_base(
            self.weights, self.labels, images=images, image_size=recipe.image_size, seed=self.seed
        )
        rows: list[dict[str, float]] = []

        def on_epoch(epoch: int, epochs: int, losses: dict[str, float]) -> None:
            rows.append({"epoch": float(epoch), **losses})
            best = self._chosen()
            self.progress(
                {
                    "stage": "final fit" if trial is None else "search",
                    "trial": trial,
                    "fold": fold,
                    "epoch": epoch,
                    "epochs": epochs,
                    "best": best.value if best else None,
                    "left_s": max(0.0, self.end - time.monotonic()),
                }
            )

        started = time.monotonic()
        detector = self.family.train(
            base,
            examples,
            recipe,
            seed=self.seed,
            threads=self.threads,
            on_epoch=on_epoch,
            check=self.check,
            deadline=self.end if trial is None else self.end - self._reserve(recipe),
        )
        self._learn_cost(recipe, len(examples) * len(rows), time.monotonic() - started)
        self.history = tuple(rows)
        return detector

    def _reserve(self, recipe: Recipe) -> float:
        """Seconds that a trial must leave to the final fit, even if trials turn out slower than planned."""
        return min(self.cost.fit_s(len(self.examples), recipe), RESERVED * self.budget_s)

    def _final(self, recipe: Recipe) -> tuple[Any, Recipe, tuple[dict[str, float], ...]]:
        """With all the epochs that the time left allows: folds may have had fewer, if the plan was short of time. Fewer
        epochs are better than a schedule that is cut off."""
        whole = recipe.with_(epochs=max(recipe.epochs, self.full))
        epochs = epochs_within(self.end - time.monotonic(), len(self.examples), whole, self.cost)
        fitting = recipe.with_(epochs=epochs)
        detector = self._fit(fitting, self.examples, trial=None, fold=None)
        return detector, fitting, self.history

    def _measured_cost(self, recipe: Recipe) -> Cost:
        """Seconds per view, from the faster of two epochs on a few images after one that warms up."""
        few = [e for e in self.examples if e.boxes][:PROBE_IMAGES]
        images = [e.pixels() for e in few]
        base = self.family.load_base(self.weights, self.labels, images=images, image_size=recipe.image_size)
        at: list[float] = []
        self.family.train(
            base,
            few,
            recipe.with_(epochs=PROBE_EPOCHS),
            seed=self.seed,
            threads=self.threads,
            on_epoch=lambda *_: at.append(time.monotonic()),
            check=self.check,
        )
        return Cost(float(np.diff(at).min()) / len(few), recipe.image_size)

    def _learn_cost(self, recipe: Recipe, views: int, seconds: float) -> None:
        """The last real fit says more than the probe: start-up and a busy machine are in it."""
        if views:
            one = replace(self.cost, view_s=1.0).fit_s(1, recipe.with_(epochs=1))
            self.cost = replace(self.cost, view_s=seconds / (views * one))

    # Predictions ----------------------------------------------------------------------------------------------

    def _predict(self, detector: Any, example: Example, grid: Sequence[Suppression]) -> list[Boxes]:
        image, spec = example.pixels(), self.family.input_spec(detector.image_size)
        output = self.family.network(detector)(prepare(image, spec)[None])[0]
        return [suppress(output, image.shape[:2], spec, how) for how in grid]

    def _sureness(self, detector: Any, examples: Sequence[Example]) -> float | None:
        """How sure a detector is of boxes that it was trained on; see `score_scale`."""
        truths = [truth(e, self.labels) for e in examples]
        return sureness(truths, [self._predict(detector, e, [Suppression()])[0] for e in examples])

    def _on_scale_of(self, final: Any, outcome: DetectionOutcome, folds: list[float] | None) -> DetectionOutcome:
        mine = self._sureness(final, self.examples)
        return outcome if mine is None or not folds else shifted(outcome, mine - float(np.mean(folds)))

    def _outcome(self, predictions: Mapping[int, Boxes]) -> DetectionOutcome:
        rows = sorted(predictions)
        return DetectionOutcome(
            self.labels,
            tuple(self.examples[i].image for i in rows),
            tuple(truth(self.examples[i], self.labels) for i in rows),
            tuple(predictions[i] for i in rows),
        )

    def _grid(self) -> list[Suppression]:
        return suppressions.grid(self.rules.suppression.iou, len(self.labels))

    def _path(self, trial: int, how: Suppression) -> Path:
        name = f"iou{how.iou:g}{'-any' if how.class_agnostic else ''}.npz"
        return self.place.trial_dir(STUDY, trial) / name

    def _load(self, trial: int, how: Suppression) -> DetectionOutcome:
        outcome = outcomes.load(self._path(trial, how))
        assert isinstance(outcome, DetectionOutcome)  # noqa: S101  # written by this class
        return outcome

    def _suppression(self, trial: Any) -> tuple[Suppression, DetectionOutcome]:
        ways = [(how, self._load(trial.number, how)) for how in self._grid()]
        return suppressions.choose(ways, self.rules.suppression.max_detections)

    def _plain_suppression(self) -> Suppression:
        most = max(len(e.boxes) for e in self.examples)
        return suppressions.untested(most, self.rules.suppression.max_detections)


def _settled(trial: Any) -> bool:
    """Finished by itself, if only with an error of the training."""
    return trial.state.name in ("COMPLETE", "PRUNED") or "error" in trial.user_attrs


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
