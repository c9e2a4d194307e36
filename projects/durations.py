"""Lengths of time as people write them: `90s`, `30m`, `1h30m`, `off`."""

from __future__ import annotations

import re

from tenshot.projects.errors import UsageError

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST_S = 36_500 * SECONDS["d"]
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_WHOLE = re.compile(rf"(?:{_PART.pattern})(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))*")
OFF = frozenset({"off", "never", "none"})


def parse_duration(text: str, *, off: bool = False) -> float:
    """Seconds, 0 or more. A bare number is seconds; `off`, if allowed, is 0.

    Raises UsageError saying what was got and what was expected.
    """
    word = text.strip().lower().replace(" ", "")
    if off and word in OFF:
        return 0.0
    if not _WHOLE.fullmatch(word) or (word.isascii() is False):
        raise UsageError(
            f"{text!r} is not a length of time; expected for instance 90s, 30m, 2h{' or off' if off else ''}"
        )
    seconds = sum(float(number) * SECONDS[unit or "s"] for number, unit in _PART.findall(word))
    if seconds > LONGEST_S:
        raise UsageError(f"{text!r} is too long a time; expected at most {format_duration(LONGEST_S)}")
    return seconds


def format_duration(seconds: float) -> str:
    """`90` → `1m30s`, `1800` → `30m`, `0.25` → `250ms`; what `parse_duration` reads back, rounded to the second above
    one minute."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    if seconds < 60:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + "s"
    rest, parts = round(seconds), []
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, round(SECONDS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)
