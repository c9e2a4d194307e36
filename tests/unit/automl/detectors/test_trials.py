"""Which trials of a detection search begin, and what becomes of those that fail; no network is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenshot.automl.detectors.examples import Example
from tenshot.automl.detectors.recipe import Recipe
from tenshot.automl.search import detection
from tenshot.automl.search.detection_budget import Cost, Plan
from tenshot.automl.search.detection_fits import Fit
from tenshot.automl.search.detection_problem import Problem
from tenshot.automl.search.detection_space import default_recipe, space
from tenshot.automl.search.detection_trials import Trials
from tenshot.automl.search.place import Place
from tenshot.datasets.annotations import Box

IMAGE = np.zeros((64, 64, 3), np.uint8)


@dataclass(frozen=True)
class Silent:
    """A detector that finds nothing."""

    image_size: int = 64


class Family:
    @staticmethod
    def network(_: Any) -> Callable[[Any], Any]:
        return lambda batch: np.zeros((len(batch), 5, 1), np.float32)

    @staticmethod
    def input_spec(side: int) -> Any:
        from tenshot.automl.bundle import Input

        return Input(side, side, "letterbox")


@dataclass
class Fitted:
    """Trainings that take no time and end after a share of their epochs."""

    problem: Problem
    share: float
    begun: list[Recipe] = field(default_factory=list)
    cost: Cost = field(default_factory=lambda: Cost(1.0, 64))

    def check(self) -> None:
        assert len(self.begun) < 20, "it goes on and on"

    def fit(self, recipe: Recipe, *_: Any, **__: Any) -> Fit:
        self.begun.append(recipe)
        return Fit(Silent(), recipe, ({"epoch": 1.0},) * max(1, int(self.share * recipe.epochs)))


def made(folder: Path, left: float, share: float) -> tuple[Trials, Fitted]:
    one = Example("", lambda: IMAGE, (Box("square", 0.1, 0.1, 0.5, 0.5),), "", (64, 64))
    examples = [replace(one, image=str(i)) for i in range(6)]
    problem = Problem(examples, ("square",), Path("unused"), 0, 1, Family, space())
    fits, default = Fitted(problem, share), default_recipe(examples, space())
    study = detection.opened(Place(folder / "journal.log"), 0)
    return Trials(problem, fits, study, Plan(2, default.epochs, 64), default, default.epochs, lambda: left, 4), fits  # type: ignore[arg-type]


@pytest.mark.parametrize("left", [pytest.param(0.0, id="no-time"), pytest.param(-5.0, id="overdrawn")])
def test_a_default_that_the_deadline_cuts_is_not_begun_again(tmp_path: Path, left: float) -> None:
    trials, fits = made(tmp_path, left, share=0.1)
    trials.run()
    assert len(fits.begun) == 1
    assert not trials.complete()
