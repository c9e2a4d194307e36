"""Start, stop and list endpoints: what the command line and the HTTP API call.

The caller may end at any time: the supervisor it started goes on. Whoever calls anything here first takes away what
dead supervisors left behind.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from tenshot.projects.clock import iso, now
from tenshot.projects.errors import EndpointError, UsageError
from tenshot.projects.metering import budgets
from tenshot.projects.processes import ProcessId, cores
from tenshot.projects.status import IN_SERVICE, VersionStatus
from tenshot.serving.endpoints import schedule, tls
from tenshot.serving.endpoints.access import Access
from tenshot.serving.endpoints.healing import bury, died, ended, heal, supervisor_of
from tenshot.serving.endpoints.keyring import certificate_of
from tenshot.serving.endpoints.layout import EndpointFiles, tail
from tenshot.serving.endpoints.plan import Plan
from tenshot.serving.endpoints.probe import answers
from tenshot.serving.endpoints.starting import MARGIN_S, POLL_S, failure, locked, spawn_registered, wait

if TYPE_CHECKING:
    from tenshot.projects.records import Endpoint, ModelVersion
    from tenshot.projects.workspace import Workspace

LOG_LINES = 200


@dataclass(frozen=True, slots=True)
class StartResult:
    url: str
    state: VersionStatus
    seconds: float
    """From the call to the first real answer."""
    started: bool
    """False: it was running, or somebody else was starting it."""
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class StopResult:
    state: VersionStatus
    seconds: float


@dataclass(frozen=True, slots=True)
class EndpointView:
    """An endpoint as `tenshot endpoints` shows it; one that failed has no address."""

    ref: str
    state: VersionStatus
    message: str
    endpoint: Endpoint | None

    def to_json(self) -> dict[str, Any]:
        e = self.endpoint
        return {
            "version": self.ref,
            "state": str(self.state),
            "message": self.message,
            "url": e and e.url,
            "units": e and e.units,
            "max_units": e and (e.max_units or e.units),
            "workers": e and e.workers,
            "schedule": e and e.schedule,
            "wake_on_request": e and e.wake_on_request,
            "idle_stop_s": e and e.idle_stop_s,
            "restarts": e and e.restarts,
            "started_at": e and iso(e.started_at),
            "ready_at": e and iso(e.ready_at),
            "last_request_at": e and iso(e.last_request_at),
        }


def start(
    workspace: Workspace,
    ref: str,
    *,
    units: int = 1,
    max_units: int | None = None,
    port: int = 0,
    idle_stop_s: float | None = None,
    access: Access | None = None,
) -> StartResult:
    """Have the version's endpoint running and return once it has answered.

    It has `units` workers, and up to `max_units` while there is more to do than they can (None: no more than `units`).

    However many callers start a version, there is one endpoint: later ones get the running one, whatever units and
    port they asked for. `idle_stop_s` None takes the setting, 0 is never; `access` says who may call, None: as the
    settings say. Raises UsageError for units that the machine has no cores for, BudgetExceeded where the project's
    budget is used up and says so, AccessError where nobody or everybody could call, EndpointError with the reason.
    """
    began = time.monotonic()
    check_units(units, max_units, cores())
    version = workspace.resolve(ref)
    budgets.refuse(workspace, version.project, now())
    deadline = began + workspace.settings.serving.start_timeout_s + MARGIN_S
    plan = Plan(units, units if max_units is None else max_units, port, idle_stop_s)
    access = Access.of(workspace) if access is None else access
    started = _ensure_supervisor(workspace, version, plan, access, deadline)
    endpoint = _await_ready(workspace, version, deadline)
    state = workspace.store.version(version.project, version.number).status
    return StartResult(endpoint.url, state, time.monotonic() - began, started, endpoint)


def check_units(units: int, max_units: int | None, cores: int) -> None:
    """A unit has at least one core: nobody is to pay for more than the machine can give. Raises UsageError."""
    most = units if max_units is None else max_units
    for count, option in ((units, "--units"), (most, "--max-units")):
        if not 1 <= count <= cores:
            raise UsageError(
                f"got {count} units; expected 1 to {cores}: a unit has a core at least, and this machine has {cores}",
                hint=f"start it with {option} {max(1, min(count, cores))}",
            )
    if most < units:
        raise UsageError(f"got at most {most} units and at least {units}", hint=f"start it with --max-units {units}")


def stop(workspace: Workspace, ref: str) -> StopResult:
    """Stop the version's endpoint; return when its processes are gone and its usage is written. Idempotent."""
    began = time.monotonic()
    version = workspace.resolve(ref)
    files = EndpointFiles.of(workspace, version)
    heal(workspace, but=version.id)
    endpoint = workspace.store.endpoint(version.id)
    if endpoint is None:
        _acknowledge_failure(workspace, version)
    else:
        _stop_supervisor(workspace, endpoint)
        with locked(files):
            bury(workspace, endpoint, VersionStatus.STOPPED, "killed: it did not stop in time")
    state = workspace.store.version(version.project, version.number).status
    return StopResult(state, time.monotonic() - began)


