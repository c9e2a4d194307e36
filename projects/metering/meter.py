"""A meter that runs: opened, beaten and closed by the process that does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenshot.projects.clock import SteadyClock

if TYPE_CHECKING:
    from tenshot.projects.clock import Clock
    from tenshot.projects.store import Store

JUMP_S = 5.0
"""A wall clock that is so far from the meter's was set, or the machine slept."""


class Meter:
    """Counts `multiplier` units a second from its making to `close`, or to the last `beat` of a process that died.

    It goes by a clock of its own that does not jump, so that setting the machine's clock, or letting the machine sleep,
    is not billed. Whoever runs for long opens a new one once `jumped`, so that later use lies in the right hour.
    """

    def __init__(
        self,
        store: Store,
        meter_id: str,
        *,
        unit: str,
        project: str,
        version: int | None,
        operation: str,
        multiplier: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        self.id = meter_id
        self._store = store
        self._clock = SteadyClock() if clock is None else clock
        self.opened_at = self._clock()
        """Seconds since the epoch."""
        store.open_meter(
            meter_id,
            unit=unit,
            project=project,
            version=version,
            operation=operation,
            multiplier=multiplier,
            at=self.opened_at,
        )

    def beat(self) -> None:
        self._store.beat_meter(self.id, at=self._clock())

    def close(self, *, billed: bool = True) -> None:
        """Idempotent: the first time counts."""
        self._store.close_meter(self.id, at=self._clock(), billed=billed)

    @property
    def jumped(self) -> bool:
        """Whether the machine's clock went its own way meanwhile."""
        return isinstance(self._clock, SteadyClock) and abs(self._clock.drift_s()) > JUMP_S
