"""Wall-clock time that a training was given, and what is left of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic


@dataclass(frozen=True)
class Budget:
    seconds: float
    started: float
    clock: Callable[[], float] = monotonic

    @classmethod
    def start(cls, seconds: float, clock: Callable[[], float] = monotonic) -> Budget:
        return cls(seconds, clock(), clock)

    @property
    def spent(self) -> float:
        return self.clock() - self.started

    @property
    def left(self) -> float:
        """Seconds; negative once the budget is overdrawn."""
        return self.seconds - self.spent

    def until(self, share: float) -> Budget:
        """The same start with a part of the seconds: for a phase that must leave time for the next."""
        return Budget(self.seconds * share, self.started, self.clock)
