"""Jobs and endpoints in the SQL store."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa

from tenshot.projects.errors import IllegalTransition, JobNotFound, ResourceInUse, VersionNotFound
from tenshot.projects.records import Endpoint, Job
from tenshot.projects.status import JobStatus, VersionStatus, check
from tenshot.projects.stores.sql_rows import (
    Row,
    SqlPart,
    add_event,
    endpoint_of,
    find_project,
    find_version,
    job_of,
    one,
)
from tenshot.projects.stores.sql_versions import advance, insert_version
from tenshot.projects.stores.tables import endpoints, jobs, projects, versions

ENDPOINT_FIELDS = frozenset(field.name for field in fields(Endpoint)) - {"version_id"}


class Work(SqlPart):
    """The methods of the contract in projects/store.py on jobs and endpoints."""

    def enqueue(
        self, kind: str, project: str, *, version: int | None = None, payload: dict[str, Any] | None = None, at: float
    ) -> Job:
        with self.database.write() as connection:
            return _insert_job(connection, kind, project, version, payload or {}, at)

    def enqueue_training(self, project: str, *, dataset_version: int, payload: dict[str, Any], at: float) -> Job:
        with self.database.write() as connection:
            number = insert_version(connection, project, dataset_version, at)
            return _insert_job(connection, "train", project, number, payload, at)

    def job(self, job_id: int) -> Job:
        with self.database.read() as connection:
            return _job(connection, job_id)

    def jobs(self, *, project: str | None = None, statuses: Iterable[JobStatus] | None = None) -> list[Job]:
        chosen = _select_jobs().order_by(jobs.c.id.desc())
        if statuses is not None:
            chosen = chosen.where(jobs.c.status.in_(list(statuses)))
        with self.database.read() as connection:
            if project is not None:
                chosen = chosen.where(jobs.c.project_id == find_project(connection, project)["id"])
            return [job_of(row) for row in connection.execute(chosen).mappings()]

    def claim(self, owner: str, *, kinds: Iterable[str], job_id: int | None = None, at: float) -> Job | None:
        queued = sa.select(jobs.c.id).where(jobs.c.status == JobStatus.QUEUED, jobs.c.kind.in_(list(kinds)))
        if job_id is not None:
            queued = queued.where(jobs.c.id == job_id)
        with self.database.write() as connection:
            found = connection.scalar(queued.order_by(jobs.c.id).limit(1))
            if found is None:
                return None
            holder = {"owner": owner, "lock_token": secrets.token_hex(16), "heartbeat_at": at}
            holder |= {"attempts": jobs.c.attempts + 1, "cancel_requested": False}
            _advance(connection, _row(connection, found), JobStatus.RUNNING, "", at, **holder)
            return _job(connection, found)

    def heartbeat(self, job_id: int, lock_token: str, *, progress: dict[str, Any] | None = None, at: float) -> bool:
        values: dict[str, Any] = {"heartbeat_at": at}
        if progress is not None:
            values["progress"] = progress
        held = (jobs.c.id == job_id) & (jobs.c.lock_token == lock_token) & (jobs.c.status == JobStatus.RUNNING)
        with self.database.write() as connection:
            alive = connection.execute(sa.update(jobs).where(held).values(values)).rowcount == 1
            return alive and not connection.scalar(sa.select(jobs.c.cancel_requested).where(jobs.c.id == job_id))

    def finish(self, job_id: int, lock_token: str, to: JobStatus, *, message: str = "", at: float) -> Job:
        if to not in {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}:
            raise IllegalTransition(f"a job cannot finish as {to}", hint="finish it as SUCCEEDED, FAILED or CANCELLED")
        with self.database.write() as connection:
            row = _row(connection, job_id)
            if row["lock_token"] != lock_token:
                raise IllegalTransition(f"job {job_id} is held by another process", hint="see: tenshot jobs list")
            _end(connection, row, to, message, at)
            return _job(connection, job_id)

    def cancel(self, job_id: int, *, at: float) -> Job:
        with self.database.write() as connection:
            row = _row(connection, job_id)
            if row["status"] == JobStatus.RUNNING:
                connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(cancel_requested=True))
            else:
                _end(connection, row, JobStatus.CANCELLED, "cancelled before it began", at)
            return _job(connection, job_id)

    def requeue(self, job_id: int, *, at: float) -> Job:
        with self.database.write() as connection:
            row = _row(connection, job_id)
            nobody = {"lock_token": None, "owner": "", "heartbeat_at": None, "cancel_requested": False}
            _advance(connection, row, JobStatus.QUEUED, "", at, **nobody)
            return _job(connection, job_id)

    def put_endpoint(self, endpoint: Endpoint) -> Endpoint:
        try:
            with self.database.write() as connection:
                if connection.scalar(sa.select(versions.c.id).where(versions.c.id == endpoint.version_id)) is None:
                    raise VersionNotFound(f"there is no version {endpoint.ref}", hint="see: tenshot project list")
                connection.execute(sa.insert(endpoints).values(asdict(endpoint)))
                return endpoint
        except sa.exc.IntegrityError:
            raise ResourceInUse(f"{endpoint.ref} already has an endpoint", hint="see: tenshot endpoints") from None

    def endpoint(self, version_id: int) -> Endpoint | None:
        with self.database.read() as connection:
            return _endpoint(connection, version_id)

    def endpoints(self) -> list[Endpoint]:
        with self.database.read() as connection:
            ordered = sa.select(endpoints).order_by(endpoints.c.ref)
            return [endpoint_of(row) for row in connection.execute(ordered).mappings()]

    def update_endpoint(self, version_id: int, **changes: object) -> Endpoint | None:
        if unknown := sorted(set(changes) - ENDPOINT_FIELDS):
            raise TypeError(f"an endpoint has no field {unknown[0]!r} to change")
        with self.database.write() as connection:
            if changes:
                connection.execute(sa.update(endpoints).where(endpoints.c.version_id == version_id).values(changes))
            return _endpoint(connection, version_id)

    def remove_endpoint(self, version_id: int) -> None:
        with self.database.write() as connection:
            connection.execute(sa.delete(endpoints).where(endpoints.c.version_id == version_id))


def _select_jobs() -> sa.Select[Any]:
    return sa.select(jobs, projects.c.name.label("project")).join(projects)


def _row(connection: sa.Connection, job_id: int) -> Row:
    row = one(connection, _select_jobs().where(jobs.c.id == job_id))
    if row is None:
        raise JobNotFound(f"there is no job {job_id}", hint="see: tenshot jobs list", job=job_id)
    return row


def _insert_job(
    connection: sa.Connection, kind: str, project: str, version: int | None, payload: dict[str, Any], at: float
) -> Job:
    owner = find_project(connection, project)
    values = {"project_id": owner["id"], "kind": kind, "version": version, "payload": payload}
    values |= {"status": JobStatus.QUEUED, "message": "", "created_at": at, "owner": "", "attempts": 0}
    values |= {"cancel_requested": False, "progress": {}}
    job_id = connection.execute(sa.insert(jobs).values(values).returning(jobs.c.id)).scalar_one()
    add_event(connection, "job", str(job_id), None, JobStatus.QUEUED, "", at)
    return _job(connection, job_id)


def _job(connection: sa.Connection, job_id: int) -> Job:
    return job_of(_row(connection, job_id))


def _advance(connection: sa.Connection, row: Row, to: JobStatus, message: str, at: float, **values: object) -> None:
    """The one way to change a job's status; raises IllegalTransition."""
    old = JobStatus(row["status"])
    values |= {"status": check(f"job {row['id']}", old, to), "message": message}
    connection.execute(sa.update(jobs).where(jobs.c.id == row["id"]).values(values))
    add_event(connection, "job", str(row["id"]), old, to, message, at)


def _end(connection: sa.Connection, row: Row, to: JobStatus, message: str, at: float) -> None:
    """A version must not look as if it were still in training when its job has ended without a result."""
    _advance(connection, row, to, message, at)
    if to is JobStatus.SUCCEEDED or row["version"] is None:
        return
    version = find_version(connection, row["project"], row["version"])
    if version["status"] == VersionStatus.TRAINING_IN_PROGRESS:
        advance(connection, version, VersionStatus.TRAINING_FAILED, message, at)


def _endpoint(connection: sa.Connection, version_id: int) -> Endpoint | None:
    row = one(connection, sa.select(endpoints).where(endpoints.c.version_id == version_id))
    return endpoint_of(row) if row else None
