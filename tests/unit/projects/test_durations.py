import pytest

from tenshot.projects.durations import format_duration, parse_duration
from tenshot.projects.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("90s", 90.0, id="seconds"),
        pytest.param("30m", 1800.0, id="minutes"),
        pytest.param("2h", 7200.0, id="hours"),
        pytest.param("1d", 86400.0, id="days"),
        pytest.param("250ms", 0.25, id="milliseconds"),
        pytest.param("1h30m", 5400.0, id="two-parts"),
        pytest.param("1.5h", 5400.0, id="fraction"),
        pytest.param("45", 45.0, id="bare-number"),
        pytest.param(" 5 M ", 300.0, id="spaces-and-capitals"),
        pytest.param("0", 0.0, id="zero"),
    ],
)
def test_reads_a_duration(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "soon", "-5s", "5x", "1m2", "s", "1h-3m", "nan", "inf", "٣s", "1e3", "5 minutes later"]
)
def test_refuses_what_is_no_duration(text):
    with pytest.raises(UsageError, match="expected for instance"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["36501d", "9" * 400, "9" * 400 + "d"])
def test_refuses_what_nobody_lives_to_see(text):
    with pytest.raises(UsageError, match="at most 36500d"):
        parse_duration(text)


def test_off_only_where_it_is_allowed():
    assert parse_duration("off", off=True) == 0.0
    with pytest.raises(UsageError):
        parse_duration("off")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "250ms"), (1.5, "1.5s"), (40, "40s"), (90, "1m30s"), (1800, "30m"), (5400, "1h30m"), (90000, "1d1h")],
)
def test_writes_a_duration_that_reads_back(seconds, text):
    assert format_duration(seconds) == text
    assert parse_duration(text) == pytest.approx(seconds)
