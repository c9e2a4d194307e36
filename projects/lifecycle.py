"""Projects from first to last: made under a name that files can bear, deleted with everything they own."""

from __future__ import annotations

import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.projects import jobs
from tenshot.projects.errors import UsageError

if TYPE_CHECKING:
    from tenshot.projects.records import Project
    from tenshot.projects.status import Task
    from tenshot.projects.workspace import Workspace

MAX_NAME = 200
"""Names become folders, with `@VERSION` and other endings behind them, and file systems take 255 bytes."""
NAME = re.compile(rf"[a-zA-Z0-9_.\-]{{1,{MAX_NAME}}}")

LEFTOVERS = {"bentos": "tenshot.serving.endpoints.bento:forget_project"}
"""What rooms further right keep of a project → `module:function` of (home, project) that removes it."""


def create(workspace: Workspace, name: str, task: Task, at: float) -> Project:
    """Raises UsageError for a name that cannot be one, AlreadyExists."""
    check_name(name)
    return workspace.store.create_project(name, task, at=at)


def check_name(name: str) -> None:
    """Raises UsageError unless it is 1 to 200 letters, digits, `_`, `-` or `.`, and not `.` or `..`."""
    if not NAME.fullmatch(name) or name in {".", ".."}:
        raise UsageError(
            f"{name!r} cannot be the name of a project",
            hint=f"use 1 to {MAX_NAME} of the letters a-z and A-Z, digits, _ - and .",
        )


def delete(workspace: Workspace, name: str, at: float) -> None:
    """Forget a project and remove its models and endpoint folders; usage records and shared images stay.

    Raises ProjectNotFound, and ResourceInUse while a version trains or its endpoint exists.
    """
    workspace.store.project(name)
    jobs.reap(workspace, at)
    numbers = [version.number for version in workspace.store.versions(name)]
    endpoint_dirs = [workspace.endpoint_dir(name, number) for number in numbers]
    workspace.store.delete_project(name, at=at)
    # The store first: files without a project are rubbish, a project without its files is broken. Now nobody starts an
    # endpoint any more, so the journals are final.
    _keep_usage(workspace)
    for folder in [workspace.home / "models" / name, *endpoint_dirs]:
        _remove(folder)
    for target in LEFTOVERS.values():
        module, _, attribute = target.partition(":")
        getattr(import_module(module), attribute)(workspace.home, name)


def _keep_usage(workspace: Workspace) -> None:
    """What its endpoints counted is in their journals, which go with the folders."""
    from tenshot.projects.metering import journal

    journal.collect(workspace.store, workspace.home / "endpoints")


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
