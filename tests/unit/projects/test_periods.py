"""Hours, days, weeks and months of time zones: over daylight saving, leap years and the ends of years."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenshot.projects.errors import UsageError
from tenshot.projects.metering.periods import PERIODS, Period, containing, covering, label, written, zone
from tenshot.projects.times import parse_time

BERLIN = "Europe/Berlin"
ZONES = [
    "UTC",
    BERLIN,
    "America/New_York",
    "Asia/Kolkata",  # half an hour off
    "Australia/Lord_Howe",  # clocks are moved by half an hour
    "America/St_Johns",  # where they once were changed a minute after midnight
    "America/Havana",  # at midnight
    "Pacific/Apia",  # where a day was left out
]
EPOCHS = st.floats(0, 2_500_000_000)


def at(text: str, name: str = "UTC") -> float:
    return parse_time(text, zone(name))


@pytest.mark.parametrize(
    ("day", "name", "hours"),
    [
        pytest.param("2026-11-23", "UTC", 24, id="UTC"),
        pytest.param("2026-03-29", BERLIN, 23, id="clocks go forward"),
        pytest.param("2026-10-25", BERLIN, 25, id="clocks go back"),
        pytest.param("2026-10-26", BERLIN, 24, id="the day after"),
        pytest.param("2024-02-29", BERLIN, 24, id="leap day"),
        pytest.param("2018-11-04", "America/Sao_Paulo", 23, id="midnight is left out"),
        pytest.param("2019-02-16", "America/Sao_Paulo", 25, id="the hour before midnight comes twice"),
        pytest.param("2026-11-01", "America/Havana", 25, id="midnight comes twice"),
        pytest.param("2026-10-04", "Australia/Lord_Howe", 23.5, id="half an hour"),
    ],
)
def test_hours_of_a_day(day: str, name: str, hours: float) -> None:
    span = containing(at(f"{day}T12:00", name), "day", zone(name))
    assert (span.end - span.start) / 3600 == hours
    assert label(span, "day", zone(name)) == day
    found = list(covering(span.start, span.end, "hour", zone(name)))
    assert found[0].start == span.start
    assert found[-1].end == span.end
    assert all(hour.end - hour.start == 3600 for hour in found[:-1])


@pytest.mark.parametrize(
    ("moment", "period", "name", "told"),
    [
        pytest.param("2026-11-23T04:15Z", "hour", "UTC", "2026-11-23 04:00", id="hour"),
        pytest.param("2026-10-25T00:30Z", "hour", BERLIN, "2026-10-25 02:00 +02", id="the first of two hours"),
        pytest.param("2026-10-25T01:30Z", "hour", BERLIN, "2026-10-25 02:00 +01", id="the second of two hours"),
        pytest.param("2026-12-31T23:30Z", "day", BERLIN, "2027-01-01", id="the year ends earlier"),
        pytest.param("2026-12-31T23:30Z", "month", "UTC", "2026-12", id="month"),
        pytest.param("2026-12-31T23:30Z", "month", BERLIN, "2027-01", id="month of a zone"),
        pytest.param("2027-01-03T12:00Z", "week", "UTC", "2026-W53", id="week of the old year"),
        pytest.param("2024-02-29T23:59Z", "month", "UTC", "2024-02", id="leap year"),
    ],
)
def test_labels(moment: str, period: Period, name: str, told: str) -> None:
    assert label(containing(at(moment), period, zone(name)), period, zone(name)) == told


@settings(deadline=None)
@given(period=st.sampled_from(PERIODS), name=st.sampled_from(ZONES), moment=EPOCHS)
def test_periods_tile_the_time(period: Period, name: str, moment: float) -> None:
    span = containing(moment, period, zone(name))
    assert span.start <= moment < span.end
    assert containing(span.start, period, zone(name)) == span
    after = containing(span.end, period, zone(name))
    assert after.start == span.end
    assert containing(span.start - 0.001, period, zone(name)).end == span.start


@settings(deadline=None, max_examples=50)
@given(moment=EPOCHS, length=st.floats(0, 1e6), name=st.sampled_from(ZONES), period=st.sampled_from(PERIODS))
def test_covering_is_without_gaps(moment: float, length: float, name: str, period: Period) -> None:
    found = list(covering(moment, moment + length, period, zone(name)))
    assert found[0].start <= moment < found[0].end
    assert found[-1].start < max(moment + length, found[0].end) <= found[-1].end
    assert all(before.end == after.start for before, after in pairwise(found))


def test_utc_days_are_those_of_the_calendar() -> None:
    for year in (2023, 2024, 2100):
        span = containing(datetime(year, 2, 10, tzinfo=UTC).timestamp(), "month", UTC)
        assert (span.end - span.start) / 86400 == (29 if year == 2024 else 28)


def test_written() -> None:
    assert written(at("2026-11-23T04:15"), UTC) == "2026-11-23T04:15:00Z"
    assert written(at("2026-11-23T04:15"), ZoneInfo(BERLIN)) == "2026-11-23T05:15:00+01:00"


def test_unknown_zone() -> None:
    with pytest.raises(UsageError, match="'Europe/Berln'") as caught:
        zone("Europe/Berln")
    assert BERLIN in caught.value.hint
