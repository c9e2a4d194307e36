"""`configs/search_spaces/detection.yaml`, read strictly, and the default recipe that it gives for a set of images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tenshot.automl.detectors.examples import Example
from tenshot.automl.detectors.recipe import Recipe, rounded_size
from tenshot.projects.errors import SettingsError

SCALE_OF_SIZE = "scale_of_size"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SizeRule(_Strict):
    box_px: float = Field(gt=0)
    lowest: int = Field(ge=32, multiple_of=32)
    highest: int = Field(ge=32, multiple_of=32)


class EpochRule(_Strict):
    views: float = Field(gt=0)
    lowest: int = Field(ge=1)
    highest: int = Field(ge=1)


class BatchRule(_Strict):
    share: float = Field(gt=0, le=1)
    lowest: int = Field(ge=1)
    highest: int = Field(ge=1)


class FewObjects(_Strict):
    most_boxes: float = Field(ge=0)
    """An image, on average."""
    default: dict[str, float]
    """What replaces the default then."""


class Choices(_Strict):
    choices: tuple[float, ...] = Field(min_length=1)


class Range(_Strict):
    low: float
    high: float
    log: bool = False


class SuppressionGrid(_Strict):
    iou: tuple[float, ...] = Field(min_length=1)
    max_detections: tuple[int, ...] = Field(min_length=1)
    scale: tuple[Annotated[float, Field(gt=0, le=4)], ...] = ()
    """Sizes of the answering network's input, as multiples of the size that it was trained at."""


class Space(_Strict):
    image_size: SizeRule
    epochs: EpochRule
    batch: BatchRule
    default: dict[str, float]
    few_objects: FewObjects | None = None
    first: tuple[dict[str, float], ...]
    space: dict[str, Choices | Range]
    suppression: SuppressionGrid

    @model_validator(mode="after")
    def _only_recipe_fields(self) -> Space:
        known = {f.name for f in fields(Recipe)} - {"image_size", "epochs", "batch"}
        rows = [self.default, *self.first, self.few_objects.default if self.few_objects else {}]
        named = {*self.space, *(key for row in rows for key in row)} - {SCALE_OF_SIZE}
        if named - known:
            raise ValueError(f"no recipe has {', '.join(sorted(named - known))}")
        return self


@cache
def space() -> Space:
    """Raises SettingsError naming the dotted path of what is wrong."""
    name = "search_spaces/detection.yaml"
    return parse(yaml.safe_load((files("tenshot.configs") / name).read_text("utf-8")), name)


def parse(document: Mapping[str, Any], name: str) -> Space:
    try:
        return Space.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{name}: {where or 'top level'}: {first['msg']}", hint="see the comments there") from None


def default_recipe(examples: Sequence[Example], rules: Space) -> Recipe:
    """The recipe that is tried first: image size from the boxes, epochs and batch from the number of images, and what
    suits images of few or of many objects."""
    epochs, batch, images = rules.epochs, rules.batch, max(1, len(examples))
    passes = round(epochs.views / math.sqrt(images))
    recipe = Recipe(
        image_size=_image_size(examples, rules),
        epochs=min(epochs.highest, max(epochs.lowest, passes)),
        batch=min(batch.highest, max(batch.lowest, round(batch.share * images))),
    )
    return recipe_with(recipe, {**rules.default, **_for_few_objects(examples, rules)})


def _for_few_objects(examples: Sequence[Example], rules: Space) -> Mapping[str, float]:
    counts = [len(example.boxes) for example in examples if example.boxes]
    few = rules.few_objects
    return few.default if few and counts and float(np.mean(counts)) <= few.most_boxes else {}


def recipe_with(recipe: Recipe, params: Mapping[str, float]) -> Recipe:
    """`recipe` with a trial's parameters; counts become whole numbers again."""
    changes: dict[str, Any] = {key: value for key, value in params.items() if key != SCALE_OF_SIZE}
    for key in ("freeze", "close_mosaic"):
        if key in changes:
            changes[key] = int(changes[key])
    if SCALE_OF_SIZE in params:
        changes["image_size"] = rounded_size(recipe.image_size * params[SCALE_OF_SIZE], lowest=64)
    return recipe.with_(**changes)


def default_params(rules: Space, recipe: Recipe) -> dict[str, float]:
    """The default as a point of the search space."""
    return {key: 1.0 if key == SCALE_OF_SIZE else float(getattr(recipe, key)) for key in rules.space}


def _image_size(examples: Sequence[Example], rules: Space) -> int:
    """So large that small boxes get `box_px` pixels, within the rule's limits."""
    smallest = _small_side(examples)
    wanted = rules.image_size.box_px / max(smallest, 1e-3) if smallest else 0.0
    return rounded_size(min(rules.image_size.highest, max(rules.image_size.lowest, wanted)))


def _small_side(examples: Sequence[Example]) -> float:
    """√area of a small box as a ratio of its image's longer side: the lower quartile of all boxes, or the median of the
    label with the smallest boxes if that is smaller. 0 without a box."""
    sides: dict[str, list[float]] = {}
    for example in examples:
        height, width = example.hw if example.boxes else (1, 1)
        for box in example.boxes:
            side = math.sqrt(box.width * width * box.height * height) / max(height, width)
            sides.setdefault(box.label, []).append(side)
    if not sides:
        return 0.0
    quartile = float(np.quantile([side for of_label in sides.values() for side in of_label], 0.25))
    return min(quartile, *(float(np.median(of_label)) for of_label in sides.values()))
