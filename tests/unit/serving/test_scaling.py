"""The autoscaler under simulated load: time is turned by hand, and workers serve what a queue model says they can."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from tenshot.serving.endpoints.board import Board, Field
from tenshot.serving.endpoints.loads import Loads
from tenshot.serving.endpoints.scaling import Load, Memory, ScaleRules, scale

TICK_S = 0.25
RULES = ScaleRules(least=1, most=4, out_s=1.0, in_s=60.0)


def simulate(clients, seconds, rules=RULES, start_s=4.0, **more):
    """(time, wanted) at each change, of an endpoint called by `clients(t)` callers who ask again at once.

    A worker that was asked for serves `start_s` later. As many requests are in flight as there are callers.
    """
    memory, changes = Memory(rules.least), [(0.0, rules.least)]
    ready = [0.0] * rules.least
    for step in range(int(seconds / TICK_S)):
        at = step * TICK_S
        load = Load(at, sum(1 for since in ready if since <= at), 0.95 * clients(at), **more)
        memory = scale(load, memory, rules)
        ready = ready[: memory.wanted] + [at + start_s] * (memory.wanted - len(ready))
        if memory.wanted != changes[-1][1]:
            changes.append((at, memory.wanted))
    return changes


def test_one_caller_is_one_unit():
    assert simulate(lambda t: 1, 600) == [(0, 1)]


@pytest.mark.parametrize(("callers", "units"), [(2, 2), (3, 3), (4, 3), (64, 4)])
def test_a_burst_is_met_at_once_and_with_as_many_as_it_needs(callers, units):
    changes = simulate(lambda t: callers, 30)
    assert changes[-1][1] == units
    assert changes[1][0] <= 3
    assert changes[-1][0] <= 8
    assert len(changes) == 2 or callers < 5, "not one after the other"


def test_a_burst_of_less_than_a_second_changes_nothing():
    assert simulate(lambda t: 20 if 5 < t < 5.5 else 1, 60) == [(0, 1)]


def test_in_slowly_and_one_by_one():
    changes = simulate(lambda t: 64 if t < 20 else 0.2, 400)
    assert [wanted for _, wanted in changes] == [1, 4, 3, 2, 1]
    times = [at for at, _ in changes[2:]]
    assert times[0] - 20 >= 60
    assert all(later - earlier >= 60 for earlier, later in pairwise(times))


def test_a_ramp_goes_up_and_down_once():
    wanted = [units for _, units in simulate(lambda t: 6 * math.sin(math.pi * t / 1200) ** 2, 1200)]
    assert wanted == [*sorted(wanted[: wanted.index(4) + 1]), *sorted(wanted[wanted.index(4) + 1 :], reverse=True)]
    assert wanted[-1] < 4


@pytest.mark.parametrize("period_s", [4, 20, 60, 110])
def test_a_sawtooth_does_not_flap(period_s):
    changes = simulate(lambda t: 8 * (t % period_s) / period_s, 1800)
    assert len(changes) <= 5
    assert all(later >= earlier for (_, earlier), (_, later) in pairwise(changes)), "only out"


def test_a_load_that_comes_and_goes_is_answered_more_and_more_patiently():
    """Every three minutes two minutes of nothing: each removal that proved too early makes the next one wait longer."""
    changes = simulate(lambda t: 8 if t % 180 < 60 else 0, 7200)
    removals = [at for (_, before), (at, after) in pairwise(changes) if after < before]
    assert len([at for at in removals if at < 1800]) > 0
    assert [at for at in removals if at > 3600] == []


def test_steady_load_does_not_oscillate():
    for callers in (1, 1.3, 1.5, 2, 2.5, 3, 3.5, 4, 5):
        changes = simulate(lambda t, callers=callers: callers, 3600)
        assert all(later > earlier for (_, earlier), (_, later) in pairwise(changes)), callers


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"refused": 1}, id="refused"),
        pytest.param({"queue_s": 0.2}, id="queue"),
        pytest.param({"p95_s": 0.6}, id="slow"),
        pytest.param({"loops": 0.9}, id="small-requests-at-a-high-rate"),
    ],
)
def test_other_signs_of_too_much(more):
    rules = ScaleRules(1, 2, target_p95_s=0.5)
    assert [wanted for _, wanted in simulate(lambda t: 1, 30, rules, **more)] == [1, 2]


def test_a_thread_that_would_be_full_alone_keeps_the_other_one():
    rules, memory = ScaleRules(1, 2), Memory(2)
    for step in range(1200):
        memory = scale(Load(step * TICK_S, 2, 0.5, loops=0.7), memory, rules)
    assert memory.wanted == 2
    for step in range(1200, 2400):
        memory = scale(Load(step * TICK_S, 2, 0.5, loops=0.4), memory, rules)
    assert memory.wanted == 1


def test_slow_answers_are_no_reason_without_a_target_or_without_requests():
    assert simulate(lambda t: 1, 30, p95_s=9.0) == [(0, 1)]
    assert simulate(lambda t: 0, 30, ScaleRules(1, 2, target_p95_s=0.5), p95_s=9.0) == [(0, 1)]


def test_never_beyond_its_bounds():
    for rules in (ScaleRules(2, 2), ScaleRules(2, 3)):
        wanted = [units for _, units in simulate(lambda t: 99 if t % 300 < 100 else 0, 1200, rules)]
        assert min(wanted) == rules.least
        assert max(wanted) == rules.most


def test_load_is_the_difference_of_two_readings():
    boards, loads = [Board.make(), Board.make()], Loads()
    try:
        boards[0][Field.IN_FLIGHT_S] = 100.0
        assert loads.read(10.0, boards) is None
        boards[0].add(Field.IN_FLIGHT_S, 3.0)
        boards[1].add(Field.IN_FLIGHT_S, 1.0)
        boards[1].add(Field.WAITED_S, 0.4)
        boards[1].add(Field.INFERRED, 2)
        boards[1].add(Field.REFUSED, 5)
        boards[1].add(Field.LOOP_S, 1.5)
        boards[0][Field.P95_S], boards[1][Field.P95_S] = 0.1, 0.3
        assert loads.read(12.0, boards) == Load(12.0, 2, in_flight=2.0, queue_s=0.2, p95_s=0.3, loops=0.75, refused=5)
        assert loads.read(13.0, boards[:1]) == Load(13.0, 1, in_flight=0.0, p95_s=0.1)
    finally:
        for board in boards:
            board.close()


def test_a_new_worker_adds_nothing_of_before():
    old, new, loads = Board.make(), Board.make(), Loads()
    try:
        loads.read(1.0, [old])
        new[Field.REFUSED] = 7
        assert loads.read(2.0, [old, new]).refused == 0
    finally:
        old.close()
        new.close()
