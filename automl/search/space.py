"""Search spaces: read strictly from `configs/search_spaces/`, and turned into Optuna's suggestions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import yaml

from tenshot.projects.errors import SettingsError, did_you_mean

if TYPE_CHECKING:
    import optuna

Choices = Mapping[str, list[Any]]
LOG_RANGES = frozenset({"strength", "lr"})
"""Given as [low, high] and searched on a log scale; every other key lists its choices."""


@dataclass(frozen=True)
class Space:
    """One kind of candidate: what may be chosen and what is tried first."""

    kind: str
    choices: Choices
    default: Mapping[str, Any]
    known: tuple[Mapping[str, Any], ...] = ()
    """Other recipes that are known to be good somewhere, tried next."""

    def narrowed(self, **choices: list[Any]) -> Space:
        """With fewer choices, for instance those that the budget allows, and the known recipes that they allow."""
        fewer = {**self.choices, **choices}
        return replace(self, choices=fewer, known=tuple(row for row in self.known if _misfit(fewer, row) is None))

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        return {key: self._suggest(trial, key, values) for key, values in self.choices.items()}

    def _suggest(self, trial: optuna.Trial, key: str, values: list[Any]) -> Any:
        if key in LOG_RANGES:
            return trial.suggest_float(key, values[0], values[1], log=True)
        return trial.suggest_categorical(key, values)


def load(name: str, own: Mapping[str, Any] | None = None, where: str = "search space") -> dict[str, Space]:
    """The kinds of `configs/search_spaces/<name>.yaml`, narrowed by a user's `own` document, which came from `where`: a
    kind that it switches off is left out. Raises SettingsError for what does not fit."""
    shipped = _shipped(name)
    if not own:
        return shipped
    from tenshot.automl.search.narrowing import narrowed

    return narrowed(shipped, own, where)


def _shipped(name: str) -> dict[str, Space]:
    document = yaml.safe_load((files("tenshot.configs") / "search_spaces" / f"{name}.yaml").read_text("utf-8"))
    defaults, known = document.pop("default"), document.pop("known", {})
    return {
        kind: Space(
            kind,
            choices,
            _checked(kind, choices, defaults[kind]),
            tuple(_checked(kind, choices, row) for row in known.get(kind, ())),
        )
        for kind, choices in document.items()
    }


def _checked(kind: str, choices: Choices, recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in sorted(set(recipe) ^ set(choices)):
        raise SettingsError(f"search space {kind}: {key!r} is only in one of the choices and the recipe",
                            hint=did_you_mean(key, choices))  # fmt: skip
    misfit = _misfit(choices, recipe)
    if misfit is not None:
        raise SettingsError(f"search space {kind}: recipe {misfit}={recipe[misfit]!r} is not among {choices[misfit]}")
    return recipe


def _misfit(choices: Choices, recipe: Mapping[str, Any]) -> str | None:
    """The first key of a recipe whose value the choices do not allow."""
    for key, value in recipe.items():
        low_high = choices[key]
        fits = low_high[0] <= value <= low_high[1] if key in LOG_RANGES else value in low_high
        if not fits:
            return key
    return None
