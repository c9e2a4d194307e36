"""Hours, days, weeks and months of a time zone, as spans of seconds since the epoch. Pure functions.

A day begins at local midnight, so it has 23 or 25 hours where the clocks are changed. The hours of a day are counted
from its beginning, 3600 s each; in a zone that is moved by half an hour the last hour of such a day is half an hour.
Midnight that the clocks skip is the moment of the skip; midnight that comes twice is the first one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from tenshot.projects.errors import UsageError, did_you_mean

HOUR_S = 3600
Period = Literal["hour", "day", "week", "month"]
PERIODS: tuple[Period, ...] = ("hour", "day", "week", "month")


class Span(NamedTuple):
    """[start, end), seconds since the epoch."""

    start: float
    end: float


def zone(name: str | None) -> tzinfo:
    """The zone of this name in the IANA database (`Europe/Berlin`); UTC for None. Raises UsageError."""
    if name is None or name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder of zones
        raise UsageError(
            f"unknown time zone {name!r}; expected a name as in the IANA database",
            hint=did_you_mean(name, available_timezones()) or "for instance Europe/Berlin",
        ) from None


def containing(at: float, period: Period, tz: tzinfo) -> Span:
    """The one that holds the moment `at`."""
    day = _day_of(at, tz)
    if period == "hour":
        begin, end = _midnight(day, tz), _midnight(day + timedelta(1), tz)
        start = begin + (at - begin) // HOUR_S * HOUR_S
        return Span(start, min(start + HOUR_S, end))
    first, after = _first_and_after(day, period)
    return Span(_midnight(first, tz), _midnight(after, tz))


def covering(start: float, end: float, period: Period, tz: tzinfo) -> Iterator[Span]:
    """All that meet [start, end), in order; the one that holds `start` if that is a moment without length."""
    span = containing(start, period, tz)
    yield span
    while span.end < end:
        span = containing(span.end, period, tz)
        yield span


def label(span: Span, period: Period, tz: tzinfo) -> str:
    """`2026-11-23 04:00` (with its offset unless it is UTC), `2026-11-23`, `2026-W48`, `2026-11`."""
    local = datetime.fromtimestamp(span.start, tz)
    if period == "hour":
        return local.strftime("%Y-%m-%d %H:%M") + ("" if tz is UTC else f" {local:%z}"[:4])
    day = _day_of(span.start, tz)
    if period == "week":
        year, week, _ = day.isocalendar()
        return f"{year}-W{week:02}"
    return day.isoformat()[:7] if period == "month" else day.isoformat()


def written(at: float, tz: tzinfo) -> str:
    """`2026-11-23T04:15:00+01:00`; `Z` for UTC."""
    return (
        datetime.fromtimestamp(at, tz).isoformat(timespec="seconds").replace("+00:00", "Z" if tz is UTC else "+00:00")
    )


def _day_of(at: float, tz: tzinfo) -> date:
    """The day whose span holds `at`. Where clocks go back over midnight the calendar says otherwise for a while."""
    day = datetime.fromtimestamp(at, tz).date()
    while at < _midnight(day, tz):
        day -= timedelta(1)
    while at >= _midnight(day + timedelta(1), tz):
        day += timedelta(1)
    return day


def _midnight(day: date, tz: tzinfo) -> float:
    return datetime.combine(day, time(), tz).timestamp()


def _first_and_after(day: date, period: Period) -> tuple[date, date]:
    """First day of the period that holds `day`, and the first one after it."""
    if period == "day":
        return day, day + timedelta(1)
    if period == "week":
        first = day - timedelta(day.weekday())
        return first, first + timedelta(7)
    first = day.replace(day=1)
    return first, (first + timedelta(31)).replace(day=1)
