"""When an endpoint is in service: `mon-fri 08:00-18:00, sat 10:00-14:00 Europe/Berlin`. Parses and decides; pure.

Hours are those of a clock on the wall in that time zone (UTC if none is named), summer time and all: a span that begins
in the hour that the clocks skip begins when they have skipped it; one that ends in the hour that they repeat ends the
second time. A span may reach over midnight (`fri 22:00-06:00`); it belongs to the day on which it begins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from tenshot.projects.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WORDS = {"daily": "mon-sun", "weekdays": "mon-fri", "weekends": "sat-sun"}
EXAMPLE = 'expected for instance "mon-fri 08:00-18:00" or "daily 22:00-06:00, sat 10:00-14:00 Europe/Berlin"'
_SPAN = re.compile(r"(?P<days>[a-z]+(?:-[a-z]+)?)\s+(?P<start>\d{1,2}:\d\d)\s*-\s*(?P<end>\d{1,2}:\d\d)")
_DAY_MIN = 24 * 60
_LOOK_DAYS = 9
"""Around now: any weekly schedule changes within it, or never."""


@dataclass(frozen=True, slots=True)
class Span:
    """On each of `days` (0 is Monday) from minute `start` up to minute `end`, of the next day if that is not later."""

    days: frozenset[int]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Schedule:
    spans: tuple[Span, ...]
    zone: str

    def open_until(self, at: float) -> tuple[bool, float | None]:
        """Whether it is in service at that time (seconds since the epoch), and when that changes; None: never."""
        for start, end in self.intervals(at):
            if at < start:
                return False, start
            if at < end:
                return True, None if end > at + (_LOOK_DAYS - 2) * 86400 else end
        return False, None  # not with a span in it

    def intervals(self, at: float) -> list[tuple[float, float]]:
        """Around that time, in order, those that touch made one."""
        zone = ZoneInfo(self.zone)
        today = datetime.fromtimestamp(at, zone).date()
        merged: list[tuple[float, float]] = []
        for start, end in sorted(self._all(today, zone)):
            if merged and start <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            elif start < end:
                merged.append((start, end))
        return merged

    def _all(self, today: date, zone: ZoneInfo) -> Iterator[tuple[float, float]]:
        for offset in range(-2, _LOOK_DAYS):
            day = today + timedelta(days=offset)
            for span in self.spans:
                if day.weekday() in span.days:
                    last = day + timedelta(days=1) if span.end <= span.start else day
                    yield _moment(day, span.start, zone, fold=0), _moment(last, span.end, zone, fold=1)


@lru_cache(16)
def parse(text: str) -> Schedule:
    """Raises UsageError saying what was got and what was expected."""
    words, zone = _zone(" ".join(text.split()))
    spans = tuple(_span(part.strip(), text) for part in words.lower().split(","))
    return Schedule(spans, zone)


def back_at(schedule: Schedule, at: float) -> str:
    """`Mon 23 Nov 08:00 Europe/Berlin`: when an endpoint that is out of service now is back; `never` if it is not."""
    _, change = schedule.open_until(at)
    if change is None:
        return "never"
    local = datetime.fromtimestamp(change, ZoneInfo(schedule.zone))
    return f"{local:%a} {local.day} {local:%b %H:%M} {schedule.zone}"


def hours_a_week(schedule: Schedule, at: float) -> float:
    """For how many of the 168 hours from that time on it is in service."""
    until = at + 7 * 86400
    return sum(max(0.0, min(end, until) - max(start, at)) for start, end in schedule.intervals(at)) / 3600


def _zone(text: str) -> tuple[str, str]:
    """The spans, and the name of the zone behind them."""
    words, _, last = text.rpartition(" ")
    if not words or not last[:1].isalpha() or last.lower() in DAYS:
        return text, "UTC"
    try:
        ZoneInfo(last)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise UsageError(
            f"{last!r} is not a time zone that this machine knows",
            hint="name one as Europe/Berlin, or leave it out for UTC",
        ) from None
    return words, last


def _span(part: str, whole: str) -> Span:
    found = _SPAN.fullmatch(part)
    if not found:
        raise UsageError(f"{whole!r} is not a schedule: {part!r} is no days and hours", hint=EXAMPLE)
    start, end = _minute(found["start"], whole), _minute(found["end"], whole)
    if start in (_DAY_MIN, end):
        raise UsageError(
            f"{whole!r} is not a schedule: {part!r} has no length", hint=f"{EXAMPLE}; a whole day is 00:00-24:00"
        )
    return Span(_days(found["days"], whole), start, end)


def _days(word: str, whole: str) -> frozenset[int]:
    first, _, last = WORDS.get(word, word).partition("-")
    if first not in DAYS or (last or first) not in DAYS:
        raise UsageError(
            f"{whole!r} is not a schedule: {word!r} is no day", hint=f"days are {', '.join(DAYS)}; {EXAMPLE}"
        )
    begin, end = DAYS.index(first), DAYS.index(last or first)
    return frozenset((begin + i) % 7 for i in range((end - begin) % 7 + 1))


def _minute(word: str, whole: str) -> int:
    hours, minutes = (int(number) for number in word.split(":"))
    if minutes > 59 or hours * 60 + minutes > _DAY_MIN:
        raise UsageError(f"{whole!r} is not a schedule: {word!r} is no time of day", hint=EXAMPLE)
    return hours * 60 + minutes


def _moment(day: date, minute: int, zone: ZoneInfo, *, fold: int) -> float:
    """Seconds since the epoch of that minute on a wall clock; `fold` 1 takes the later one where there are two.

    A time that the clocks skip is taken as the moment at which they skip it.
    """
    day, minute = day + timedelta(days=minute // _DAY_MIN), minute % _DAY_MIN
    local = datetime.combine(day, time(minute // 60, minute % 60, fold=fold), zone)
    there_and_back = local.astimezone(UTC).astimezone(zone)
    if there_and_back.replace(tzinfo=None) == local.replace(tzinfo=None):
        return local.timestamp()
    return _skipped(local)


def _skipped(local: datetime) -> float:
    """The moment at which the clocks jump over this time: the offset before it and the one behind it meet there."""
    before, behind = (local.replace(fold=fold).utcoffset() or timedelta() for fold in (0, 1))
    jump_s = abs((behind - before).total_seconds())
    low = local.replace(tzinfo=UTC).timestamp() - max(before, behind).total_seconds() - jump_s
    zone, high = local.tzinfo, low + 3 * jump_s
    while high - low > 0.5:
        middle = (low + high) / 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return float(round(high))
