"""What dead supervisors left behind: taken away, and started again where it was in service."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from tenshot.projects.clock import iso, now
from tenshot.projects.errors import EndpointError, IllegalTransition
from tenshot.projects.processes import ProcessId
from tenshot.projects.status import IN_SERVICE, VersionStatus
from tenshot.serving.endpoints.books import close_meters
from tenshot.serving.endpoints.decisions import may_return
from tenshot.serving.endpoints.layout import EndpointFiles
from tenshot.serving.endpoints.plan import Plan
from tenshot.serving.endpoints.starting import MARGIN_S, locked, spawn_registered

if TYPE_CHECKING:
    from tenshot.projects.records import Endpoint, ModelVersion
    from tenshot.projects.workspace import Workspace

REVIVE_S = 2.0
"""How long to try to start an endpoint again whose supervisor was killed together with its keeper."""


def heal(workspace: Workspace, *, revive: bool = True, but: int | None = None) -> list[str]:
    """Take away what dead supervisors left: their meters are closed at the last beat. What was running and was not
    asked to stop is started again (with `revive`, on the machine where it ran, and not without end); the others become
    FAILED, or STOPPED if that is what they were about to.

    `but` is the id of a version that is not to be started again. Returns the references of those found dead.
    """
    found = []
    for endpoint in workspace.store.endpoints():
        if not ended(workspace, endpoint):
            continue
        name, _, number = endpoint.ref.rpartition("@")
        version = workspace.store.version(name, int(number))
        with locked(EndpointFiles.of(workspace, version)):
            leaving = endpoint.stop_requested or version.status is VersionStatus.STOPPING
            again = revive and version.id != but and not leaving and _may_return(workspace, endpoint, version)
            to = VersionStatus.STOPPED if leaving else VersionStatus.FAILED
            if bury(workspace, endpoint, to, died(endpoint)):
                found.append(endpoint.ref)
                if again:
                    _revive(workspace, endpoint, version)
    return found


def _may_return(workspace: Workspace, endpoint: Endpoint, version: ModelVersion) -> bool:
    here = endpoint.supervisor_host in (None, socket.gethostname())
    if not here or version.status not in (VersionStatus.RUNNING, VersionStatus.STARTING):
        return False
    serving = workspace.settings.serving
    return may_return(
        running=version.status is VersionStatus.RUNNING,
        up_s=endpoint.beat_at - endpoint.started_at,
        restarts=endpoint.restarts,
        max_restarts=serving.max_restarts,
        window_s=serving.restart_window_s,
    )


def _revive(workspace: Workspace, endpoint: Endpoint, version: ModelVersion) -> None:
    """The caller holds the endpoint's lock. A failure is told in the version's status message."""
    deadline = time.monotonic() + MARGIN_S
    plan = Plan.again(endpoint)
    if endpoint.beat_at - endpoint.started_at > workspace.settings.serving.restart_window_s:
        plan = replace(plan, restarts=1)  # what it lived through since then counts no more
    while True:
        try:
            spawn_registered(workspace, version, plan, deadline)
            return
        except EndpointError as error:  # its port is taken, for instance, maybe only for a moment
            if time.monotonic() > deadline - MARGIN_S + REVIVE_S:
                for to in (VersionStatus.STARTING, VersionStatus.FAILED):
                    message = f"{died(endpoint)}; it cannot be started again: {error.message}"
                    workspace.store.advance_version(version.project, version.number, to, message=message, at=now())
                return
        time.sleep(REVIVE_S / 8)


def supervisor_of(endpoint: Endpoint) -> ProcessId:
    host = endpoint.supervisor_host or socket.gethostname()
    return ProcessId(host, endpoint.supervisor_pid, endpoint.supervisor_started_at)


def ended(workspace: Workspace, endpoint: Endpoint) -> bool:
    """Whether its supervisor has. On this host the process table says so, of another host its last beat."""
    supervisor = supervisor_of(endpoint)
    alive = supervisor.alive()
    if alive is not None:
        return not alive
    left = workspace.store.endpoint(endpoint.version_id)
    return left is None or supervisor_of(left) != supervisor or now() - left.beat_at > _stale_after_s(workspace)


def _stale_after_s(workspace: Workspace) -> float:
    return max(workspace.settings.jobs.stale_after_s, 3 * workspace.settings.serving.beat_s)


def bury(workspace: Workspace, endpoint: Endpoint, to: VersionStatus, message: str) -> bool:
    """Take away what a dead supervisor left; whether there was anything. The caller holds the endpoint's lock."""
    store = workspace.store
    left = store.endpoint(endpoint.version_id)
    if left is None or supervisor_of(left) != supervisor_of(endpoint):
        return False
    name, _, number = left.ref.rpartition("@")
    if left.meter_id:
        store.close_meter(left.meter_id, at=None)
    version = store.version(name, int(number))
    close_meters(store, version)
    status = version.status
    steps = [VersionStatus.STOPPING, to] if to is VersionStatus.STOPPED else [to]
    for step in steps if status in IN_SERVICE else []:
        with suppress(IllegalTransition):  # STOPPING already
            store.advance_version(name, int(number), step, message=message, at=now())
    store.remove_endpoint(endpoint.version_id)
    return True


def died(endpoint: Endpoint) -> str:
    return f"its supervisor (process {endpoint.supervisor_pid}) died; last sign of life {iso(endpoint.beat_at)}"
