"""When an endpoint rests and when it comes back."""

import socket
import time
from dataclasses import replace

import pytest

from tenshot.projects.records import Endpoint
from tenshot.projects.status import VersionStatus
from tenshot.serving.endpoints import control
from tenshot.serving.endpoints import rest as rest_module
from tenshot.serving.endpoints.listening import listen
from tenshot.serving.endpoints.rest import Rest

MONDAY_NOON = 1795435200.0  # 2026-11-23T12:00Z
HOURS = "mon-fri 13:00-18:00"
AWAKE = Endpoint(
    version_id=1,
    ref="p@1",
    host="127.0.0.1",
    port=3000,
    units=1,
    idle_stop_s=10.0,
    supervisor_pid=1,
    supervisor_started_at=1.0,
    started_at=1.0,
    ready_at=None,
    beat_at=1.0,
    last_request_at=None,
    restarts=0,
    stop_requested=False,
    meter_id=None,
)
SLEEPER, CLERK = replace(AWAKE, wake_on_request=True), replace(AWAKE, schedule=HOURS)


@pytest.fixture
def rest(monkeypatch):
    hands = {"at": MONDAY_NOON}
    monkeypatch.setattr(rest_module, "now", lambda: hands["at"])
    with listen("127.0.0.1", 0) as listener:
        made = Rest(listener, "p@1")
        made.hands, made.address = hands, listener.getsockname()
        yield made
        made.let_guests_go()


def called(rest, endpoint):
    """Somebody calls; whether it came back."""
    with socket.create_connection(rest.address, timeout=5) as caller:
        caller.sendall(b"POST /predict HTTP/1.1\r\n\r\n")
        deadline = time.monotonic() + 5
        while not (back := rest.step(endpoint, "")):
            if time.monotonic() > deadline or caller_was_answered(caller):
                break
        return back


def caller_was_answered(caller):
    caller.setblocking(False)
    try:
        return caller.recv(100).startswith(b"HTTP/1.1 503")
    except BlockingIOError:
        return False


def test_stays_in_service(rest):
    for endpoint in (AWAKE, SLEEPER, replace(CLERK, schedule="mon 11:00-13:00")):
        assert rest.step(endpoint, "") is False
        assert not rest.resting


def test_sleeps_until_somebody_calls(rest):
    assert rest.step(SLEEPER, "nobody called") is False
    assert rest.resting
    assert rest.step(SLEEPER, "") is False
    assert called(rest, SLEEPER)
    assert not rest.resting
    assert rest.waking
    assert len(rest.guests) == 1


def test_gets_up_when_it_is_told_not_to_sleep(rest):
    rest.step(SLEEPER, "nobody called")
    assert rest.step(AWAKE, "") is True


def test_out_of_service_nobody_wakes_it_and_the_clock_does(rest):
    endpoint = replace(CLERK, wake_on_request=True)
    rest.step(endpoint, "")
    assert rest.resting
    assert not called(rest, endpoint)
    rest.hands["at"] += 3599
    assert rest.step(endpoint, "") is False
    rest.hands["at"] += 1
    assert rest.step(endpoint, "") is True, "at the beginning of its hours, called or not"


def test_asleep_over_the_end_of_its_hours(rest):
    endpoint = replace(CLERK, schedule="mon-fri 11:00-13:00", wake_on_request=True)
    rest.step(endpoint, "nobody called")
    rest.hands["at"] += 7200
    assert not called(rest, endpoint), "it is out of service now"


def test_a_schedule_that_cannot_be_read_any_more_is_passed_over(rest):
    assert rest.step(replace(AWAKE, schedule="mon 11:00-13:00 Gone/Town"), "") is False
    assert not rest.resting


@pytest.mark.parametrize(
    ("endpoint", "status", "words"),
    [
        pytest.param(AWAKE, VersionStatus.RUNNING, "", id="neither"),
        pytest.param(SLEEPER, VersionStatus.RUNNING, "asleep, nothing is billed", id="asleep"),
        pytest.param(replace(SLEEPER, workers=1), VersionStatus.RUNNING, "", id="awake"),
        pytest.param(SLEEPER, VersionStatus.STARTING, "", id="starting"),
    ],
)
def test_says_why_it_has_no_workers(endpoint, status, words):
    assert control.resting(endpoint, status, MONDAY_NOON).startswith(words)
    assert bool(control.resting(endpoint, status, MONDAY_NOON)) is bool(words)


def test_says_when_it_is_back(monkeypatch):
    monkeypatch.setattr(control, "now", lambda: MONDAY_NOON)
    words = control.resting(CLERK, VersionStatus.RUNNING, MONDAY_NOON)
    assert words == "out of service until Mon 23 Nov 13:00 UTC; nothing is billed"
