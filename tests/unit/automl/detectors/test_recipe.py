from __future__ import annotations

import json

import pytest

from tenshot.automl.detectors.recipe import Recipe, rounded_size
from tenshot.projects.errors import TrainingError


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(image_size=640, epochs=7, mosaic=0.5)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(TrainingError, match="mosiac"):
        Recipe.from_json({"mosiac": 1.0})


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"image_size": 500}, id="not-a-multiple-of-the-stride"),
        pytest.param({"image_size": 0}, id="no-pixels"),
        pytest.param({"epochs": 0}, id="no-epochs"),
        pytest.param({"batch": 0}, id="no-batch"),
    ],
)
def test_what_no_network_can_do_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(TrainingError):
        Recipe(**wrong)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [pytest.param(500, 512, id="up"), pytest.param(420, 416, id="down"), pytest.param(3, 32, id="at-least-a-stride")],
)
def test_sizes_are_rounded_to_the_stride(pixels: int, expected: int) -> None:
    assert rounded_size(pixels) == expected


@pytest.mark.parametrize(
    ("freeze", "share", "expected"),
    [
        pytest.param(0, 0.5, None, id="nothing-is-frozen"),
        pytest.param(10, 1.0, None, id="frozen-to-the-end"),
        pytest.param(10, 0.5, 20, id="halfway"),
        pytest.param(10, 0.0, 0, id="at-once"),
    ],
)
def test_when_frozen_blocks_thaw(freeze: int, share: float, expected: int | None) -> None:
    assert Recipe(epochs=40, freeze=freeze, frozen_share=share).thaw_epoch == expected
