"""A user's own search space: a file of the product's form that can only narrow it.

    frozen: {policy: [plain, crop], strength: [0.1, 10]}
    finetune: off
    default: {frozen: {policy: crop}}

What is not named stays as it is. Every complaint names the file, the dotted path, and what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tenshot.automl.search.space import LOG_RANGES, Space
from tenshot.projects.errors import SettingsError, did_you_mean

if TYPE_CHECKING:
    from tenshot.projects.workspace import Workspace

FOLDER = "search_spaces"
"""In TENSHOT_HOME: `<task>.yaml` holds for every training of that task without a file of its own."""
ALWAYS_ON = frozenset({"frozen"})
"""Kinds that the others build upon."""


def own_space(workspace: Workspace, task: str, path: Path | None) -> dict[str, Any]:
    """The user's file for a training (`path`, else that of the workspace), checked; empty if there is none.

    Raises SettingsError.
    """
    chosen = path or workspace.home / FOLDER / f"{task}.yaml"
    if path is None and not chosen.is_file():
        return {}
    document = read(chosen)
    check(task, document, str(chosen))
    return document


def read(path: Path) -> dict[str, Any]:
    """Raises SettingsError."""
    try:
        loaded = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", hint="name a YAML file, see docs/search.md") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {error}", hint="see docs/search.md") from None
    if not isinstance(loaded or {}, dict):
        raise SettingsError(f"{path}: got a {type(loaded).__name__}, expected kinds of candidates and their choices")
    return loaded or {}


def check(task: str, document: Mapping[str, Any], where: str) -> None:
    """Raises SettingsError for what the product's space of this task does not allow."""
    if task == "detection":
        from tenshot.automl.search.detection_narrowing import narrowed_detection

        narrowed_detection(document, where)
        return
    from tenshot.automl.search.space import load

    load(task, document, where)


def narrowed(spaces: Mapping[str, Space], own: Mapping[str, Any], where: str) -> dict[str, Space]:
    """The kinds that are left, each with what `own` leaves of it. Raises SettingsError."""
    known_keys(own, [*spaces, "default"], where)
    defaults = section(own, "default", where)
    known_keys(defaults, spaces, f"{where}: default")
    found = {}
    for kind, space in spaces.items():
        if own.get(kind) is False:
            if kind in ALWAYS_ON:
                raise SettingsError(f"{where}: {kind} cannot be off: the other kinds build upon it")
            if kind in defaults:
                raise SettingsError(f"{where}: default.{kind} is given, but {kind} is off")
            continue
        found[kind] = _narrow(space, section(own, kind, where), section(defaults, kind, f"{where}: default"), where)
    return found


def _narrow(space: Space, own: Mapping[str, Any], default: Mapping[str, Any], where: str) -> Space:
    known_keys(own, space.choices, f"{where}: {space.kind}")
    known_keys(default, space.choices, f"{where}: default.{space.kind}")
    choices = {
        key: _values(key, own[key], allowed, f"{where}: {space.kind}.{key}") if key in own else allowed
        for key, allowed in space.choices.items()
    }
    recipe = {
        key: _one(key, default[key], choices[key], f"{where}: default.{space.kind}.{key}")
        if key in default
        else _nearest(key, value, choices[key])
        for key, value in space.default.items()
    }
    return replace(space.narrowed(**choices), default=recipe)


def _values(key: str, own: Any, allowed: list[Any], where: str) -> list[Any]:
    if key not in LOG_RANGES:
        if own == [] or own is None:
            raise SettingsError(f"{where}: got no choice, expected some of {_listed(allowed)}")
        return [_one(key, value, allowed, where) for value in (own if isinstance(own, list) else [own])]
    ends = own if isinstance(own, list) else [own, own]
    if len(ends) != 2 or not all(_is_number(end) for end in ends) or ends[0] > ends[1]:
        raise SettingsError(f"{where}: got {own!r}, expected [low, high] within {_listed(allowed)}")
    return [float(_one(key, end, allowed, where)) for end in ends]


def _one(key: str, value: Any, allowed: list[Any], where: str) -> Any:
    """The allowed value that the user means: YAML reads `7` as a number where the choices are texts."""
    if key in LOG_RANGES:
        if _is_number(value) and allowed[0] <= value <= allowed[1]:
            return float(value)
        raise SettingsError(f"{where}: got {value!r}, expected a number from {allowed[0]} to {allowed[1]}")
    for choice in allowed:
        if str(choice) == str(value) or (_is_number(choice) and _is_number(value) and choice == value):
            return choice
    raise SettingsError(
        f"{where}: got {value!r}, expected some of {_listed(allowed)}",
        hint=did_you_mean(str(value), [str(choice) for choice in allowed]),
    )


def _nearest(key: str, value: Any, choices: list[Any]) -> Any:
    """The product's default where it may stay, else the next best."""
    if key in LOG_RANGES:
        return min(max(value, choices[0]), choices[1])
    return value if value in choices else choices[0]


def section(own: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    """A mapping below `key`; empty where it is left out. Raises SettingsError."""
    found = own.get(key)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise SettingsError(f"{where}: {key}: got {found!r}, expected keys with their choices")
    return found


def known_keys(own: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Raises SettingsError for the first key that is not known."""
    names = list(known)
    for key in own:
        if key not in names:
            raise SettingsError(
                f"{where}: unknown key {key!r}", hint=did_you_mean(str(key), names) or f"known are {_listed(names)}"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(str(value) for value in values)
