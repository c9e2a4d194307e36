from dataclasses import replace

import pytest

from tenshot.projects.errors import UsageError
from tenshot.serving.endpoints.control import check_units
from tenshot.serving.endpoints.decisions import Rules, Seen, Step, decide, idle_for, recent_restarts

RULES = Rules(start_timeout_s=60, idle_stop_s=100, max_restarts=2, restart_window_s=300, hang_s=30)
STARTING = Seen(
    at=1000,
    child_alive=True,
    child_started_at=990,
    ready_at=None,
    ever_ready=False,
    answered_at=None,
    last_request_at=None,
    restarts=(),
    stop_asked=False,
)
SERVING = replace(STARTING, ready_at=995, ever_ready=True, answered_at=999)


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        pytest.param(STARTING, Step.WAIT, id="still-starting"),
        pytest.param(replace(STARTING, answered_at=999), Step.SERVE, id="first-answer"),
        pytest.param(replace(STARTING, at=1050), Step.WAIT, id="just-within-the-start-timeout"),
        pytest.param(replace(STARTING, at=1051), Step.FAIL, id="hangs-at-start"),
        pytest.param(replace(STARTING, child_alive=False), Step.FAIL, id="ends-at-the-first-start"),
        pytest.param(replace(STARTING, stop_asked=True), Step.STOP, id="stopped-while-starting"),
        pytest.param(SERVING, Step.WAIT, id="serving"),
        pytest.param(replace(SERVING, child_alive=False), Step.RESTART, id="crash"),
        pytest.param(replace(SERVING, child_alive=False, stop_asked=True), Step.STOP, id="stop-before-restart"),
        pytest.param(replace(SERVING, child_alive=False, restarts=(800, 900)), Step.FAIL, id="too-many-crashes"),
        pytest.param(
            replace(SERVING, child_alive=False, restarts=(600, 900)), Step.RESTART, id="an-old-crash-is-forgotten"
        ),
        pytest.param(replace(SERVING, at=1029), Step.WAIT, id="slow"),
        pytest.param(replace(SERVING, at=1030), Step.RESTART, id="hangs"),
        pytest.param(replace(SERVING, at=1095, answered_at=1094), Step.STOP, id="idle-since-ready"),
        pytest.param(replace(SERVING, at=1095, answered_at=1094, last_request_at=996), Step.WAIT, id="called-once"),
        pytest.param(replace(SERVING, at=1096, answered_at=1094, last_request_at=996), Step.STOP, id="idle-since-call"),
        pytest.param(
            replace(SERVING, at=1094, answered_at=1094, last_request_at=3), Step.WAIT, id="call-of-an-older-run"
        ),
        pytest.param(
            replace(STARTING, ever_ready=True, restarts=(995,), child_alive=False),
            Step.RESTART,
            id="crash-of-a-restart",
        ),
    ],
)
def test_decides(seen, step):
    assert decide(seen, RULES).step is step


def test_no_idle_stop_when_it_is_off():
    forever = replace(SERVING, at=1e9, answered_at=1e9)
    assert decide(forever, replace(RULES, idle_stop_s=0)).step is Step.WAIT
    assert decide(forever, RULES).step is Step.STOP


def test_reasons_are_for_people():
    assert "not ready after 1m" in decide(replace(STARTING, at=1051), RULES).reason
    assert "nobody called it for 1m40s" in decide(replace(SERVING, at=1095, answered_at=1094), RULES).reason
    assert (
        "after 2 restarts within 5m" in decide(replace(SERVING, child_alive=False, restarts=(800, 900)), RULES).reason
    )


def test_a_starting_endpoint_is_not_idle():
    assert idle_for(STARTING) == 0.0


def test_only_restarts_inside_the_window_count():
    assert recent_restarts(replace(SERVING, restarts=(100, 700, 701, 999)), RULES) == 3


@pytest.mark.parametrize(("units", "cores"), [(1, 1), (1, 2), (2, 2), (3, 16)])
def test_a_unit_is_a_core(units, cores):
    check_units(units, cores)


@pytest.mark.parametrize(("units", "cores", "way_out"), [(3, 2, 2), (99, 16, 16), (0, 2, 1)])
def test_units_that_would_be_billed_and_not_served_are_refused(units, cores, way_out):
    with pytest.raises(UsageError, match=f"got {units} units; expected 1 to {cores}") as caught:
        check_units(units, cores)
    assert f"--units {way_out}" in caught.value.hint
