"""Projects and their dataset versions in the SQL store."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tenshot.projects.errors import AlreadyExists, DatasetNotFound, IllegalTransition, ResourceInUse
from tenshot.projects.records import DatasetVersion, Project
from tenshot.projects.status import IN_SERVICE, JobStatus, ProjectStatus, Task, VersionStatus, check
from tenshot.projects.stores.sql_rows import (
    Row,
    SqlPart,
    add_event,
    dataset_version_of,
    find_project,
    one,
    project_of,
    select_versions,
)
from tenshot.projects.stores.tables import budgets, dataset_versions, endpoints, jobs, projects


class Projects(SqlPart):
    """The methods of the contract in projects/store.py on projects and datasets."""

    def create_project(self, name: str, task: Task, *, at: float) -> Project:
        values = {"name": name, "task": task, "status": ProjectStatus.CREATED, "created_at": at}
        try:
            with self.database.write() as connection:
                counters = {"last_dataset_version": 0, "last_version": 0}
                connection.execute(sa.insert(projects).values(values | counters))
                add_event(connection, "project", name, None, ProjectStatus.CREATED, "", at)
                return project_of(find_project(connection, name))
        except sa.exc.IntegrityError:
            raise AlreadyExists(
                f"there already is a project named {name!r}",
                hint=f"choose another name, or see: tenshot project show {name}",
                name=name,
            ) from None

    def project(self, name: str) -> Project:
        with self.database.read() as connection:
            return project_of(find_project(connection, name))

    def projects(self) -> list[Project]:
        with self.database.read() as connection:
            rows = connection.execute(sa.select(projects)).mappings().all()
        # Sorted here and not by the database, whose order of names depends on its locale.
        return sorted(map(project_of, rows), key=lambda project: project.name)

    def delete_project(self, name: str, *, at: float) -> None:
        with self.database.write() as connection:
            row = find_project(connection, name)
            of_project = connection.execute(select_versions(row["id"])).mappings().all()
            _refuse_if_busy(connection, row, of_project)
            for version in of_project:
                old = VersionStatus(version["status"])
                new = check(f"version {name}@{version['number']}", old, VersionStatus.DELETING)
                add_event(connection, "version", f"{name}@{version['number']}", old, new, "project deleted", at)
            old_status = ProjectStatus(row["status"])
            new_status = check(f"project {name}", old_status, ProjectStatus.DELETING)
            add_event(connection, "project", name, old_status, new_status, "", at)
            connection.execute(sa.delete(budgets).where(budgets.c.project == name))
            connection.execute(sa.delete(projects).where(projects.c.id == row["id"]))

    def add_dataset_version(
        self,
        project: str,
        *,
        snapshot_sha256: str,
        parent: int | None,
        source: str,
        stats: dict[str, Any],
        at: float,
    ) -> DatasetVersion:
        with self.database.write() as connection:
            owner = find_project(connection, project)
            newest = owner["last_dataset_version"]
            if parent != (newest or None):
                raise IllegalTransition(
                    f"dataset version {newest or 'none'} of {project!r} is the newest, not {parent or 'none'}",
                    hint="somebody else added one meanwhile: try again",
                )
            connection.execute(
                sa.update(projects).where(projects.c.id == owner["id"]).values(last_dataset_version=newest + 1)
            )
            values = {"project_id": owner["id"], "number": newest + 1, "snapshot_sha256": snapshot_sha256}
            values |= {"parent": parent, "source": source, "created_at": at, "stats": stats}
            connection.execute(sa.insert(dataset_versions).values(values))
            return dataset_version_of(_dataset_row(connection, owner, newest + 1))

    def dataset_version(self, project: str, number: int | None = None) -> DatasetVersion:
        with self.database.read() as connection:
            owner = find_project(connection, project)
            wanted = owner["last_dataset_version"] if number is None else number
            return dataset_version_of(_dataset_row(connection, owner, wanted))

    def dataset_versions(self, project: str) -> list[DatasetVersion]:
        with self.database.read() as connection:
            owner = find_project(connection, project)
            chosen = sa.select(dataset_versions).where(dataset_versions.c.project_id == owner["id"])
            ordered = chosen.order_by(dataset_versions.c.number)
            return [dataset_version_of(row) for row in connection.execute(ordered).mappings()]


def _dataset_row(connection: sa.Connection, owner: Row, number: int) -> Row:
    chosen = sa.select(dataset_versions).where(dataset_versions.c.project_id == owner["id"])
    row = one(connection, chosen.where(dataset_versions.c.number == number))
    if row is not None:
        return row
    name = owner["name"]
    if not owner["last_dataset_version"]:
        raise DatasetNotFound(
            f"project {name!r} has no images yet", hint=f"import some: tenshot dataset import {name} FOLDER"
        )
    raise DatasetNotFound(
        f"project {name!r} has no dataset version {number}", hint=f"see: tenshot dataset versions {name}"
    )


def _refuse_if_busy(connection: sa.Connection, project: Row, of_project: Any) -> None:
    name = project["name"]
    ids = [version["id"] for version in of_project]
    serving = set(connection.scalars(sa.select(endpoints.c.version_id).where(endpoints.c.version_id.in_(ids))))
    for version in of_project:
        ref = f"{name}@{version['number']}"
        if version["id"] in serving or version["status"] in IN_SERVICE:
            raise ResourceInUse(f"the endpoint of {ref} is {version['status']}", hint=f"first: tenshot stop {ref}")
        if version["status"] == VersionStatus.TRAINING_IN_PROGRESS:
            raise ResourceInUse(
                f"{ref} is being trained", hint="wait, or see: tenshot jobs list; tenshot jobs cancel ID"
            )
    running = sa.select(jobs.c.id).where(jobs.c.project_id == project["id"], jobs.c.status == JobStatus.RUNNING)
    if (job := connection.scalar(running.limit(1))) is not None:
        raise ResourceInUse(f"job {job} of project {name!r} is running", hint=f"wait, or: tenshot jobs cancel {job}")
