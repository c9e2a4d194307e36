"""Rows and tables of `tenshot models`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tenshot.automl.base import adopted, catalogue, fetch
from tenshot.automl.libraries import LIBRARIES
from tenshot.projects.status import Task

if TYPE_CHECKING:
    from rich.table import Table

    from tenshot.automl.base.catalogue import BaseModelRow
    from tenshot.projects.workspace import Workspace


def rows(workspace: Workspace) -> list[dict[str, Any]]:
    """Every model of the catalogue and every adopted base; `state` is `cached` or `missing`, without recomputing."""
    return [_row(row, "cached" if _cached(workspace, row) else "missing") for row in _every(workspace)]


def pull(workspace: Workspace, names: list[str], notice: Callable[[str], None]) -> list[dict[str, Any]]:
    """Fetch the rows of these roles or names, or published weights such as `timm:resnet18`. Raises UnknownNameError,
    WeightsError."""
    found = []
    for row in catalogue.select([name for name in names if ":" not in name]) if _of_catalogue(names) else []:
        if not _cached(workspace, row):
            notice(f"fetching {row.name} ({row.source.title})")
        fetch.pull(workspace, row)
        found.append(_row(row, "cached"))
    for name in names:
        if ":" in name:
            found.append(_row(adopted.adopt(workspace, name, _task(name), notice), "cached"))
    return found


def verify(workspace: Workspace) -> list[dict[str, Any]]:
    """`state` is `ok`, `missing` or `damaged`."""
    return [_row(row, fetch.verify(workspace, row)) for row in _every(workspace)]


def table(found: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    shown = Table("role", "model", "source", "licence", "state")
    for row in found:
        kind, _, where = row["source"].partition(" ")
        shown.add_row(row["role"], f"{row['name']}\n[dim]{row['title']}[/]", f"{kind}\n[dim]{where}[/]", row["licence"],
                      row["state"])  # fmt: skip
    return shown


def _every(workspace: Workspace) -> list[BaseModelRow]:
    return [*catalogue.catalogue().values(), *adopted.rows(workspace)]


def _cached(workspace: Workspace, row: BaseModelRow) -> bool:
    return (fetch.models_dir(workspace) / row.file_name).is_file()


def _of_catalogue(names: list[str]) -> bool:
    return not names or any(":" not in name for name in names)


def _task(name: str) -> Task:
    """One that takes the library's models."""
    role = LIBRARIES.get(name.partition(":")[0]).role
    return next(task for task, needed in adopted.ROLES.items() if needed == role)


def _row(row: BaseModelRow, state: str) -> dict[str, Any]:
    return {
        "name": row.name,
        "role": row.role,
        "title": row.title,
        "licence": row.licence,
        "source": row.source.title,
        "sha256": row.sha256,
        "state": state,
    }
