"""Time as a parameter: everything that decides by time takes a `Clock`, so that tests can turn the hands."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]
"""Seconds since the epoch, UTC. All times in records are of this kind."""

now: Clock = time.time


def iso(at_s: float | None) -> str | None:
    """`2026-11-23T04:15:00Z`; None stays None."""
    if at_s is None:
        return None
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
