"""Processes by host, pid and start time, so that a reused pid is never taken for the process that had it before."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

SAME_START_S = 2.0
"""Start times count from the boot time, which moves a little when the clock is set."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """Printed and parsed as `host:pid:start`."""

    host: str
    pid: int
    start: float
    """Seconds since the epoch."""

    @classmethod
    def own(cls) -> ProcessId:
        import psutil

        return cls(socket.gethostname(), os.getpid(), float(psutil.Process().create_time()))

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

    def alive(self) -> bool | None:
        """Whether it still runs; None if that cannot be told from this host. A zombie has ended."""
        import psutil

        if self.host != socket.gethostname():
            return None
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.start) < SAME_START_S
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False
