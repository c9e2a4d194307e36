"""Getting weights from their source into the cache, checked by sha256.

A failed or wrong download leaves the cache as it was.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.automl.base import catalogue
from tenshot.automl.base.sources import SOURCES
from tenshot.automl.base.sources.pip import download_wheel as download_wheel
from tenshot.automl.bundle import sha256_of
from tenshot.projects.errors import WeightsError

if TYPE_CHECKING:
    from tenshot.automl.base.catalogue import BaseModelRow
    from tenshot.projects.workspace import Workspace


def models_dir(workspace: Workspace) -> Path:
    return workspace.cache / "models"


def ensure(workspace: Workspace, name: str) -> Path:
    """The file of a base model, fetched if the cache lacks it. Raises WeightsError, UnknownNameError."""
    return pull(workspace, catalogue.row(name))


def pull(workspace: Workspace, model: BaseModelRow) -> Path:
    """Fetch one row of the catalogue unless it is there; returns its path."""
    target = models_dir(workspace) / model.file_name
    if target.is_file():
        return target
    with tempfile.TemporaryDirectory(prefix="tenshot-fetch-") as scratch:
        found = SOURCES.get(model.source.kind)(model.source, Path(scratch), workspace.settings.models)
        require_sha256(found.path, model.sha256, model.source.text)
        place(found.path, target)
    return target


def verify(workspace: Workspace, model: BaseModelRow) -> str:
    """`ok`, `missing` or `damaged`, by reading the whole file."""
    path = models_dir(workspace) / model.file_name
    if not path.is_file():
        return "missing"
    return "ok" if sha256_of(path) == model.sha256 else "damaged"


def require_sha256(path: Path, expected: str, what: str) -> None:
    """`expected` may be the beginning of the hash, as torchvision has it in its file names."""
    found = sha256_of(path)
    if not found.startswith(expected):
        raise WeightsError(
            f"{what}: sha256 is {found}, expected {expected}",
            hint="the download is damaged or the package was changed; nothing was kept, try again",
        )


def place(source: Path, target: Path) -> None:
    """Move into the cache in one step, so that no other process ever sees half a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(source, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
