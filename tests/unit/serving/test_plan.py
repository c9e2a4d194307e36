"""How an endpoint is to run, through a command line and back."""

from dataclasses import replace

import pytest

from tenshot.projects.records import Endpoint
from tenshot.serving.endpoints.plan import Plan, parse

FULL = Plan(
    units=2,
    max_units=4,
    port=3000,
    idle_stop_s=12.5,
    schedule="mon-fri 08:00-18:00 Europe/Berlin",
    wake_on_request=True,
    restarts=3,
)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(Plan(1, 1), id="bare"),
        pytest.param(FULL, id="full"),
        pytest.param(replace(FULL, idle_stop_s=0.0, schedule="", wake_on_request=False), id="never-idle"),
    ],
)
def test_nothing_is_lost_on_the_command_line(plan):
    assert parse(["p@1", *plan.words()]) == ("p@1", plan)


def test_what_a_keeper_adds():
    _, plan = parse(["p@1", *FULL.words(), "--kept", "--fd=7", "--deaths=2"])
    assert plan == replace(FULL, kept=True, fd=7, deaths=2)


def test_the_most_units_are_the_least_if_nothing_is_said():
    assert parse(["p@1", "--units", "3"])[1].max_units == 3


def test_started_again_as_it_was():
    endpoint = Endpoint(
        version_id=1,
        ref="p@1",
        host="127.0.0.1",
        port=3000,
        units=2,
        max_units=4,
        idle_stop_s=12.5,
        schedule="mon-fri 08:00-18:00 Europe/Berlin",
        wake_on_request=True,
        supervisor_pid=1,
        supervisor_started_at=1.0,
        started_at=1.0,
        ready_at=None,
        beat_at=1.0,
        last_request_at=None,
        restarts=2,
        stop_requested=False,
        meter_id=None,
    )
    assert Plan.again(endpoint) == FULL
    assert Plan.again(replace(endpoint, max_units=None)).max_units == 2
