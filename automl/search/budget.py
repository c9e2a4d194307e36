"""Wall-clock time that a training was given, and what is left of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

LEAST_WALL_S = 2.0
"""A shorter time tells more about waiting for a disk than about the machine."""
MOST_SLOWNESS = 5.0


@dataclass(frozen=True)
class Budget:
    seconds: float
    started: float
    clock: Callable[[], float] = monotonic
    reserve: Callable[[], float] = lambda: 0.0
    """Seconds that are kept for what comes after; asked anew each time, because only time tells how many it takes."""

    @classmethod
    def start(cls, seconds: float, clock: Callable[[], float] = monotonic) -> Budget:
        return cls(seconds, clock(), clock)

    @property
    def spent(self) -> float:
        return self.clock() - self.started

    @property
    def left(self) -> float:
        """Seconds; negative once the budget is overdrawn."""
        return self.seconds - self.reserve() - self.spent

    def until(self, share: float) -> Budget:
        """The same start with a part of the seconds: for a phase that must leave time for the next."""
        return Budget((self.seconds - self.reserve()) * share, self.started, self.clock)


def slowness(wall_s: float, cpu_s: float) -> float:
    """How many times as long work takes here as on a machine of its own, 1…5: this process was at work all the time, so
    what it was not given by the CPU others took."""
    return min(MOST_SLOWNESS, max(1.0, wall_s / max(cpu_s, 1e-9))) if wall_s > LEAST_WALL_S else 1.0
