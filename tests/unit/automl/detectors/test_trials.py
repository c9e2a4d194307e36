"""Which trials of a detection search begin, and what becomes of those that fail; no network is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenshot.automl.bundle import Input
from tenshot.automl.detectors.examples import Example
from tenshot.automl.detectors.recipe import Recipe
from tenshot.automl.search import detection
from tenshot.automl.search import detection_validation as validation
from tenshot.automl.search.detection_budget import Cost, Plan
from tenshot.automl.search.detection_fits import Fit
from tenshot.automl.search.detection_problem import Problem
from tenshot.automl.search.detection_space import default_recipe, space
from tenshot.automl.search.detection_trials import STUDY, Trials
from tenshot.automl.search.place import Place
from tenshot.automl.second_look import SecondLook
from tenshot.datasets.annotations import Box
from tenshot.projects.errors import TrainingError

SPEC = Input(64, 64, "stretch")
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
        return Input(side, side, "letterbox")


@dataclass
class Fitted:
    """Trainings that take no time and end after a share of their epochs."""

    problem: Problem
    share: float
    begun: list[Recipe] = field(default_factory=list)
    cost: Cost = field(default_factory=lambda: Cost(1.0, 64))
    asking_s: float = 0.0

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


def search(folder: Path, left: Callable[[], float]) -> Any:
    trials, fits = made(folder, 1e9, share=1.0)
    found = detection._Search(trials.problem, Place(folder / "journal.log"), left, 4, lambda _: None, fits.check)
    found.fits, found.study, found.trials, found.full = fits, trials.study, trials, trials.default  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("left", [pytest.param(0.0, id="no-time"), pytest.param(-5.0, id="overdrawn")])
def test_a_default_that_the_deadline_cuts_is_not_begun_again(tmp_path: Path, left: float) -> None:
    trials, fits = made(tmp_path, left, share=0.1)
    trials.run()
    assert len(fits.begun) == 1
    assert not trials.complete()


class Failing(Fitted):
    def fit(self, recipe: Recipe, *_: Any, **__: Any) -> Fit:
        raise TrainingError("the loss is not finite any more")


def test_a_winner_that_fails_on_fresh_folds_gives_way_to_the_default(tmp_path: Path) -> None:
    trials, _ = made(tmp_path, 1e9, share=1.0)
    trials.run()
    other = next(t for t in trials.complete() if t.user_attrs["kind"] == "first")
    trials.fits = Failing(trials.problem, 1.0)  # type: ignore[assignment]
    assert trials.confirmed(other).user_attrs["kind"] == "default"


class Looking:
    """A second network that can be learned as often as `times` says."""

    seconds = 0.0

    def __init__(self, times: int) -> None:
        self.times = times

    def look(self, _: Any) -> SecondLook | None:
        self.times -= 1
        return SecondLook(lambda batch: np.ones((len(batch), 2), np.float32) / 2, SPEC) if self.times >= 0 else None


@pytest.mark.parametrize(
    ("times", "kept"), [pytest.param(2, True, id="each-fold"), pytest.param(1, False, id="one-of-two-folds")]
)
def test_answers_of_a_second_look_are_of_nothing_else(tmp_path: Path, times: int, kept: bool) -> None:
    trials, _ = made(tmp_path, 1e9, share=1.0)
    trials.problem = trials.fits.problem = replace(trials.problem, crops=Looking(times))  # type: ignore[arg-type]
    trials.most = 1
    trials.run()
    folder = trials.study.place.trial_dir(STUDY, 0)
    assert [validation.has(folder, way) for way in trials.ways() if way.second] == [kept] * 4
    assert all(validation.has(folder, way) for way in trials.ways() if not way.second)


@pytest.mark.parametrize(
    ("share", "fits_type", "longer"),
    [
        pytest.param(1.0, Fitted, True, id="whole"),
        pytest.param(0.9, Fitted, True, id="shortened"),
        pytest.param(0.3, Fitted, False, id="hardly-longer-than-the-first"),
        pytest.param(1.0, Failing, False, id="failed"),
    ],
)
def test_the_default_is_trained_for_longer_where_there_is_time(
    tmp_path: Path, share: float, fits_type: type[Fitted], longer: bool
) -> None:
    going_on = search(tmp_path, lambda: 1e9)
    going_on.fits = fits_type(going_on.problem, share)  # type: ignore[assignment]
    first = Fit(Silent(), going_on.full, ({"epoch": 1.0},) * 16)  # of 64
    best, fit = going_on._final(None, first)
    assert best is None
    assert (fit is not first) is longer


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param(None, 256, id="nothing-is-there"),
        pytest.param(320, 320, id="larger-than-there-is-time-for"),
        pytest.param(224, 256, id="smaller"),
        pytest.param(640, 416, id="larger-than-wanted"),
    ],
)
def test_a_search_that_goes_on_keeps_its_first_detector(tmp_path: Path, before: int | None, expected: int) -> None:
    going_on = search(tmp_path, lambda: 20.0)
    if before:
        going_on.study.set_user_attr("first", {"recipe": Recipe(image_size=before).to_json(), "history": []})
    assert going_on._planned(going_on.full).image_size == expected
