"""A user's own search space for detection; see `narrowing`.

space: {mosaic: [0.0], lr: {low: 0.001, high: 0.003}}
image_size: {highest: 512}
suppression: {iou: [0.45, 0.6]}
default: {flipud: 0.0}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tenshot.automl.detectors.recipe import Recipe
from tenshot.automl.search.detection_space import SCALE_OF_SIZE, Choices, Range, Space, parse, recipe_with, space
from tenshot.automl.search.narrowing import known_keys, section
from tenshot.projects.errors import SettingsError

RULES = ("image_size", "epochs", "batch")
"""Of these a user may bring `lowest` and `highest` closer together."""
LIMITS = ("lowest", "highest")


def narrowed_detection(own: Mapping[str, Any], where: str = "search space", product: Space | None = None) -> Space:
    """The product's space with what `own` leaves of it. Raises SettingsError."""
    product = product or space()
    if not own:
        return product
    document = product.model_dump()
    known_keys(own, [*RULES, "space", "suppression", "default"], where)
    for name in RULES:
        document[name] |= _limits(section(own, name, where), document[name], f"{where}: {name}")
    grid = section(own, "suppression", where)
    known_keys(grid, document["suppression"], f"{where}: suppression")
    for key, values in grid.items():
        document["suppression"][key] = _some(values, document["suppression"][key], f"{where}: suppression.{key}")
    mine = section(own, "space", where)
    known_keys(mine, product.space, f"{where}: space")
    for key, values in mine.items():
        document["space"][key] = _tighter(values, product.space[key], f"{where}: space.{key}")
    narrow = parse(document, where)
    document["default"] = _default(narrow, section(own, "default", where), where)
    if narrow.few_objects:
        document["few_objects"]["default"] = _few(narrow, section(own, "default", where))
    document["first"] = [row for row in document["first"] if all(_allows(narrow, k, v) for k, v in row.items())]
    return parse(document, where)


def _limits(own: Mapping[str, Any], product: Mapping[str, Any], where: str) -> dict[str, Any]:
    known_keys(own, LIMITS, where)
    found = {key: _number(own.get(key, product[key]), f"{where}.{key}") for key in LIMITS}
    for key, value in found.items():
        if not product["lowest"] <= value <= product["highest"]:
            raise SettingsError(
                f"{where}.{key}: got {value}, expected a number from {product['lowest']} to {product['highest']}"
            )
    if found["lowest"] > found["highest"]:
        raise SettingsError(f"{where}: lowest {found['lowest']} is above highest {found['highest']}")
    return found


def _tighter(own: Any, product: Choices | Range, where: str) -> dict[str, Any]:
    if isinstance(product, Choices):
        if isinstance(own, Mapping):
            known_keys(own, ["choices"], where)
            own = own.get("choices")
        return {"choices": _some(own, product.choices, where)}
    if isinstance(own, Mapping):
        known_keys(own, ["low", "high"], where)
        own = [own.get("low", product.low), own.get("high", product.high)]
    ends = own if isinstance(own, list) else [own, own]
    if len(ends) != 2:
        raise SettingsError(f"{where}: got {own!r}, expected low and high within {product.low} to {product.high}")
    low, high = (_number(end, where) for end in ends)
    if not product.low <= low <= high <= product.high:
        raise SettingsError(f"{where}: got {low} to {high}, expected a range within {product.low} to {product.high}")
    return {"low": low, "high": high, "log": product.log}


def _some(own: Any, allowed: tuple[float, ...], where: str) -> tuple[float, ...]:
    values = [_number(value, where) for value in (own if isinstance(own, list) else [own])]
    listed = ", ".join(str(value) for value in allowed)
    for value in values:
        if value not in allowed:
            raise SettingsError(f"{where}: got {value}, expected some of {listed}")
    if not values:
        raise SettingsError(f"{where}: got no choice, expected some of {listed}")
    return tuple(values)


def _default(narrow: Space, own: Mapping[str, Any], where: str) -> dict[str, float]:
    """The user's own default, and the nearest that is allowed to the product's where that is not."""
    known_keys(own, [key for key in narrow.space if key != SCALE_OF_SIZE], f"{where}: default")
    for key, value in own.items():
        if not _allows(narrow, key, _number(value, f"{where}: default.{key}")):
            raise SettingsError(f"{where}: default.{key}: {value} is not among what space.{key} allows")
    recipe = recipe_with(Recipe(image_size=narrow.image_size.highest, epochs=1, batch=1), {**narrow.default, **own})
    found = {**narrow.default, **own}
    for key, how in narrow.space.items():
        value = 1.0 if key == SCALE_OF_SIZE else float(getattr(recipe, key))
        if _allows(narrow, key, value):
            continue
        if key == SCALE_OF_SIZE:
            raise SettingsError(
                f"{where}: space.{key} has to hold 1.0", hint="bring image_size.lowest and highest together instead"
            )
        found[key] = _nearest(how, value)
    return found


def _few(narrow: Space, own: Mapping[str, Any]) -> dict[str, float]:
    """What suits images of few objects, as near to it as is allowed; the user's own default comes first."""
    suits = narrow.few_objects.default if narrow.few_objects else {}
    return {
        key: value if _allows(narrow, key, value) else _nearest(narrow.space[key], value)
        for key, value in suits.items()
        if key not in own
    }


def _allows(narrow: Space, key: str, value: float) -> bool:
    how = narrow.space.get(key)
    if how is None:
        return True
    return value in how.choices if isinstance(how, Choices) else how.low <= value <= how.high


def _nearest(how: Choices | Range, value: float) -> float:
    if isinstance(how, Choices):
        return min(how.choices, key=lambda choice: abs(choice - value))
    return min(max(value, how.low), how.high)


def _number(value: Any, where: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SettingsError(f"{where}: got {value!r}, expected a number")
    return value
