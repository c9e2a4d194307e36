"""From rows to records, and the two things that all parts of the SQL store need: a project's row and an event."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from tenshot.projects.errors import ProjectNotFound, VersionNotFound
from tenshot.projects.records import DatasetVersion, Endpoint, Event, Job, ModelVersion, Project, UsageRecord
from tenshot.projects.status import JobStatus, ProjectStatus, Task, VersionStatus
from tenshot.projects.stores import tables
from tenshot.projects.stores.database import Database

Row = sa.RowMapping


class SqlPart:
    """A part of the store that works on one database."""

    database: Database


def project_of(row: Row) -> Project:
    return Project(row["id"], row["name"], Task(row["task"]), ProjectStatus(row["status"]), row["created_at"])


def dataset_version_of(row: Row) -> DatasetVersion:
    return DatasetVersion(**row)


def version_of(row: Row, aliases: tuple[str, ...]) -> ModelVersion:
    values: dict[str, Any] = dict(row)
    values |= {"task": Task(row["task"]), "status": VersionStatus(row["status"]), "aliases": aliases}
    return ModelVersion(**values)


def job_of(row: Row) -> Job:
    values: dict[str, Any] = {key: value for key, value in row.items() if key != "project_id"}
    return Job(**values | {"status": JobStatus(row["status"])})


def endpoint_of(row: Row) -> Endpoint:
    return Endpoint(**row)


def usage_of(row: Row) -> UsageRecord:
    values = dict(row)
    return UsageRecord(start=values.pop("start_at"), end=values.pop("end_at"), **values)


def event_of(row: Row) -> Event:
    return Event(**row)


def one(connection: sa.Connection, statement: sa.Select[Any]) -> Row | None:
    return connection.execute(statement).mappings().one_or_none()


def find_project(connection: sa.Connection, name: str) -> Row:
    """Raises ProjectNotFound with the near names."""
    row = one(connection, sa.select(tables.projects).where(tables.projects.c.name == name))
    if row is None:
        raise ProjectNotFound(name, connection.scalars(sa.select(tables.projects.c.name)))
    return row


def find_version(connection: sa.Connection, project: str, number: int) -> Row:
    """The row of `versions` with `project` and `task`. Raises ProjectNotFound, VersionNotFound."""
    owner = find_project(connection, project)
    row = one(connection, select_versions(owner["id"]).where(tables.versions.c.number == number))
    if row is None:
        raise VersionNotFound(
            f"project {project!r} has no version {number}", hint=f"see: tenshot versions {project}", number=number
        )
    return row


def select_versions(project_id: int) -> sa.Select[Any]:
    joined = tables.versions.join(tables.projects)
    names = tables.projects.c.name.label("project"), tables.projects.c.task
    return sa.select(tables.versions, *names).select_from(joined).where(tables.versions.c.project_id == project_id)


def add_event(
    connection: sa.Connection, noun: str, subject: str, old: StrEnum | None, new: StrEnum, message: str, at: float
) -> None:
    """Goes into the same transaction as the change that it tells of. `old` is None for a new thing."""
    values = {"at": at, "noun": noun, "subject": subject, "old": old or "", "new": new, "message": message}
    connection.execute(sa.insert(tables.events).values(values))
