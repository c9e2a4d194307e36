"""The price list: `configs/prices.yaml`, or `TENSHOT_HOME/prices.yaml` in its place.

A unit is a row. Its price is one number, or tiers of a calendar month: the first so many units at this price, the next
at that. All figures become whole numbers and exact fractions here, so that a bill adds up to the last digit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from tenshot.projects.errors import SettingsError, did_you_mean

GRAIN = 10**9
"""Quantities are counted in whole billionths of a unit, so that parts add up to the whole without rounding."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tier(_Strict):
    price: float = Field(ge=0, allow_inf_nan=False)
    """What `per` units cost in this tier."""
    units: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """How many units of a month it holds; None, in the last one: all the rest."""


class _Tiered(_Strict):
    price: tuple[Tier, ...]
    """A number is one tier without end."""
    free: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Units of each month that cost nothing; the tiers begin after them."""

    @field_validator("price", mode="before")
    @classmethod
    def _read_price(cls, value: object) -> object:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return ({"price": value},)
        if not isinstance(value, list | tuple) or not value:
            raise ValueError("expected a number, or a list of tiers {units: …, price: …}")
        return value

    @field_validator("price")
    @classmethod
    def _check_tiers(cls, tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
        if any(tier.units is None for tier in tiers[:-1]) or tiers[-1].units is not None:
            raise ValueError("every tier but the last says how many units it holds, the last one holds the rest")
        return tiers

    def scale(self, per: float) -> Scale:
        steps, low = [], 0
        if self.free:
            steps.append((0, Fraction(0)))
            low = grains(self.free)
        for tier in self.price:
            steps.append((low, exact(tier.price) / exact(per)))
            low += grains(tier.units or 0.0)
        return Scale(tuple(steps))


class Hosted(_Tiered):
    """What the hosted service asks for the same."""

    name: str = ""
    """What it calls it."""
    source: str = ""
    date: Annotated[str, BeforeValidator(str)] = ""
    """When the source was read."""
    note: str = ""


class Price(_Tiered):
    per: float = Field(gt=0, allow_inf_nan=False)
    """The prices, here and hosted, are for so many units."""
    hosted: Hosted | None
    """None: not known. A number is a Hosted without tiers."""
    meaning: str = ""
    """What is counted, for people."""
    short: str = ""
    """How a table writes the unit."""

    @model_validator(mode="before")
    @classmethod
    def _read_hosted(cls, values: Any) -> Any:
        hosted = values.get("hosted") if isinstance(values, dict) else None
        return values | {"hosted": {"price": hosted}} if isinstance(hosted, int | float | str) else values

    @cached_property
    def own_scale(self) -> Scale:
        return self.scale(self.per)

    @cached_property
    def hosted_scale(self) -> Scale | None:
        return self.hosted.scale(self.per) if self.hosted else None


class Scale:
    """Cost of the units of a month by how many were used before. Quantities are in grains."""

    def __init__(self, steps: tuple[tuple[int, Fraction], ...]) -> None:
        self.steps = steps
        """(from so many on, cost of a unit), ascending; the first begins at 0, and holds below it, too."""

    def spread(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """(number of the step, how much of what lies from `low` to `high` is in it); negative if `high` is below."""
        sign = 1 if high >= low else -1
        low, high = min(low, high), max(low, high)
        for index in range(len(self.steps)):
            begin = low if index == 0 else max(low, self.steps[index][0])
            end = min(high, self.steps[index + 1][0]) if index + 1 < len(self.steps) else high
            if begin < end:
                yield index, sign * (end - begin)

    def cost(self, amounts: Iterable[tuple[int, int]]) -> Fraction:
        """Of so much in each of these steps."""
        return sum((Fraction(amount, GRAIN) * self.steps[index][1] for index, amount in amounts), Fraction(0))


class PriceList(_Strict):
    currency: str = Field(min_length=1)
    units: dict[str, Price]

    def price(self, unit: str) -> Price:
        """Raises SettingsError for a unit that has no price."""
        if unit not in self.units:
            raise SettingsError(
                f"prices.yaml has no price for the unit {unit!r}",
                hint=did_you_mean(unit, self.units) or f"add units.{unit} to it",
            )
        return self.units[unit]

    def cost(self, unit: str, quantity: float) -> float:
        """If nothing else is used in that month. Raises SettingsError for a unit that has no price."""
        return _alone(self.price(unit).own_scale, quantity)

    def hosted_cost(self, unit: str, quantity: float) -> float:
        """The same at the hosted service; 0 where its price is not known."""
        scale = self.price(unit).hosted_scale
        return _alone(scale, quantity) if scale else 0.0

    def _described_as_in(self, other: PriceList) -> PriceList:
        """What units are is said once, in the list that is shipped; a list of one's own may say it otherwise."""
        units = {}
        for name, price in self.units.items():
            known = other.units.get(name)
            said = {"meaning": price.meaning or known.meaning, "short": price.short or known.short} if known else {}
            units[name] = price.model_copy(update=said)
        return self.model_copy(update={"units": units})

    @property
    def costs_nothing(self) -> bool:
        return not any(tier.price for price in self.units.values() for tier in price.price)


def exact(number: float) -> Fraction:
    """As it was written: 0.1 is a tenth."""
    return Fraction(repr(number))


def grains(quantity: float) -> int:
    return round(quantity * GRAIN)


def _alone(scale: Scale, quantity: float) -> float:
    return float(scale.cost(scale.spread(0, grains(quantity))))


def load(home: Path) -> PriceList:
    """Raises SettingsError naming the file and the dotted path."""
    own, shipped = home / "prices.yaml", files("tenshot.configs") / "prices.yaml"
    return _load(own)._described_as_in(_load(shipped)) if own.is_file() else _load(shipped)


def _load(source: Traversable) -> PriceList:
    try:
        return PriceList.model_validate(yaml.safe_load(source.read_text("utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{source} cannot be read: {error}", hint="mend the file or remove it") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{source} is not valid YAML: {error}", hint="mend the file or remove it") from None
    except ValidationError as error:
        raise _as_settings_error(str(source), error) from None


def _as_settings_error(source: str, error: ValidationError) -> SettingsError:
    # A key that is mistyped is one that is missing, too; its name says more.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    dotted = ".".join(str(part) for part in first["loc"]) or "the file"
    form = "configs/prices.yaml in the package shows the form"
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        return SettingsError(
            f"{source}: unknown key {dotted}: got {first['input']!r}",
            hint=did_you_mean(key, _known_keys(first["loc"])) or form,
        )
    message = first["msg"].removeprefix("Value error, ")
    return SettingsError(f"{source}: {dotted}: got {first['input']!r}; {message[:1].lower()}{message[1:]}", hint=form)


def _known_keys(where: tuple[int | str, ...]) -> list[str]:
    """Of the mapping in which the last key of `where` stands."""
    if len(where) == 1:
        return list(PriceList.model_fields)
    if isinstance(where[-2], int):
        return list(Tier.model_fields)
    return list(Hosted.model_fields if where[-2] == "hosted" else Price.model_fields)
