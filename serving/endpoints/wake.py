"""How a supervisor sleeps: until a time, a signal, or something to read."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress


class Wake:
    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def wait(self, timeout_s: float, readers: Iterable[socket.socket] = ()) -> None:
        """Also until one of `readers` can be read."""
        poll = select.poll()
        for descriptor in [self._read, *(reader.fileno() for reader in readers)]:
            poll.register(descriptor, select.POLLIN)
        poll.poll(max(0.0, timeout_s) * 1000)
        with suppress(BlockingIOError):
            while os.read(self._read, 1024):
                pass
