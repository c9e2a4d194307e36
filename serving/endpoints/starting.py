"""Starting the processes of an endpoint, and waiting for them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tenshot.projects.errors import EndpointError
from tenshot.projects.status import VersionStatus
from tenshot.serving.endpoints.keeper import EXIT_TAKEN
from tenshot.serving.endpoints.layout import EndpointFiles, tail
from tenshot.serving.endpoints.listening import listen

if TYPE_CHECKING:
    from tenshot.projects.records import ModelVersion
    from tenshot.projects.workspace import Workspace
    from tenshot.serving.endpoints.plan import Plan

POLL_S = 0.05
MARGIN_S = 15.0
"""What the supervisor itself may take beyond the times in the settings, on a busy machine."""


def spawn_registered(workspace: Workspace, version: ModelVersion, plan: Plan, deadline: float) -> bool:
    """Start a supervisor and wait until it is on record; whether it was this one that got there. The caller holds the
    endpoint's lock. Raises EndpointError."""
    files = EndpointFiles.of(workspace, version)
    keeper = _spawn(workspace, version, files, plan)

    def registered() -> bool:
        return keeper.poll() is not None or workspace.store.endpoint(version.id) is not None

    try:
        wait(registered, deadline, f"the supervisor of {version.ref} does not start")
    except EndpointError:
        keeper.kill()  # it must not come up after we said that it did not
        raise
    if keeper.poll() not in (None, EXIT_TAKEN) and workspace.store.endpoint(version.id) is None:
        raise failure(workspace, version, files)
    return keeper.poll() != EXIT_TAKEN


def _spawn(workspace: Workspace, version: ModelVersion, files: EndpointFiles, plan: Plan) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tenshot.serving.endpoints.keeper", version.ref, *plan.words()]
    # The socket is opened here, so that a port that is taken is the caller's error and not a line in a log.
    with listen(workspace.settings.serving.host, plan.port) as listener, files.log.open("ab") as log:
        return subprocess.Popen(
            [*command, "--fd", str(listener.fileno())],
            env={**os.environ, "TENSHOT_HOME": str(workspace.home), "PYTHONSAFEPATH": "1"},
            cwd=files.folder,
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # it must outlive the terminal
        )


def failure(workspace: Workspace, version: ModelVersion, files: EndpointFiles) -> EndpointError:
    current = workspace.store.version(version.project, version.number)
    reason = current.status_message if current.status is VersionStatus.FAILED else " / ".join(tail(files.log, 3))
    return EndpointError(
        f"{version.ref} did not start: {reason or f'it is {current.status}'}", hint=f"see: tenshot logs {version.ref}"
    )


@contextmanager
def locked(files: EndpointFiles) -> Iterator[None]:
    with files.lock.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def wait(condition: Callable[[], bool], deadline: float, failure: str) -> None:
    while not condition():
        if time.monotonic() > deadline:
            raise EndpointError(failure)
        time.sleep(POLL_S)
