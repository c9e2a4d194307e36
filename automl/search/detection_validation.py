"""Cross-validation of one recipe: out-of-fold predictions for every way of asking, and what each image scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tenshot.automl.detectors.recipe import Recipe
from tenshot.automl.evaluation import outcomes
from tenshot.automl.evaluation.outcomes import Boxes, DetectionOutcome
from tenshot.automl.search.detection_choice import image_scores
from tenshot.automl.search.detection_fits import Fit, Fits
from tenshot.automl.search.detection_problem import Problem
from tenshot.automl.search.suppressions import Way, map50
from tenshot.automl.second_look import SecondLook

ENOUGH = 0.5
"""Share of its epochs below which a detector that the deadline stopped says nothing about its recipe."""

LOOKING_S = 5.0
"""Seconds that have to be left besides those in which a second look is learned; a short search does without."""
LOOKING_SLACK = 1.5

OnFold = Callable[[int, "Validated"], bool]
"""fold (from 0), what is known after it → whether to go on."""
OnEpoch = Callable[[int, int, int], None]
"""fold, epoch, epochs in all."""


@dataclass
class Validated:
    problem: Problem
    ways: Sequence[Way]
    predictions: list[dict[int, Boxes]] = field(repr=False)
    """For each way: image's index → its out-of-fold boxes."""
    fold_scores: list[float] = field(default_factory=list)
    """mAP50 of each fold, asked in the first way."""
    sureness: list[float] = field(default_factory=list)
    cut: bool = False
    """The deadline stopped the last of the folds before all of its epochs."""
    looked: bool = True
    """Whether a second network could be learned for each of the folds; without one, the first look answers."""

    @property
    def outcome(self) -> DetectionOutcome:
        """Asked in the first way."""
        return self.problem.outcome(self.predictions[0])

    def image_scores(self) -> list[tuple[int, float]]:
        """Image's index and score; images without a box have none."""
        scores = zip(sorted(self.predictions[0]), image_scores(self.outcome).tolist(), strict=True)
        return [(i, score) for i, score in scores if score == score]

    def save(self, folder: Path) -> None:
        """The answers of a second look only if they are of nothing else: a mixture tells of nothing that is served."""
        for way, found in zip(self.ways, self.predictions, strict=True):
            if way.second and not self.looked:
                continue
            outcomes.save(self.problem.outcome(found), folder / f"{way.name}.npz")


def has(folder: Path, way: Way) -> bool:
    return (folder / f"{way.name}.npz").is_file()


def load(folder: Path, way: Way) -> DetectionOutcome:
    outcome = outcomes.load(folder / f"{way.name}.npz")
    assert isinstance(outcome, DetectionOutcome)  # noqa: S101  # written by `save`
    return outcome


def validate(
    fits: Fits,
    folds: Sequence[Any],
    recipe: Recipe,
    ways: Sequence[Way],
    *,
    deadline: Callable[[], float],
    on_fold: OnFold = lambda *_: True,
    on_epoch: OnEpoch = lambda *_: None,
) -> Validated:
    """Train on each fold's images and ask about the others. Ends after a fold where `on_fold` says so, or (`cut`) where
    the deadline (asked before each fold) left it fewer epochs. Asking takes time, too: training ends before the
    deadline. Raises TrainingError."""
    known = Validated(fits.problem, ways, [{} for _ in ways])
    for number, train, held, fit in _fitted(fits, folds, recipe, deadline, on_epoch):
        known.cut = fit.share < 1.0
        if fit.share < ENOUGH:
            break
        second = _second(known, train, deadline() - time.monotonic())
        started = time.monotonic()
        _ask(known, fit.detector, second, held)
        sure = fits.problem.sureness(fit.detector, [fits.problem.examples[i] for i in train])
        known.sureness += [sure] if sure is not None else []
        fits.asking_s = (time.monotonic() - started) / len(held)
        if not on_fold(number, known) or known.cut:
            break
    return known


def _fitted(
    fits: Fits, folds: Sequence[Any], recipe: Recipe, deadline: Callable[[], float], on_epoch: OnEpoch
) -> Iterator[tuple[int, list[int], list[int], Fit]]:
    for number, (train, held) in enumerate(folds):
        examples = [fits.problem.examples[i] for i in train]
        ends = deadline() - fits.asking_s * len(held)
        fit = fits.fit(recipe, examples, deadline=ends, on_epoch=partial(on_epoch, number))
        yield number, train.tolist(), held.tolist(), fit


def _second(known: Validated, train: Sequence[int], left_s: float) -> SecondLook | None:
    """Learned from these images, if there is time to."""
    crops = known.problem.crops
    if crops is None:
        return None
    found = crops.look(train) if left_s > LOOKING_S + LOOKING_SLACK * crops.seconds else None
    known.looked &= found is not None
    return found


def _ask(known: Validated, detector: Any, second: SecondLook | None, held: Sequence[int]) -> None:
    for i in held:
        answers = known.problem.answers(detector, known.problem.examples[i], known.ways, second)
        for per_image, boxes in zip(known.predictions, answers, strict=True):
            per_image[i] = boxes
    known.fold_scores.append(map50(known.problem.outcome({i: known.predictions[0][i] for i in held})))
