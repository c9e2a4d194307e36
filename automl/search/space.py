"""Search spaces: read strictly from `configs/search_spaces/`, and turned into Optuna's suggestions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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

    def narrowed(self, **choices: list[Any]) -> Space:
        """With fewer choices, for instance those that the budget allows."""
        return Space(self.kind, {**self.choices, **choices}, self.default)

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        return {key: self._suggest(trial, key, values) for key, values in self.choices.items()}

    def _suggest(self, trial: optuna.Trial, key: str, values: list[Any]) -> Any:
        if key in LOG_RANGES:
            return trial.suggest_float(key, values[0], values[1], log=True)
        return trial.suggest_categorical(key, values)


def load(name: str) -> dict[str, Space]:
    """The kinds of `configs/search_spaces/<name>.yaml`. Raises SettingsError for a default that no choice allows."""
    document = yaml.safe_load((files("tenshot.configs") / "search_spaces" / f"{name}.yaml").read_text("utf-8"))
    defaults = document.pop("default")
    return {kind: Space(kind, choices, _checked(kind, choices, defaults[kind])) for kind, choices in document.items()}


def _checked(kind: str, choices: Choices, default: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in sorted(set(default) ^ set(choices)):
        raise SettingsError(f"search space {kind}: {key!r} is only in one of the choices and the default",
                            hint=did_you_mean(key, choices))  # fmt: skip
    for key, value in default.items():
        low_high = choices[key]
        fits = low_high[0] <= value <= low_high[1] if key in LOG_RANGES else value in low_high
        if not fits:
            raise SettingsError(f"search space {kind}: default {key}={value!r} is not among {low_high}")
    return default
