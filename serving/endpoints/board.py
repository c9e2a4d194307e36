"""What a worker and its supervisor tell each other while requests are answered: one page of memory that both map.

It costs a worker a few writes to memory a request, and its supervisor a few reads a tick; nothing is asked over a
socket, so one worker is never taken for another. The page belongs to no file: nothing of it is left behind.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from enum import IntEnum, auto

PAGE_BYTES = 4096


class Field(IntEnum):
    """Each is one float64. Times are those of `time.monotonic`, which all processes of a machine share; 0 is never."""

    # Written by the worker.
    READY = 0
    """1 once it has answered its own question at /readyz, which it does after a first prediction."""
    BEAT_AT = auto()
    """When its event loop last came round; a worker that hangs no longer writes it."""
    IN_FLIGHT = auto()
    """Requests whose body has arrived and whose answer has not begun."""
    IN_FLIGHT_S = auto()
    """The same, summed over time: the difference of two readings by the seconds between them is the mean."""
    ANSWERED = auto()
    REFUSED = auto()
    """Answered 503 because too many were in flight."""
    WAITED_S = auto()
    """Seconds that inputs waited for the network, summed; `INFERRED` is how many there were."""
    INFERRED = auto()
    LOOP_S = auto()
    """Processor seconds of the thread that reads requests and writes answers: at one a second it is full, and requests
    wait in their connections, where nobody counts them."""
    P95_S = auto()
    """Of the last few hundred answers: seconds from the last byte of the body to the first of the answer."""
    INFERRING_SINCE = auto()
    """Since when the network has had inputs without a break; 0 while it has none."""
    INFERRED_AT = auto()
    """When the network last gave a result."""
    REQUEST_AT = auto()
    """When the last request to /predict was let in or answered."""
    CONNECTIONS = auto()
    # Written by the supervisor.
    DRAIN_UNTIL = auto()
    """Not 0: take no new connections, answer what there is and end, at the latest at this time."""
    SHARE = auto()
    """Not 0: connections beyond this many are closed after their next answer, so that other workers get them."""


class Board:
    def __init__(self, descriptor: int) -> None:
        """Map the page behind `descriptor`, which stays open and is closed by `close`."""
        self.descriptor = descriptor
        self._page = mmap.mmap(descriptor, PAGE_BYTES)
        self._values = memoryview(self._page).cast("d")

    @classmethod
    def make(cls) -> Board:
        """A new one, all 0. Raises OSError."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("tenshot-board")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.write(descriptor, bytes(PAGE_BYTES))  # a page that does not exist yet could not be had on a full disk
        return cls(descriptor)

    def __getitem__(self, field: Field) -> float:
        return self._values[field]

    def __setitem__(self, field: Field, value: float) -> None:
        self._values[field] = value

    def add(self, field: Field, value: float) -> None:
        self._values[field] += value

    def close(self) -> None:
        self._values.release()
        self._page.close()
        os.close(self.descriptor)
