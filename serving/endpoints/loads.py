"""From what the workers write on their boards to the load of a tick."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenshot.serving.endpoints.board import Board, Field
from tenshot.serving.endpoints.scaling import Load

if TYPE_CHECKING:
    from collections.abc import Iterable

SUMS = (Field.IN_FLIGHT_S, Field.WAITED_S, Field.INFERRED, Field.REFUSED, Field.LOOP_S)


class Loads:
    """Remembers the last reading of each board: a load is the difference of two."""

    def __init__(self) -> None:
        self._read_at: float | None = None
        self._before: dict[int, dict[Field, float]] = {}

    def read(self, at: float, boards: Iterable[Board]) -> Load | None:
        """The load since the last call; None if this is the first one. `at` in seconds of any clock."""
        found = list(boards)
        readings = {id(board): {field: board[field] for field in SUMS} for board in found}
        before, self._before = self._before, readings
        last, self._read_at = self._read_at, at
        if last is None or at <= last:
            return None
        sums = dict.fromkeys(SUMS, 0.0)
        for key, reading in readings.items():
            for field in SUMS:
                sums[field] += max(0.0, reading[field] - before.get(key, {}).get(field, reading[field]))
        inferred = sums[Field.INFERRED]
        return Load(
            at=at,
            serving=len(found),
            in_flight=sums[Field.IN_FLIGHT_S] / (at - last),
            queue_s=sums[Field.WAITED_S] / inferred if inferred else 0.0,
            p95_s=max((board[Field.P95_S] for board in found), default=0.0),
            loops=sums[Field.LOOP_S] / (at - last),
            refused=round(sums[Field.REFUSED]),
        )