def endpoints(workspace: Workspace) -> list[EndpointView]:
    """Every version that has an endpoint, and every one whose endpoint failed, by reference."""
    heal(workspace)
    running = {endpoint.ref: endpoint for endpoint in workspace.store.endpoints()}
    views = []
    for project in workspace.store.projects():
        for version in workspace.store.versions(project.name):
            endpoint = running.get(version.ref)
            if endpoint or version.status in IN_SERVICE or version.status is VersionStatus.FAILED:
                message = (endpoint and resting(endpoint, version.status, now())) or version.status_message
                views.append(EndpointView(version.ref, version.status, message, endpoint))
    return sorted(views, key=lambda view: view.ref)


def resting(endpoint: Endpoint, status: VersionStatus, at: float) -> str:
    """Why a running endpoint has no workers at this time, and when it has some again; empty if it has."""
    if status is not VersionStatus.RUNNING or endpoint.workers:
        return ""
    if _closed(endpoint):
        return f"out of service until {schedule.back_at(schedule.parse(endpoint.schedule), at)}; nothing is billed"
    return "asleep, nothing is billed; the next request wakes it" if endpoint.wake_on_request else ""


def _closed(endpoint: Endpoint) -> bool:
    """Out of service by its schedule."""
    return bool(endpoint.schedule) and not schedule.parse(endpoint.schedule).open_until(now())[0]


def set_schedule(workspace: Workspace, ref: str, text: str) -> Endpoint:
    """Have the endpoint in service by this schedule only; empty: always. Raises UsageError, EndpointError."""
    if text:
        schedule.parse(text)
    return _changed(workspace, ref, schedule=" ".join(text.split()))


def set_wake_on_request(workspace: Workspace, ref: str, on: bool) -> Endpoint:
    """Whether the endpoint sleeps instead of stopping when nobody calls it. Raises EndpointError."""
    return _changed(workspace, ref, wake_on_request=on)


def _changed(workspace: Workspace, ref: str, **changes: object) -> Endpoint:
    version = workspace.resolve(ref)
    heal(workspace)
    changed = workspace.store.update_endpoint(version.id, **changes)
    if changed is None:
        raise EndpointError(f"{version.ref} has no endpoint", hint=f"start it first: tenshot start {version.ref}")
    return changed


def logs(workspace: Workspace, ref: str, *, follow: bool = False) -> Iterator[str]:
    """The last lines of the endpoint's log; with `follow`, also those that are still to come, without end."""
    files = EndpointFiles.of(workspace, workspace.resolve(ref))
    if not files.log.is_file():
        raise EndpointError(f"{ref} has no log: it was never started", hint=f"tenshot start {ref}")
    yield from tail(files.log, LOG_LINES)
    if follow:
        yield from _following(files)


def running(workspace: Workspace, version: ModelVersion) -> Endpoint | None:
    """The version's endpoint if it is in service."""
    heal(workspace)
    current = workspace.store.version(version.project, version.number)
    return workspace.store.endpoint(version.id) if current.status is VersionStatus.RUNNING else None


# Starting -----------------------------------------------------------------------------------------------------------


