"""Hours of service: what is read, and when it is open, over midnight and over the two nights on which clocks change."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tenshot.projects.errors import UsageError
from tenshot.serving.endpoints.schedule import back_at, hours_a_week, parse

BERLIN = ZoneInfo("Europe/Berlin")


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def berlin(text, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("text", "zone", "spans"),
    [
        pytest.param("mon-fri 08:00-18:00", "UTC", [((0, 1, 2, 3, 4), 480, 1080)], id="days"),
        pytest.param("MON 8:00-9:30", "UTC", [((0,), 480, 570)], id="capitals"),
        pytest.param("fri-mon 08:00-18:00", "UTC", [((0, 4, 5, 6), 480, 1080)], id="over-the-weekend"),
        pytest.param("daily 00:00-24:00", "UTC", [(range(7), 0, 1440)], id="always"),
        pytest.param("weekends 22:00-06:00 Europe/Berlin", "Europe/Berlin", [((5, 6), 1320, 360)], id="zone"),
        pytest.param(
            " mon-thu  08:00 - 18:00 , fri 08:00-14:00  America/New_York ",
            "America/New_York",
            [((0, 1, 2, 3), 480, 1080), ((4,), 480, 840)],
            id="two-spans",
        ),
    ],
)
def test_reads(text, zone, spans):
    schedule = parse(text)
    assert schedule.zone == zone
    assert [(span.days, span.start, span.end) for span in schedule.spans] == [(frozenset(d), s, e) for d, s, e in spans]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mon-fri",
        "08:00-18:00",
        "mon-fri 8-18",
        "mon-fri 08:00-18:60",
        "mon-fri 08:00-24:01",
        "mon-fri 25:00-26:00",
        "mon-fri 24:00-08:00",
        "mon-fri 08:00-08:00",
        "someday 08:00-18:00",
        "mon-someday 08:00-18:00",
        "mon-fri 08:00-18:00,",
        "mon-fri 08:00-18:00 Europe/Nowhere",
        "mon-fri 08:00-18:00 ../../etc/passwd",
        "mon-fri 08:00-18:00; sat 10:00-12:00",
    ],
)
def test_refuses_with_a_way_out(text):
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("at", "is_open", "until"),
    [
        pytest.param("2026-11-23T07:59:59", False, "2026-11-23T08:00", id="monday-before"),
        pytest.param("2026-11-23T08:00", True, "2026-11-23T18:00", id="monday-on-the-minute"),
        pytest.param("2026-11-23T17:59:59", True, "2026-11-23T18:00", id="monday-last-second"),
        pytest.param("2026-11-23T18:00", False, "2026-11-24T08:00", id="monday-after"),
        pytest.param("2026-11-27T18:00", False, "2026-11-30T08:00", id="friday-evening"),
    ],
)
def test_office_hours(at, is_open, until):
    assert parse("mon-fri 08:00-18:00").open_until(utc(at)) == (is_open, utc(until))


def test_over_midnight():
    night = parse("fri 22:00-06:00")
    assert night.open_until(utc("2026-11-27T21:00")) == (False, utc("2026-11-27T22:00"))
    assert night.open_until(utc("2026-11-28T05:59")) == (True, utc("2026-11-28T06:00"))
    assert night.open_until(utc("2026-11-29T05:00")) == (False, utc("2026-12-04T22:00"))


def test_spans_that_touch_are_one():
    assert parse("mon 08:00-12:00, mon 12:00-24:00, tue 00:00-06:00").open_until(utc("2026-11-23T09:00")) == (
        True,
        utc("2026-11-24T06:00"),
    )


def test_always_open_never_changes():
    assert parse("daily 00:00-24:00 Europe/Berlin").open_until(utc("2026-11-23T09:00")) == (True, None)


@pytest.mark.parametrize(
    ("day", "hours", "opens", "closes", "length_h"),
    [
        # On 29 March 2026 Berlin's clocks go from 2 to 3; on 25 October they go from 3 back to 2.
        pytest.param(
            "2026-03-29", "01:00-05:00", berlin("2026-03-29T01:00"), berlin("2026-03-29T05:00"), 3, id="shorter"
        ),
        pytest.param("2026-03-29", "02:30-05:00", utc("2026-03-29T01:00"), berlin("2026-03-29T05:00"), 2, id="skipped"),
        pytest.param(
            "2026-03-29", "01:00-02:30", berlin("2026-03-29T01:00"), utc("2026-03-29T01:00"), 1, id="to-skipped"
        ),
        pytest.param(
            "2026-10-25", "01:00-05:00", berlin("2026-10-25T01:00"), berlin("2026-10-25T05:00"), 5, id="longer"
        ),
        pytest.param(
            "2026-10-25", "02:30-05:00", berlin("2026-10-25T02:30"), berlin("2026-10-25T05:00"), 3.5, id="first"
        ),
        pytest.param(
            "2026-10-25", "01:00-02:30", berlin("2026-10-25T01:00"), berlin("2026-10-25T02:30", 1), 2.5, id="second"
        ),
    ],
)
def test_summer_time(day, hours, opens, closes, length_h):
    schedule = parse(f"daily {hours} Europe/Berlin")
    before = berlin(f"{day}T00:30")
    assert schedule.open_until(before) == (False, opens)
    assert schedule.open_until(opens) == (True, closes)
    assert closes - opens == length_h * 3600


def test_local_noon_stays_noon_all_year():
    schedule = parse("daily 12:00-13:00 America/New_York")
    for month in range(1, 13):
        at = datetime(2026, month, 15, 6, tzinfo=UTC).timestamp()
        _, opens = schedule.open_until(at)
        assert datetime.fromtimestamp(opens, ZoneInfo("America/New_York")).hour == 12


def test_says_when_it_is_back():
    schedule = parse("mon-fri 08:00-18:00 Europe/Berlin")
    assert back_at(schedule, utc("2026-11-28T12:00")) == "Mon 30 Nov 08:00 Europe/Berlin"


def test_hours_a_week():
    at = utc("2026-11-25T12:00")
    assert hours_a_week(parse("mon-fri 08:00-18:00"), at) == pytest.approx(50)
    assert hours_a_week(parse("daily 00:00-24:00"), at) == 168
