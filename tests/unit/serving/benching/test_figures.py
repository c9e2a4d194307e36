"""Percentiles, the knee and the recommendation."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tenshot.serving.benching.figures import Stage, knee, percentile, recommend, stage
from tenshot.serving.benching.load import NO_ANSWER, Samples

STAGE = Stage(1, 10.0, 300, {}, 30.0, 30.0, 35.0, 40.0, 1, 1.2, 300_000_000, 0.02)


def curve(*points, units=1) -> list[Stage]:
    return [replace(STAGE, clients=clients, per_second=rate, units=units) for clients, rate in points]


@pytest.mark.parametrize(
    ("ordered", "share", "expected"),
    [
        pytest.param([7.0], 0.99, 7.0, id="one sample"),
        pytest.param([1.0, 2.0], 0.50, 1.0, id="half of two is the first"),
        pytest.param([1.0, 2.0, 3.0], 0.50, 2.0, id="median"),
        pytest.param([float(i) for i in range(1, 101)], 0.95, 95.0, id="95 of 100"),
        pytest.param([float(i) for i in range(1, 101)], 0.99, 99.0, id="99 of 100"),
        pytest.param([float(i) for i in range(1, 21)], 0.99, 20.0, id="few samples give the worst"),
        pytest.param([1.0, 2.0], 0.0, 1.0, id="none is the least"),
        pytest.param([1.0, 2.0], 1.0, 2.0, id="all is the worst"),
    ],
)
def test_percentile_is_a_sample(ordered, share, expected) -> None:
    assert percentile(ordered, share) == expected


def test_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError):
        percentile([], 0.5)


@pytest.mark.parametrize(
    ("stages", "clients"),
    [
        pytest.param(curve((1, 31), (2, 40), (4, 41.5), (8, 41)), 2, id="where it flattens"),
        pytest.param(curve((1, 10), (2, 20), (4, 40)), 4, id="still rising: the last"),
        pytest.param(curve((4, 40), (1, 40)), 1, id="the fewest, in any order"),
        pytest.param(curve((1, 40), (8, 12)), 1, id="falls under load"),
        pytest.param([*curve((1, 30)), *curve((2, 55), units=2)], 1, id="a second unit is not a better unit"),
        pytest.param(curve((1, 0), (2, 0)), None, id="nothing answered"),
        pytest.param([], None, id="nothing measured"),
    ],
)
def test_knee(stages, clients) -> None:
    found = knee(stages)
    assert (found and found.clients) == clients


@pytest.mark.parametrize(
    ("rate", "at", "cores", "units", "enough", "machines"),
    [
        pytest.param(10, replace(STAGE, per_second=40.0), 2, 1, True, 1, id="one is plenty"),
        pytest.param(50, replace(STAGE, per_second=40.0), 2, 2, True, 1, id="two fit two cores"),
        pytest.param(50, replace(STAGE, per_second=40.0, cores=1.9), 2, 2, False, 2, id="decoding needs cores as well"),
        pytest.param(200, replace(STAGE, per_second=40.0), 4, 7, False, 2, id="too many for the machine"),
        pytest.param(52, replace(STAGE, per_second=80.0, units=2, cores=2.0), 4, 2, True, 1, id="of two units"),
        pytest.param(40, replace(STAGE, per_second=52.0, cores=1.0), 1, 1, True, 1, id="exactly one: no rounding up"),
        pytest.param(40, replace(STAGE, per_second=40.0, cores=None), 1, 2, False, 2, id="cores unknown: one a unit"),
    ],
)
def test_recommendation(rate, at, cores, units, enough, machines) -> None:
    found = recommend(rate, at, cores)
    assert (found.units, found.enough, found.machines) == (units, enough, machines)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_no_recommendation_for_no_rate(rate) -> None:
    with pytest.raises(ValueError):
        recommend(rate, STAGE, 2)


def test_stage_counts_what_failed_and_measures_what_did_not() -> None:
    samples = Samples(
        {200: [0.010, 0.030, 0.020, 0.040], 400: [0.001], 503: [0.001] * 2, NO_ANSWER: [9.0]},
        seconds=2.0,
        client_cpu_s=0.1,
        errors={"refused": 1},
    )
    found = stage(4, samples, units=2, cpu_s=3.0, memory_bytes=5)
    assert found.failed == {"HTTP 400": 1, "HTTP 503": 2, "refused": 1}
    assert (found.failures, found.requests, found.per_second) == (4, 8, 2.0)
    assert (found.p50_ms, found.p95_ms, found.p99_ms) == (20.0, 40.0, 40.0)
    assert (found.cores, found.client_cores) == (1.5, 0.05)


def test_stage_of_nothing() -> None:
    found = stage(1, Samples({}, 0.0, 0.0, complete=False), units=1, cpu_s=0.0, memory_bytes=None)
    assert (found.per_second, found.p50_ms, found.cores, found.complete) == (0.0, None, 0.0, False)
