"""What the endpoint's processes take, seen from outside: the supervisor and all below it."""

from __future__ import annotations

from contextlib import suppress

import psutil

Life = tuple[int, float]
"""pid and start, since pids are used again."""


class Watch:
    """CPU seconds of a process and its descendants from now on. Look often enough to see every child before it ends."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._first: dict[Life, float] = {}
        self._last: dict[Life, float] = {}
        self._first = self._seen()
        self._last = dict(self._first)

    def look(self) -> None:
        self._last |= self._seen()

    @property
    def cpu_s(self) -> float:
        """As of the last look; of a child that came later, everything."""
        return sum(spent - self._first.get(life, 0.0) for life, spent in self._last.items())

    def _seen(self) -> dict[Life, float]:
        found = {}
        for process in family(self._root):
            with suppress(psutil.Error):
                times = process.cpu_times()
                found[process.pid, process.create_time()] = times.user + times.system
        return found


def family(root: int) -> list[psutil.Process]:
    """A process and its descendants; none if it has ended."""
    try:
        first = psutil.Process(root)
        return [first, *first.children(recursive=True)]
    except psutil.Error:
        return []


def memory_bytes(root: int) -> int:
    """Of a process and its descendants, pages that several share counted once (PSS; off Linux what is theirs alone)."""
    total = 0
    for process in family(root):
        with suppress(psutil.Error):
            info = process.memory_full_info()
            total += getattr(info, "pss", info.uss)
    return total
