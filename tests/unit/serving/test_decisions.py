from dataclasses import replace

import pytest

from tenshot.projects.errors import UsageError
from tenshot.serving.endpoints.control import check_units
from tenshot.serving.endpoints.decisions import (
    Rules,
    Seen,
    Step,
    Verdict,
    WorkerSeen,
    decide,
    idle_for,
    judge,
    may_return,
    next_start_at,
    recent_failures,
)

RULES = Rules(
    start_timeout_s=60, idle_stop_s=100, max_restarts=2, restart_window_s=300, hang_s=30, max_memory_bytes=1000
)
STARTING = WorkerSeen(at=1000, alive=True, started_at=990, ready_at=None, answers=False, beat_at=0)
SERVING = replace(STARTING, ready_at=995, answers=True, beat_at=999.9)


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        pytest.param(STARTING, Verdict.FINE, id="still-starting"),
        pytest.param(replace(STARTING, answers=True), Verdict.READY, id="first-answer"),
        pytest.param(replace(STARTING, at=1050), Verdict.FINE, id="just-within-the-start-timeout"),
        pytest.param(replace(STARTING, at=1051), Verdict.FAILED, id="hangs-at-start"),
        pytest.param(replace(STARTING, alive=False), Verdict.FAILED, id="ends-at-start"),
        pytest.param(SERVING, Verdict.FINE, id="serving"),
        pytest.param(replace(SERVING, alive=False), Verdict.FAILED, id="crash"),
        pytest.param(replace(SERVING, at=1029), Verdict.FINE, id="slow"),
        pytest.param(replace(SERVING, at=1030), Verdict.FAILED, id="hangs"),
        pytest.param(replace(SERVING, beat_at=0, at=1020), Verdict.FINE, id="no-beat-since-it-got-ready"),
        pytest.param(replace(SERVING, inferring_since=971), Verdict.FINE, id="long-network"),
        pytest.param(replace(SERVING, inferring_since=969), Verdict.FAILED, id="network-hangs"),
        pytest.param(replace(SERVING, inferring_since=9, inferred_at=999), Verdict.FINE, id="network-is-busy"),
        pytest.param(replace(SERVING, memory_bytes=1000), Verdict.FINE, id="just-within-its-memory"),
        pytest.param(replace(SERVING, memory_bytes=1001), Verdict.HEAVY, id="grown"),
        pytest.param(replace(STARTING, memory_bytes=1001), Verdict.FINE, id="grown-while-it-starts"),
    ],
)
def test_judges_a_worker(seen, verdict):
    assert judge(seen, RULES)[0] is verdict


def test_no_limit_of_memory():
    assert judge(replace(SERVING, memory_bytes=1e12), replace(RULES, max_memory_bytes=0))[0] is Verdict.FINE


IN_SERVICE = Seen(
    at=1000,
    stop_asked=False,
    serving=1,
    in_use=False,
    used_at=995,
    ever_ready=True,
    failures=(),
    last_failure="it broke",
)


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        pytest.param(IN_SERVICE, Step.WAIT, id="serving"),
        pytest.param(replace(IN_SERVICE, ever_ready=False, serving=0), Step.WAIT, id="starting"),
        pytest.param(replace(IN_SERVICE, stop_asked=True), Step.STOP, id="stop"),
        pytest.param(replace(IN_SERVICE, stop_asked=True, serving=0, failures=(1, 2, 999)), Step.STOP, id="stop-first"),
        pytest.param(
            replace(IN_SERVICE, serving=0, ever_ready=False, failures=(999,)), Step.FAIL, id="fails-at-the-first-start"
        ),
        pytest.param(replace(IN_SERVICE, serving=0, failures=(999,)), Step.WAIT, id="crash"),
        pytest.param(replace(IN_SERVICE, serving=0, failures=(800, 900, 999)), Step.FAIL, id="too-many-crashes"),
        pytest.param(replace(IN_SERVICE, failures=(800, 900, 999)), Step.WAIT, id="others-serve"),
        pytest.param(replace(IN_SERVICE, serving=0, failures=(800, 900, 999), resting=True), Step.WAIT, id="rests"),
        pytest.param(
            replace(IN_SERVICE, serving=0, failures=(600, 900, 999)), Step.WAIT, id="an-old-crash-is-forgotten"
        ),
        pytest.param(replace(IN_SERVICE, at=1094.9), Step.WAIT, id="not-idle-yet"),
        pytest.param(replace(IN_SERVICE, at=1095), Step.STOP, id="idle"),
        pytest.param(replace(IN_SERVICE, at=1095, in_use=True), Step.WAIT, id="a-long-request"),
        pytest.param(replace(IN_SERVICE, at=1095, serving=0), Step.WAIT, id="starting-is-not-idle"),
        pytest.param(replace(IN_SERVICE, at=1095, wake_on_request=True), Step.SLEEP, id="sleeps-when-idle"),
        pytest.param(replace(IN_SERVICE, at=1095, scheduled=True), Step.WAIT, id="the-schedule-says-when"),
        pytest.param(
            replace(IN_SERVICE, at=1095, scheduled=True, wake_on_request=True), Step.SLEEP, id="sleeps-within-its-hours"
        ),
    ],
)
def test_decides(seen, step):
    assert decide(seen, RULES).step is step


