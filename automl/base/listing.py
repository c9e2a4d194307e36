"""Rows and tables of `tenshot models`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tenshot.automl.base import catalogue, fetch

if TYPE_CHECKING:
    from rich.table import Table

    from tenshot.automl.base.catalogue import BaseModelRow
    from tenshot.projects.workspace import Workspace


def rows(workspace: Workspace) -> list[dict[str, Any]]:
    """Every model; `state` is `cached` or `missing` (the hash is not recomputed)."""
    return [
        _row(row, "cached" if (fetch.models_dir(workspace) / row.file_name).is_file() else "missing")
        for row in catalogue.catalogue().values()
    ]


def pull(workspace: Workspace, names: list[str], notice: Callable[[str], None]) -> list[dict[str, Any]]:
    """Fetch the rows of these roles or names. Raises UnknownNameError, WeightsError."""
    found = []
    for row in catalogue.select(names):
        if not (fetch.models_dir(workspace) / row.file_name).is_file():
            notice(f"fetching {row.name} ({row.source.title})")
        fetch.pull(workspace, row)
        found.append(_row(row, "cached"))
    return found


def verify(workspace: Workspace) -> list[dict[str, Any]]:
    """`state` is `ok`, `missing` or `damaged`."""
    return [_row(row, fetch.verify(workspace, row)) for row in catalogue.catalogue().values()]


def table(found: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    shown = Table("role", "model", "licence", "state")
    for row in found:
        model = f"{row['name']}\n[dim]{row['title']}\n{row['source']}[/]"
        shown.add_row(row["role"], model, row["licence"], row["state"])
    return shown


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
