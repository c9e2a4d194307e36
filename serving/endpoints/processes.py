"""Processes by pid *and* start time, so that a reused pid is never taken for the process that had it before."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable

import psutil

from tenshot.projects.processes import ProcessId

_PR_SET_PDEATHSIG = 1


def started_at(pid: int) -> float:
    """When the process started, seconds since the epoch. Raises ProcessLookupError."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        raise ProcessLookupError(pid) from None


def alive(pid: int, start: float) -> bool:
    """Whether the process that had `pid` at `start` still runs. A zombie has ended."""
    return bool(ProcessId(socket.gethostname(), pid, start).alive())


def end(pid: int, start: float, number: signal.Signals) -> None:
    """Send a signal to that process, and to no other that got its pid."""
    if alive(pid, start):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return


def dies_with_parent() -> Callable[[], None] | None:
    """A `preexec_fn` that has the kernel kill the child when its parent ends, however it ends.

    None off Linux: there the child looks after its parent itself, see `worker`.
    """
    if not sys.platform.startswith("linux"):
        return None
    # Loaded here, before the fork: between fork and exec only the call itself is safe.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask_kernel
