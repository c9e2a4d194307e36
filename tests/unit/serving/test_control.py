"""What others see of an endpoint whose supervisor runs on another machine, or is gone."""

from dataclasses import replace

import pytest

from tenshot.projects.clock import now
from tenshot.projects.errors import UsageError
from tenshot.projects.processes import ProcessId
from tenshot.projects.records import Endpoint
from tenshot.projects.status import Task, VersionStatus
from tenshot.serving.endpoints import control, healing


@pytest.fixture
def known(workspace):
    """A running endpoint on record, with an open meter, that this process owns."""
    store, own, at = workspace.store, ProcessId.own(), now()
    store.create_project("p", Task.CLASSIFICATION, at=at)
    made = store.create_version("p", dataset_version=1, at=at)
    for status in (VersionStatus.TRAINING_COMPLETED, VersionStatus.STARTING, VersionStatus.RUNNING):
        store.advance_version("p", 1, status, at=at)
    store.open_meter("m", unit="second", project="p", version=1, operation="endpoint", multiplier=1.0, at=at)
    return Endpoint(
        version_id=made.id,
        ref="p@1",
        host="::1",
        port=3000,
        units=1,
        idle_stop_s=0.0,
        supervisor_pid=own.pid,
        supervisor_started_at=own.start,
        started_at=at,
        ready_at=at,
        beat_at=at,
        last_request_at=None,
        restarts=0,
        stop_requested=False,
        meter_id="m",
        supervisor_host=own.host,
    )


@pytest.mark.parametrize(
    ("changes", "silent_s", "dead"),
    [
        pytest.param({}, 1000, False, id="this process"),
        pytest.param({"supervisor_host": None}, 1000, False, id="this process by default"),
        pytest.param({"supervisor_started_at": 1.0}, 0, True, id="a reused pid"),
        pytest.param({"supervisor_host": "elsewhere"}, 0, False, id="another machine that beats"),
        pytest.param({"supervisor_host": "elsewhere"}, 1000, True, id="another machine that is silent"),
    ],
)
def test_heal(workspace, known, changes, silent_s, dead):
    workspace.store.put_endpoint(replace(known, beat_at=now() - silent_s, **changes))
    assert healing.heal(workspace, revive=False) == (["p@1"] if dead else [])
    status = workspace.store.version("p", 1).status
    assert status is (VersionStatus.FAILED if dead else VersionStatus.RUNNING)
    assert bool(workspace.store.open_meters()) is not dead


def test_the_address_can_be_used(known):
    assert known.url == "http://[::1]:3000"
    assert replace(known, host="127.0.0.1").url == "http://127.0.0.1:3000"


def test_the_table_fits_80_columns(monkeypatch, capsys, known):
    from tenshot.projects import console
    from tenshot.serving.commands import _endpoint_table

    monkeypatch.setenv("COLUMNS", "80")
    endpoint = replace(known, ref="solar-cells-2026@1", host="127.0.0.1", port=34567, idle_stop_s=1800.0)
    running = control.EndpointView(endpoint.ref, VersionStatus.RUNNING, "", endpoint)
    failed = control.EndpointView("x@1", VersionStatus.FAILED, "it broke", None)
    console.emit({}, lambda: _endpoint_table([running, failed]))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.strip() for line in lines].count(endpoint.url) == 1
    assert any(line.startswith("solar-cells-2026@1 ") and " RUNNING " in line for line in lines)


def test_more_units_than_cores_are_refused_before_anything_starts(workspace):
    with pytest.raises(UsageError, match="100000 units"):
        control.start(workspace, "nothing@1", units=100_000)
