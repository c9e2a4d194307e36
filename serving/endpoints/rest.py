"""When an endpoint has no workers, because it sleeps or by its schedule, and how it comes back."""

from __future__ import annotations

import logging
import socket
import time
from typing import TYPE_CHECKING

from tenshot.projects.clock import now
from tenshot.projects.errors import TenshotError
from tenshot.serving.endpoints import schedule
from tenshot.serving.endpoints.doorman import Doorman

if TYPE_CHECKING:
    from tenshot.projects.records import Endpoint

log = logging.getLogger("tenshot.supervisor")


class Rest:
    def __init__(self, listener: socket.socket, ref: str) -> None:
        self.waking = False
        """Workers start again after a rest: nobody is to think that something broke."""
        self.guests: list[socket.socket] = []
        """Connections that woke the endpoint, until a worker has them for sure."""
        self._listener, self._ref = listener, ref
        self._doorman: Doorman | None = None
        self._closed = False
        """Out of service by its schedule, at the end of which it comes back without being called."""

    @property
    def resting(self) -> bool:
        return self._doorman is not None

    @property
    def readers(self) -> list[socket.socket]:
        """What the supervisor's sleep is to be interrupted by."""
        return self._doorman.readers if self._doorman else []

    def step(self, endpoint: Endpoint, idle: str) -> bool:
        """Go to rest if the schedule says so, or, if `idle` (why) is not empty, to sleep; or come back: True.

        Called at every tick; answers those who come meanwhile.
        """
        closed_s = closed_for_s(endpoint)
        if self._doorman is None:
            if closed_s is not None or idle:
                log.info("%s", f"asleep because {idle}" if closed_s is None else "out of service by its schedule")
                self._doorman = Doorman(self._listener, self._ref, opaque=endpoint.tls, clock=time.monotonic)
                self.waking, self._closed = False, closed_s is not None
            return False
        callers = self._doorman.look(closed_s)
        self.guests += callers
        asleep = endpoint.wake_on_request and not self._closed
        self._closed = closed_s is not None
        if not callers and (asleep or self._closed):
            return False
        log.info("%s", "a request woke it" if callers else "in service again")
        self.guests += self._doorman.leave()
        self._doorman, self.waking = None, True
        return True

    def let_guests_go(self) -> None:
        """A worker has its own copies of the connections, or nobody ever will."""
        self.guests += self._doorman.leave() if self._doorman else []
        for guest in self.guests:
            guest.close()
        self.guests = []


def closed_for_s(endpoint: Endpoint) -> float | None:
    """For how many seconds more the schedule keeps it out of service; None: it does not."""
    if not endpoint.schedule:
        return None
    try:
        found = schedule.parse(endpoint.schedule)
    except TenshotError as error:  # a time zone that this machine does not know any more
        log.warning("the schedule is passed over: %s", error)
        return None
    is_open, change = found.open_until(now())
    return None if is_open else max(0.0, (change or now() + 86400) - now())
