"""The contract of a store: what every implementation in `stores/` promises (tests/contracts/ holds them to it).

A store is shared by many processes at once: each method is one transaction, a unique rule is kept by the database and
not by a look beforehand, and a method either does all it says or raises and does nothing. Times are parameters (`at`,
seconds since the epoch) so that no method decides by a clock of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tenshot.projects.records import (
        AccessKey,
        Budget,
        DatasetVersion,
        Endpoint,
        Event,
        Job,
        ModelVersion,
        Project,
        UsageRecord,
    )
    from tenshot.projects.status import JobStatus, Task, VersionStatus


class Store(ABC):
    """Everything that is remembered between two commands."""

    # Projects -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def create_project(self, name: str, task: Task, *, at: float) -> Project:
        """Raises AlreadyExists."""

    @abstractmethod
    def project(self, name: str) -> Project:
        """Raises ProjectNotFound, with the near names as its hint."""

    @abstractmethod
    def projects(self) -> list[Project]:
        """All of them, by name."""

    @abstractmethod
    def delete_project(self, name: str, *, at: float) -> None:
        """Forget the project, its datasets and versions; usage records stay.

        Raises ProjectNotFound, and ResourceInUse while a version trains or its endpoint exists.
        """

    # Datasets -----------------------------------------------------------------------------------------------------

    @abstractmethod
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
        """Append the next dataset version (1, 2, …).

        Raises ProjectNotFound, and IllegalTransition when `parent` is no longer the newest one (somebody else was
        faster; read again and retry).
        """

    @abstractmethod
    def dataset_version(self, project: str, number: int | None = None) -> DatasetVersion:
        """One of them, the newest if `number` is None. Raises ProjectNotFound, DatasetNotFound."""

    @abstractmethod
    def dataset_versions(self, project: str) -> list[DatasetVersion]:
        """All of a project, oldest first. Raises ProjectNotFound."""

    # Model versions -----------------------------------------------------------------------------------------------

    @abstractmethod
    def create_version(self, project: str, *, dataset_version: int, at: float) -> ModelVersion:
        """The next version (1, 2, …) in TRAINING_IN_PROGRESS. Numbers are never given twice."""

    @abstractmethod
    def version(self, project: str, number: int) -> ModelVersion:
        """Raises ProjectNotFound, VersionNotFound."""

    @abstractmethod
    def versions(self, project: str) -> list[ModelVersion]:
        """All of a project, newest first. Raises ProjectNotFound."""

    @abstractmethod
    def advance_version(
        self, project: str, number: int, to: VersionStatus, *, message: str = "", at: float
    ) -> ModelVersion:
        """The only way to change a version's status; writes the event in the same transaction.

        Raises IllegalTransition. `trained_at` is set on TRAINING_COMPLETED.
        """

    @abstractmethod
    def set_version_details(self, project: str, number: int, details: dict[str, Any]) -> ModelVersion:
        """Merge `details` (JSON values) into the version's details, key by key."""

    @abstractmethod
    def set_alias(self, project: str, alias: str, number: int) -> None:
        """Point `alias` at a version; moves it if it exists. Raises VersionNotFound."""

    @abstractmethod
    def alias(self, project: str, alias: str) -> int:
        """Number of the version an alias points at. Raises VersionNotFound, with the known aliases as its hint."""

    # Jobs ---------------------------------------------------------------------------------------------------------

    @abstractmethod
    def enqueue(
        self, kind: str, project: str, *, version: int | None = None, payload: dict[str, Any] | None = None, at: float
    ) -> Job:
        """A new job in QUEUED."""

    @abstractmethod
    def enqueue_training(self, project: str, *, dataset_version: int, payload: dict[str, Any], at: float) -> Job:
        """The next version in TRAINING_IN_PROGRESS and a queued `train` job for it, in one transaction: a process
        killed between the two would leave a version that nobody trains."""

    @abstractmethod
    def job(self, job_id: int) -> Job:
        """Raises JobNotFound."""

    @abstractmethod
    def jobs(self, *, project: str | None = None, statuses: Iterable[JobStatus] | None = None) -> list[Job]:
        """Newest first."""

    @abstractmethod
    def claim(self, owner: str, *, kinds: Iterable[str], job_id: int | None = None, at: float) -> Job | None:
        """Take the oldest queued job of one of these kinds (or that one job) and return it RUNNING with a fresh lock
        token; None if there is none. Of many processes that claim at once exactly one gets a job."""

    @abstractmethod
    def heartbeat(self, job_id: int, lock_token: str, *, progress: dict[str, Any] | None = None, at: float) -> bool:
        """A sign of life. False means stop: the lock was lost to another process or cancelling was asked for."""

    @abstractmethod
    def finish(self, job_id: int, lock_token: str, to: JobStatus, *, message: str = "", at: float) -> Job:
        """End a job as SUCCEEDED, FAILED or CANCELLED. Raises IllegalTransition if the token is not the holder's.

        With a job that FAILED or was CANCELLED its version, if still TRAINING_IN_PROGRESS, becomes TRAINING_FAILED with
        the same message, in the same transaction.
        """

    @abstractmethod
    def cancel(self, job_id: int, *, at: float) -> Job:
        """A queued job becomes CANCELLED at once (its version as in `finish`); a running one is asked to stop by its
        next heartbeat. Raises IllegalTransition if it has ended."""

    @abstractmethod
    def requeue(self, job_id: int, *, at: float) -> Job:
        """FAILED, CANCELLED or left-behind RUNNING becomes QUEUED; the old lock token is void."""

    # Endpoints ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def put_endpoint(self, endpoint: Endpoint) -> Endpoint:
        """Register where a version runs. Raises ResourceInUse if that version already has an endpoint."""

    @abstractmethod
    def endpoint(self, version_id: int) -> Endpoint | None: ...

    @abstractmethod
    def endpoints(self) -> list[Endpoint]: ...

    @abstractmethod
    def update_endpoint(self, version_id: int, **changes: object) -> Endpoint | None:
        """Change fields of an endpoint; None if it is gone. An unknown field is a TypeError."""

    @abstractmethod
    def remove_endpoint(self, version_id: int) -> None:
        """Idempotent."""

    # Metering -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def open_meter(
        self,
        meter_id: str,
        *,
        unit: str,
        project: str,
        version: int | None,
        operation: str,
        multiplier: float,
        at: float,
    ) -> None:
        """Start to count `multiplier` units a second under a unique id. Opening it again changes nothing."""

    @abstractmethod
    def beat_meter(self, meter_id: str, *, at: float) -> None:
        """The meter was running up to `at`. Never moves backwards; ignored after it was closed."""

    @abstractmethod
    def close_meter(self, meter_id: str, *, at: float | None, billed: bool = True) -> None:
        """Turn the meter into one usage record, up to `at`, or up to its last beat if None. Idempotent: the first time
        says whether it is billed."""

    @abstractmethod
    def open_meters(self) -> list[UsageRecord]:
        """The open ones as they would be if closed at their last beat."""

    @abstractmethod
    def add_usage(self, records: Iterable[UsageRecord]) -> int:
        """Append records; one whose id is known is left out. Returns how many were new."""

    @abstractmethod
    def add_correction(self, record: UsageRecord, *, reason: str, at: float) -> None:
        """Append a record that takes back what another one says too much, with the reason as an event (noun `usage`,
        subject the record's id) in the same transaction. Raises AlreadyExists if the id is known."""

    @abstractmethod
    def add_usage_from(self, source: str, start: int, end: int, records: Iterable[UsageRecord]) -> bool:
        """Append records read from bytes [start, end) of a journal, and remember `end`, in one transaction.

        False, and nothing is written, unless the journal was read up to `start` exactly: somebody else was faster.
        """

    @abstractmethod
    def usage_offset(self, source: str) -> int:
        """How far (bytes) a journal has been read; 0 if never."""

    @abstractmethod
    def usage(self, *, start: float | None = None, end: float | None = None) -> list[UsageRecord]:
        """Records that overlap [start, end), and the open meters as `open_meters()` gives them."""

    # Budgets ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def put_budget(self, budget: Budget) -> None:
        """Set a project's budget, in the place of the one it had. Raises ProjectNotFound."""

    @abstractmethod
    def budgets(self) -> list[Budget]:
        """All of them, by project."""

    @abstractmethod
    def remove_budget(self, project: str) -> bool:
        """Whether there was one. A budget goes with its project, too."""

    @abstractmethod
    def add_warnings(self, project: str, marks: Iterable[str]) -> list[str]:
        """Remember that these marks of a budget were told; those of them that were not told before. Of many processes
        that ask at once exactly one is given a mark. Empty if there is no such budget."""

    # Access keys --------------------------------------------------------------------------------------------------

    @abstractmethod
    def add_access_key(self, key: AccessKey) -> AccessKey:
        """Raises AlreadyExists for an id that was ever used."""

    @abstractmethod
    def access_key(self, key_id: str) -> AccessKey:
        """Revoked ones too. Raises AccessKeyNotFound."""

    @abstractmethod
    def access_keys(self) -> list[AccessKey]:
        """All of them, revoked ones too, oldest first."""

    @abstractmethod
    def revoke_access_key(self, key_id: str, *, at: float) -> AccessKey:
        """For good; doing it again keeps the first time. Raises AccessKeyNotFound."""

    # Events -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def events(self, *, after: int = 0) -> list[Event]:
        """Status changes with an id above `after`, in order."""

    def close(self) -> None:
        """Give connections back. The store can be used again afterwards."""
        return
