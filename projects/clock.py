"""Time as a parameter: everything that decides by time takes a `Clock`, so that tests can turn the hands."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]
"""Seconds since the epoch, UTC. All times in records are of this kind."""

now: Clock = time.time


class SteadyClock:
    """The wall's time when it was made, and from then on what the monotonic clock counts.

    Setting the machine's clock does not move it, and it stands still while the machine sleeps.
    """

    def __init__(self, wall: Clock = now, steady: Clock = time.monotonic) -> None:
        self._wall, self._steady = wall, steady
        self._offset_s = wall() - steady()

    def __call__(self) -> float:
        return self._steady() + self._offset_s

    def drift_s(self) -> float:
        """How far the wall's time has moved ahead of this clock; negative: it was set back."""
        return self._wall() - self()


def iso(at_s: float | None) -> str | None:
    """`2026-11-23T04:15:00Z`; None stays None."""
    if at_s is None:
        return None
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