def test_no_idle_stop_when_it_is_off():
    forever = replace(IN_SERVICE, at=1e9)
    assert decide(forever, replace(RULES, idle_stop_s=0)).step is Step.WAIT
    assert decide(forever, RULES).step is Step.STOP


def test_reasons_are_for_people():
    assert "not ready after 1m" in judge(replace(STARTING, at=1051), RULES)[1]
    assert "nobody called it for 1m40s" in decide(replace(IN_SERVICE, at=1095), RULES).reason
    crashed = replace(IN_SERVICE, serving=0, failures=(800, 900, 999))
    assert decide(crashed, RULES).reason == "it broke, after 2 restarts within 5m"


def test_a_starting_endpoint_is_not_idle():
    assert idle_for(replace(IN_SERVICE, serving=0)) == 0.0


def test_only_failures_inside_the_window_count():
    assert recent_failures(replace(IN_SERVICE, failures=(100, 700, 701, 999)), RULES) == 3


def test_replacements_come_later_and_later():
    waits = []
    for count in range(9):
        failures = tuple(1000.0 - count + i for i in range(1, count + 1))
        waits.append(next_start_at(replace(IN_SERVICE, failures=failures), RULES) - (failures[-1] if failures else 0))
    assert waits[2:] == [0.5, 1, 2, 4, 5, 5, 5]
    assert next_start_at(IN_SERVICE, RULES) == 0
    assert next_start_at(replace(IN_SERVICE, failures=(999.0,)), RULES) == 0, "the first one at once"


@pytest.mark.parametrize(
    ("running", "up_s", "restarts", "returns"),
    [
        pytest.param(True, 10, 0, True, id="was-in-service"),
        pytest.param(True, 10, 2, False, id="too-often"),
        pytest.param(True, 301, 2, True, id="was-in-service-for-long"),
        pytest.param(False, 0, 0, False, id="never-was-in-service"),
        pytest.param(False, 0, 1, True, id="on-the-way-back"),
        pytest.param(False, 10, 2, False, id="too-often-on-the-way-back"),
        pytest.param(False, 400, 2, True, id="a-worker-was-being-replaced-after-a-long-time"),
    ],
)
def test_what_was_killed_comes_back_a_few_times(running, up_s, restarts, returns):
    assert may_return(running=running, up_s=up_s, restarts=restarts, max_restarts=2, window_s=300) is returns


@pytest.mark.parametrize(
    ("units", "most", "cores"), [(1, None, 1), (1, None, 2), (2, 2, 2), (3, None, 16), (1, 16, 16), (4, 5, 16)]
)
def test_a_unit_has_a_core(units, most, cores):
    check_units(units, most, cores)


@pytest.mark.parametrize(
    ("units", "most", "cores", "got", "way_out"),
    [
        (3, None, 2, 3, "--units 2"),
        (99, 99, 16, 99, "--units 16"),
        (0, 1, 2, 0, "--units 1"),
        (1, 3, 2, 3, "--max-units 2"),
    ],
)
def test_units_that_would_be_billed_and_not_served_are_refused(units, most, cores, got, way_out):
    with pytest.raises(UsageError, match=f"got {got} units; expected 1 to {cores}") as caught:
        check_units(units, most, cores)
    assert way_out in caught.value.hint


def test_the_most_are_no_fewer_than_the_least():
    with pytest.raises(UsageError, match="at most 2 units and at least 3"):
        check_units(3, 2, 4)
