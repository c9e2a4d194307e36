"""A dataset version as files of a format, for other tools."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.datasets import snapshots
from tenshot.datasets.annotations import Entry, Split
from tenshot.datasets.formats import FORMATS
from tenshot.datasets.images import ImageStore
from tenshot.projects.errors import AlreadyExists, EmptyDataError, FormatError

if TYPE_CHECKING:
    from tenshot.projects.workspace import Workspace


def export(
    workspace: Workspace,
    project: str,
    path: Path,
    format: str,
    *,
    split: Split | None = None,
    number: int | None = None,
) -> int:
    """Write the labeled images of a dataset version (None: the newest) into a new or empty folder; returns how many.

    Raises UnknownNameError, ProjectNotFound, DatasetNotFound, AlreadyExists where the folder holds something,
    FormatError where the format cannot hold the project's labels, EmptyDataError where nothing is labeled.
    """
    writer = FORMATS.get(format)
    task = workspace.store.project(project).task
    if task not in writer.tasks:
        able = [name for name in FORMATS if task in FORMATS.get(name).tasks]
        raise FormatError(
            f"format {format!r} cannot hold the labels of a {task} project", hint=f"use {', '.join(able)}"
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise AlreadyExists(f"{path} exists and is not an empty folder", hint="name a new folder")
    version = workspace.store.dataset_version(project, number)
    written = 0

    def counted() -> Iterator[Entry]:
        nonlocal written
        for entry in snapshots.entries(workspace, version, split=split):
            if entry.labeled:
                written += 1
                yield entry

    if next(counted(), None) is None:
        raise EmptyDataError(f"dataset version {version.number} of {project!r} has no labeled images to export")
    written = 0
    with _whole(path) as partial:
        writer.write(partial, counted(), ImageStore.of(workspace))
    return written


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A folder beside `path` whose contents are moved there at the end: what failed half-way leaves nothing behind."""
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name[:100]}-", dir=path.parent))
    try:
        yield partial
        path.mkdir(exist_ok=True)
        for child in partial.iterdir():
            child.rename(path / child.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