def _ensure_supervisor(
    workspace: Workspace, version: ModelVersion, plan: Plan, access: Access, deadline: float
) -> bool:
    """Have a registered supervisor; whether this call started it."""
    files = EndpointFiles.of(workspace, version)
    with locked(files):
        endpoint = workspace.store.endpoint(version.id)
        if endpoint and ended(workspace, endpoint):
            bury(workspace, endpoint, VersionStatus.FAILED, died(endpoint))
        elif endpoint and _stopping(workspace, version, endpoint):
            wait(lambda: workspace.store.endpoint(version.id) is None, deadline, f"{version.ref} does not stop")
        elif endpoint:
            return False
        access.check(workspace, version)
        access.save(files.folder)
        return spawn_registered(workspace, version, plan, deadline)


def _stopping(workspace: Workspace, version: ModelVersion, endpoint: Endpoint) -> bool:
    status = workspace.store.version(version.project, version.number).status
    return endpoint.stop_requested or status not in (VersionStatus.STARTING, VersionStatus.RUNNING)


def _answers(workspace: Workspace, endpoint: Endpoint) -> bool:
    trusting = tls.trusting(tls.leaf(certificate_of(workspace, endpoint))) if endpoint.tls else None
    return answers(endpoint.host, endpoint.port, tls=trusting)


def _await_ready(workspace: Workspace, version: ModelVersion, deadline: float) -> Endpoint:
    files = EndpointFiles.of(workspace, version)
    while time.monotonic() < deadline:
        # The status first: what is on record of an endpoint that is RUNNING is then of no earlier time.
        status = workspace.store.version(version.project, version.number).status
        endpoint = workspace.store.endpoint(version.id)
        if endpoint is None or ended(workspace, endpoint):
            heal(workspace, but=version.id)
            raise failure(workspace, version, files)
        if status is VersionStatus.RUNNING and (_answers(workspace, endpoint) or _closed(endpoint)):
            return endpoint
        time.sleep(POLL_S)
    raise EndpointError(f"{version.ref} did not answer in time", hint=f"see: tenshot logs {version.ref}")


# Stopping -----------------------------------------------------------------------------------------------------------


def _stop_supervisor(workspace: Workspace, endpoint: Endpoint) -> None:
    """Ask, wait, and kill what does not end, its server included. On another machine it can only be asked."""
    supervisor = supervisor_of(endpoint)
    family = _family(supervisor)
    workspace.store.update_endpoint(endpoint.version_id, stop_requested=True)
    supervisor.send(signal.SIGTERM)
    grace_s = workspace.settings.serving.stop_grace_s + MARGIN_S
    with suppress(EndpointError):
        wait(lambda: ended(workspace, endpoint), time.monotonic() + grace_s, "it does not stop")
    for one in [supervisor, *family]:
        one.send(signal.SIGKILL)
    deadline = time.monotonic() + MARGIN_S
    wait(lambda: not any(one.alive() for one in family), deadline, f"the server of {endpoint.ref} does not end")
    wait(lambda: ended(workspace, endpoint), deadline, f"process {supervisor} does not end")


def _family(supervisor: ProcessId) -> list[ProcessId]:
    if not supervisor.alive():
        return []
    try:
        children = psutil.Process(supervisor.pid).children(recursive=True)
    except psutil.Error:
        return []
    found = []
    for child in children:
        with suppress(ProcessLookupError):  # ended meanwhile
            found.append(ProcessId.of(child.pid))
    return found


def _acknowledge_failure(workspace: Workspace, version: ModelVersion) -> None:
    """`stop` on a failed endpoint says that its failure was seen."""
    current = workspace.store.version(version.project, version.number)
    if current.status is VersionStatus.FAILED:
        for to in (VersionStatus.STOPPING, VersionStatus.STOPPED):
            workspace.store.advance_version(version.project, version.number, to, message="", at=now())


def _following(files: EndpointFiles) -> Iterator[str]:
    with files.log.open("r", encoding="utf-8", errors="replace") as stream:
        stream.seek(0, 2)
        while True:
            line = stream.readline()
            if line:
                yield line.rstrip("\n")
                continue
            time.sleep(POLL_S * 4)
            if os.fstat(stream.fileno()).st_size < stream.tell():  # put aside, see EndpointFiles.rotate_log
                stream.seek(0)
