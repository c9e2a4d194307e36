"""A whole detection search around a family whose training takes no time: what is chosen, kept and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tenshot.automl.bundle import Input
from tenshot.automl.detectors.examples import Example
from tenshot.automl.predictor import RGB, prepare
from tenshot.automl.search import detection
from tenshot.datasets.annotations import Box
from tenshot.projects.errors import WeightsError

LABELS = ("blue", "red")
COLOURS = {"red": (220, 20, 20), "blue": (20, 20, 220)}


class Family:
    """Finds the one thing that is not grey, and takes it for a red one in any case."""

    def __init__(self) -> None:
        self.trained: list[int] = []

    def load_base(self, *_: Any, image_size: int, **__: Any) -> Any:
        return SimpleNamespace(image_size=image_size)

    def train(self, base: Any, examples: Any, recipe: Any, *, on_epoch: Any, **_: Any) -> Any:
        self.trained.append(len(examples))
        for epoch in range(recipe.epochs):
            on_epoch(epoch + 1, recipe.epochs, {"loss": 1.0})
        return SimpleNamespace(image_size=recipe.image_size)

    def input_spec(self, side: int) -> Input:
        return Input(side, side, "letterbox")

    def network(self, _: Any) -> Callable[[Any], Any]:
        return lambda batch: np.stack([self._found(one) for one in batch])

    def _found(self, image: np.ndarray) -> np.ndarray:
        down, across = np.nonzero(np.ptp(image, axis=0) > 0.2)
        left, top, right, bottom = across.min(), down.min(), across.max() + 1, down.max() + 1
        row = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top, 0.5, 0.6]
        return np.array([row], np.float32).T

    def save(self, found: Any, path: Path) -> None:
        path.write_text(json.dumps(found.image_size))

    def load(self, path: Path) -> Any:
        return SimpleNamespace(image_size=json.loads(path.read_text()))


class Colours:
    """In place of a backbone: means of the colours of a crop, many times over."""

    spec = Input(16, 16, "stretch")

    def run(self, batch: np.ndarray) -> np.ndarray:
        return np.tile(batch.mean(axis=(2, 3)), 500).astype(np.float32)

    def of_pixels(self, images: list[RGB]) -> np.ndarray:
        return self.run(np.stack([prepare(image, self.spec) for image in images]))


def example(number: int) -> Example:
    name, left, top = LABELS[number % 2], 8 * number, 90 - 9 * number
    image = np.full((128, 128, 3), 128, np.uint8)
    image[top : top + 32, left : left + 32] = COLOURS[name]
    return Example(str(number), lambda: image, (Box(name, left / 128, top / 128, 0.25, 0.25),), "", (128, 128))


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> Family:
    made = Family()
    monkeypatch.setattr(detection, "family_of", lambda _: made)
    return made


def search(folder: Path, second: Any, **changes: Any) -> Any:
    options = {"weights": Path("unused"), "budget_s": 600.0, "trials": 1, "seed": 0, **changes}
    examples = options.pop("examples", [example(n) for n in range(10)])
    return detection.search(examples, LABELS, journal=folder / "journal.log", second=second, **options)


def absent() -> Any:
    raise WeightsError("the weights are not here")


def test_a_second_look_is_taken_where_it_pays(tmp_path: Path, family: Family) -> None:
    found = search(tmp_path, Colours)
    assert found.second is not None
    assert found.metric == pytest.approx(1.0)
    assert found.trials[0].value < 0.8  # of the first look
    assert found.warnings == ()
    assert found.second.look(range(10)) is not None


@pytest.mark.parametrize("second", [pytest.param(None, id="none"), pytest.param(absent, id="no-weights")])
def test_without_a_second_network_the_first_look_answers(tmp_path: Path, family: Family, second: Any) -> None:
    found = search(tmp_path, second)
    assert found.second is None
    assert found.metric < 0.8
    assert [("the weights are not here" in one) for one in found.warnings] == ([True] if second else [])


def test_weights_that_are_gone_leave_the_first_look(tmp_path: Path, family: Family) -> None:
    """The search that goes on has the answers of a second look, and nothing to look with."""
    assert search(tmp_path, Colours).second is not None
    before = len(family.trained)
    again = search(tmp_path, absent)
    assert len(family.trained) == before + 1  # the probe
    assert again.second is None
    assert again.metric < 0.8
    assert "the weights are not here" in again.warnings[0]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"left": lambda: 0.0}, "no time for cross-validation", id="no-time"),
        pytest.param({"examples": [replace(example(n), group="a") for n in range(2)]}, "held out", id="all-alike"),
    ],
)
def test_why_the_quality_is_unknown(tmp_path: Path, family: Family, changes: dict[str, Any], why: str) -> None:
    found = search(tmp_path, None, **changes)
    assert found.metric is None
    assert why in found.warnings[0]


def test_a_short_search_learns_no_second_look(tmp_path: Path, family: Family) -> None:
    found = search(tmp_path, Colours, left=lambda: 8.0)
    assert found.metric is not None
    assert found.second is None
