"""Points in time as people write them: `2026-11-23`, `2026-11-23T04:15`, `2026-11-23T04:15:00+01:00`."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from tenshot.projects.errors import UsageError

FIRST_YEAR, LAST_YEAR = 1970, 9000
"""Within these no time zone and no end of a period leaves what `datetime` can hold."""


def parse_time(text: str, zone: tzinfo = UTC) -> float:
    """Seconds since the epoch; in `zone` unless an offset is written. Raises UsageError."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(
            f"{text!r} is not a date or time", hint="write for instance 2026-11-23 or 2026-11-23T04:15"
        ) from None
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise UsageError(f"got {text!r}; expected a year from {FIRST_YEAR} to {LAST_YEAR}")
    return (found if found.tzinfo else found.replace(tzinfo=zone)).timestamp()
