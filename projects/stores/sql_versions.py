"""Model versions and their aliases in the SQL store."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tenshot.projects.errors import VersionNotFound, did_you_mean
from tenshot.projects.records import ModelVersion
from tenshot.projects.status import VersionStatus, check
from tenshot.projects.stores.sql_rows import (
    Row,
    SqlPart,
    add_event,
    find_project,
    find_version,
    select_versions,
    version_of,
)
from tenshot.projects.stores.tables import aliases, projects, versions


class Versions(SqlPart):
    """The methods of the contract in projects/store.py on model versions."""

    def create_version(self, project: str, *, dataset_version: int, at: float) -> ModelVersion:
        with self.database.write() as connection:
            return _version(connection, project, insert_version(connection, project, dataset_version, at))

    def version(self, project: str, number: int) -> ModelVersion:
        with self.database.read() as connection:
            return _version(connection, project, number)

    def versions(self, project: str) -> list[ModelVersion]:
        with self.database.read() as connection:
            owner = find_project(connection, project)
            newest_first = select_versions(owner["id"]).order_by(versions.c.number.desc())
            rows = connection.execute(newest_first).mappings().all()
            names = _aliases(connection, owner["id"])
            return [version_of(row, tuple(sorted(a for a, n in names.items() if n == row["number"]))) for row in rows]

    def advance_version(
        self, project: str, number: int, to: VersionStatus, *, message: str = "", at: float
    ) -> ModelVersion:
        with self.database.write() as connection:
            advance(connection, find_version(connection, project, number), to, message, at)
            return _version(connection, project, number)

    def set_version_details(self, project: str, number: int, details: dict[str, Any]) -> ModelVersion:
        with self.database.write() as connection:
            row = find_version(connection, project, number)
            merged = row["details"] | details
            connection.execute(sa.update(versions).where(versions.c.id == row["id"]).values(details=merged))
            return _version(connection, project, number)

    def set_alias(self, project: str, alias: str, number: int) -> None:
        with self.database.write() as connection:
            row = find_version(connection, project, number)
            key = (aliases.c.project_id == row["project_id"]) & (aliases.c.alias == alias)
            connection.execute(sa.delete(aliases).where(key))
            values = {"project_id": row["project_id"], "alias": alias, "version_id": row["id"]}
            connection.execute(sa.insert(aliases).values(values))

    def alias(self, project: str, alias: str) -> int:
        with self.database.read() as connection:
            known = _aliases(connection, find_project(connection, project)["id"])
        if alias not in known:
            listed = f"known: {', '.join(sorted(known))}" if known else f"set one: tenshot alias {project}@1 {alias}"
            raise VersionNotFound(
                f"project {project!r} has no alias {alias!r}", hint=did_you_mean(alias, known) or listed
            )
        return known[alias]


def advance(connection: sa.Connection, row: Row, to: VersionStatus, message: str, at: float) -> None:
    """Change the status of the version in `row` and write the event. Raises IllegalTransition."""
    old, ref = VersionStatus(row["status"]), f"{row['project']}@{row['number']}"
    values: dict[str, Any] = {"status": check(f"version {ref}", old, to), "status_message": message}
    if to is VersionStatus.TRAINING_COMPLETED:
        values["trained_at"] = at
    connection.execute(sa.update(versions).where(versions.c.id == row["id"]).values(values))
    add_event(connection, "version", ref, old, to, message, at)


def insert_version(connection: sa.Connection, project: str, dataset_version: int, at: float) -> int:
    """The next version of a project in TRAINING_IN_PROGRESS; returns its number."""
    owner = find_project(connection, project)
    number, status = owner["last_version"] + 1, VersionStatus.TRAINING_IN_PROGRESS
    connection.execute(sa.update(projects).where(projects.c.id == owner["id"]).values(last_version=number))
    values = {"project_id": owner["id"], "number": number, "status": status, "status_message": ""}
    values |= {"dataset_version": dataset_version, "created_at": at, "trained_at": None, "details": {}}
    connection.execute(sa.insert(versions).values(values))
    add_event(connection, "version", f"{project}@{number}", None, status, "", at)
    return int(number)


def _version(connection: sa.Connection, project: str, number: int) -> ModelVersion:
    row = find_version(connection, project, number)
    names = _aliases(connection, row["project_id"])
    return version_of(row, tuple(sorted(alias for alias, target in names.items() if target == number)))


def _aliases(connection: sa.Connection, project_id: int) -> dict[str, int]:
    """Alias → number of a version, of one project."""
    chosen = sa.select(aliases.c.alias, versions.c.number).join(versions, aliases.c.version_id == versions.c.id)
    rows = connection.execute(chosen.where(aliases.c.project_id == project_id))
    return {row.alias: row.number for row in rows}
