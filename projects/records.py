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

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


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
