"""Whether the server answers, asked in a thread so that a server that hangs does not hold up its supervisor."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable

from tenshot.projects.clock import Clock, now

TIMEOUT_S = 5.0
STARTING_POLL_S = 0.05


def answers(host: str, port: int, path: str = "/readyz", timeout_s: float = TIMEOUT_S) -> bool:
    """Whether GET `path` gives 200 in time."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Probe:
    """Asks /readyz all the time: often until the first answer, then every `every_s` seconds."""

    def __init__(
        self, host: str, port: int, every_s: float, *, woken: Callable[[], None] = lambda: None, clock: Clock = now
    ) -> None:
        self._address = host, port
        self._every_s = every_s
        self._woken = woken
        self._clock = clock
        self._since = 0.0
        self._answered_at: float | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    @property
    def answered_at(self) -> float | None:
        """When the last answered question was asked.

        Asked, not answered: a question that waited in the socket's queue while one server ended and the next one
        started says nothing about when the next one was ready.
        """
        return self._answered_at

    def forget(self, since: float) -> None:
        """The server was replaced; what was asked before `since` no longer counts."""
        self._since = since
        self._answered_at = None

    def _run(self) -> None:
        while not self._ended.wait(STARTING_POLL_S if self._answered_at is None else self._every_s):
            asked = self._clock()
            if answers(*self._address) and asked >= self._since:
                self._answered_at = asked
                self._woken()
