"""What every test gets: no network but this machine, a time limit, and a workspace of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_socket import socket_allow_hosts

from tenshot.projects import console
from tenshot.projects.workspace import Workspace

# As `tenshot train` does it: idle threads of torch must not spin on the cores that the processes under test need.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Endpoints of tests let everybody on this machine in; those that are about keys say otherwise.
os.environ.setdefault("TENSHOT_SERVING__INSECURE_NO_AUTH", "true")

TIMEOUT_S = 60
SLOW_TIMEOUT_S = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test without a time limit of its own gets one: a hang is a failure with a stack, not a stuck run."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            slow = item.get_closest_marker("slow") or item.get_closest_marker("benchmark")
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_S if slow else TIMEOUT_S))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Sockets reach this machine and nothing else, from before the widest fixture on (pytest-socket undoes it)."""
    socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


@pytest.fixture(autouse=True)
def talk_to_people() -> Iterator[None]:
    """`--json` and `--debug` of one test do not leak into the next."""
    console.mode.json = console.mode.debug = False
    yield
    console.mode.json = console.mode.debug = False


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """An empty TENSHOT_HOME, also named by the environment, so that commands and child processes find it."""
    home = tmp_path / "home"
    monkeypatch.setenv("TENSHOT_HOME", str(home))
    found = Workspace.current()
    yield found
    if "store" in found.__dict__:
        found.store.close()
