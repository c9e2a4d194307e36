"""The price list: `configs/prices.yaml`, or `TENSHOT_HOME/prices.yaml` in its place."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tenshot.projects.errors import SettingsError, did_you_mean


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Price(_Strict):
    price: float = Field(ge=0)
    """What `per` units cost."""
    per: float = Field(gt=0)
    hosted: float | None = Field(ge=0)
    """What `per` units cost at the hosted service; None: not known."""


class PriceList(_Strict):
    currency: str = Field(min_length=1)
    units: dict[str, Price]

    def cost(self, unit: str, quantity: float) -> float:
        """Raises SettingsError for a unit that has no price."""
        price = self._price(unit)
        return quantity / price.per * price.price

    def hosted_cost(self, unit: str, quantity: float) -> float:
        """The same at the hosted service; 0 where its price is not known."""
        price = self._price(unit)
        return quantity / price.per * (price.hosted or 0.0)

    def _price(self, unit: str) -> Price:
        if unit not in self.units:
            raise SettingsError(
                f"prices.yaml has no price for the unit {unit!r}",
                hint=did_you_mean(unit, self.units) or f"add units.{unit} to it",
            )
        return self.units[unit]


def load(home: Path) -> PriceList:
    """Raises SettingsError naming the file and the dotted path."""
    own = home / "prices.yaml"
    source = own if own.is_file() else files("tenshot.configs") / "prices.yaml"
    try:
        return PriceList.model_validate(yaml.safe_load(source.read_text("utf-8")))
    except yaml.YAMLError as error:
        raise SettingsError(f"{source} is not valid YAML: {error}", hint="mend the file or remove it") from None
    except ValidationError as error:
        first = error.errors()[0]
        dotted = ".".join(str(part) for part in first["loc"]) or "the file"
        raise SettingsError(
            f"{source}: {dotted}: got {first['input']!r}; {first['msg'][:1].lower()}{first['msg'][1:]}",
            hint="configs/prices.yaml in the package shows the form",
        ) from None
