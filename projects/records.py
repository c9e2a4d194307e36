"""The frozen nouns that the store hands out. Times are seconds since the epoch (UTC), durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tenshot.projects.status import JobStatus, ProjectStatus, Task, VersionStatus


@dataclass(frozen=True, slots=True)
class Project:
    id: int
    name: str
    task: Task
    status: ProjectStatus
    created_at: float


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """One immutable list of entries; the entries themselves are in the snapshot file named by `snapshot_sha256`."""

    id: int
    project_id: int
    number: int
    snapshot_sha256: str
    parent: int | None
    """Number of the dataset version that this one extends."""
    source: str
    """Where the newest entries came from, as the user named it."""
    created_at: float
    stats: dict[str, Any] = field(default_factory=dict)
    """`{"train": {"images", "labels": {name: count}}, "test": {…}, "refused": n}`."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    id: int
    project_id: int
    project: str
    """Name of the project."""
    task: Task
    number: int
    status: VersionStatus
    status_message: str
    dataset_version: int
    created_at: float
    trained_at: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    """What training found: labels, metrics, intervals, thresholds, seconds, trials, base, licence, run_id, …"""
    aliases: tuple[str, ...] = ()

    @property
    def ref(self) -> str:
        return f"{self.project}@{self.number}"


@dataclass(frozen=True, slots=True)
class Job:
    id: int
    kind: str
    """`train` or `import`."""
    project: str
    version: int | None
    payload: dict[str, Any]
    status: JobStatus
    message: str
    created_at: float
    lock_token: str | None = None
    """Secret of the process that holds the job; every later call of that process shows it."""
    owner: str = ""
    """`host:pid:start` of the process that holds the job (projects/processes.py)."""
    heartbeat_at: float | None = None
    attempts: int = 0
    cancel_requested: bool = False
    progress: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is running for a model version. The state is the version's status; this is where it runs."""

    version_id: int
    ref: str
    host: str
    port: int
    units: int
    idle_stop_s: float
    """0: never."""
    supervisor_pid: int
    supervisor_started_at: float
    """When it started as projects/processes.py reckons it, so that a reused pid is not mistaken for the supervisor."""
    started_at: float
    ready_at: float | None
    beat_at: float
    """Last sign of life of the supervisor."""
    last_request_at: float | None
    restarts: int
    stop_requested: bool
    meter_id: str | None
    supervisor_host: str | None = None
    """Name of the machine whose process table knows the supervisor; None: this one."""
    max_units: int | None = None
    """Units that it may scale out to; None: `units`, which is the least and what runs at once."""
    workers: int = 0
    """Worker processes in service now, one a unit; 0 while it starts or sleeps."""
    schedule: str = ""
    """When it is in service, as `mon-fri 08:00-18:00`; empty: always."""
    wake_on_request: bool = False
    """Whether it sleeps instead of stopping when idle, and the next request wakes it."""
    secured: bool = False
    """Whether callers need an access key."""
    tls: bool = False

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """A finished piece of work, counted once by its id.

    A time unit (`inference_unit_second`, `training_second`) spans `start`…`end` and counts `quantity` evenly over it; a
    count unit (`image`) has `start == end` or a short span.
    """

    id: str
    unit: str
    project: str
    version: int | None
    operation: str
    quantity: float
    start: float
    end: float
    key: str = ""
    """Id of the access key of the caller; empty: none was asked for."""
    billed: bool = True
    """False: shown and not paid, as a training that failed."""


@dataclass(frozen=True, slots=True)
class AccessKey:
    """Who may call. The secret itself is shown once, when the key is made."""

    id: str
    secret_sha256: str
    secret_sealed: str
    """The secret encrypted with the key file of the workspace, for protocols that sign with it."""
    role: str
    """`admin`, `labeler`, `app` or `reader`."""
    projects: tuple[str, ...]
    """Empty: every project."""
    note: str
    created_at: float
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What a project may cost in a period (UTC)."""

    project: str
    amount: float
    """In the currency of the price list."""
    period: str
    """`day` or `month`."""
    stop: bool
    """Whether endpoints of the project are stopped when it is used up."""
    created_at: float
    warned: tuple[str, ...] = ()
    """Marks already told, as `2026-11:80`."""


@dataclass(frozen=True, slots=True)
class Event:
    """A status change, in order; metering and the logs read these."""

    id: int
    at: float
    noun: str
    subject: str
    old: str
    new: str
    message: str
