"""Clocks that are set while something runs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tenshot.projects.clock import SteadyClock
from tenshot.projects.metering.meter import Meter
from tenshot.projects.processes import ProcessId
from tenshot.projects.workspace import Workspace


class Hands:
    """A wall clock that can be set, and the time that really passes."""

    def __init__(self) -> None:
        self.wall, self.passed = 1000.0, 50.0

    def clock(self) -> SteadyClock:
        return SteadyClock(lambda: self.wall, lambda: self.passed)

    def go_on(self, seconds: float) -> None:
        self.wall += seconds
        self.passed += seconds


@pytest.mark.parametrize("set_by", [3600.0, -3600.0], ids=["forward", "back"])
def test_setting_the_clock_is_not_billed(workspace: Workspace, set_by: float) -> None:
    hands = Hands()
    meter = Meter(workspace.store, "m", unit="second", project="p", version=1, operation="o", clock=hands.clock())
    hands.go_on(10)
    assert not meter.jumped
    hands.wall += set_by
    assert meter.jumped
    hands.go_on(5)
    meter.beat()
    assert workspace.store.open_meters()[0].quantity == 15.0
    meter.close()
    (used,) = workspace.store.usage()
    assert (used.quantity, used.start, used.end) == (15.0, 1000.0, 1015.0)


def test_sleep_of_the_machine_is_not_billed(workspace: Workspace) -> None:
    hands = Hands()
    meter = Meter(
        workspace.store, "m", unit="second", project="p", version=1, operation="o", multiplier=2.0, clock=hands.clock()
    )
    hands.go_on(10)
    hands.wall += 8 * 3600  # the monotonic clock stands still
    meter.close()
    assert workspace.store.usage()[0].quantity == 20.0
    assert meter.jumped


def test_a_process_is_known_by_its_start() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        known = ProcessId.of(child.pid)
        assert known.alive()
        assert ProcessId.parse(str(known)).alive()
        assert replace(known, start=known.start + 1).alive() is False
        assert replace(known, host="elsewhere").alive() is None
    finally:
        child.communicate(b"\n")
    assert known.alive() is False
    with pytest.raises(ProcessLookupError):
        ProcessId.of(child.pid)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only where the kernel tells")
def test_start_does_not_depend_on_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    own = ProcessId.own()
    monkeypatch.setattr(psutil, "boot_time", lambda: 1.0)
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: 1.0)
    assert own.alive()
