"""Processes by host, pid and start time, so that a reused pid is never taken for the process that had it before."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SAME_START_S = 0.05


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class ProcessId:
    """Printed and parsed as `host:pid:start`."""

    host: str
    pid: int
    start: float
    """When it started; see `_start_of`."""

    @classmethod
    def own(cls) -> ProcessId:
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """A process of this host that runs now. Raises ProcessLookupError."""
        import psutil

        try:
            return cls(socket.gethostname(), pid, _start_of(pid))
        except psutil.Error:
            raise ProcessLookupError(pid) from None

    @classmethod
    def parse(cls, text: str) -> ProcessId | None:
        """None for what is not of this form."""
        parts = text.rsplit(":", 2)
        try:
            host, pid, start = parts
            return cls(host, int(pid), float(start))
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}:{self.start:.2f}"

    def send(self, number: signal.Signals) -> None:
        """Send a signal to that process, and to no other that got its pid."""
        if self.alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def alive(self) -> bool | None:
        """Whether it still runs; None if that cannot be told from this host. A zombie has ended."""
        import psutil

        if self.host != socket.gethostname():
            return None
        try:
            same = abs(_start_of(self.pid) - self.start) < SAME_START_S
            return bool(same and psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


def _start_of(pid: int) -> float:
    """When a process started, in seconds: on Linux since the boot, elsewhere since the epoch. Raises psutil.Error.

    Since the boot, because a start time in epoch seconds is reckoned from the clock of now: once somebody sets the
    clock, every process would look like another one that has its pid.
    """
    import psutil

    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return float(psutil.Process(pid).create_time())
    # The second field is the program's name in brackets, which may hold anything; the start is the 22nd.
    return int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
