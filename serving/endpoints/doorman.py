"""Who looks after the port while no worker runs: an endpoint that sleeps, or that is out of service by its schedule.

A connection that asks for /predict (or anything else but a probe) wakes a sleeping endpoint; it is only looked at, so
that the worker which gets it reads the whole request. Probes of load balancers and monitors are answered here and wake
nobody, nor does a connection that says nothing. Behind TLS nothing can be seen, so whoever speaks at all wakes it.
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

log = logging.getLogger("tenshot.supervisor")

PEEKED_BYTES = 4096
SILENT_S = 10.0
"""A connection that has not sent its first line after this long is closed."""
MOST_WAITING = 256
ALIVE = ("/livez", "/healthz")
READY = "/readyz"
METRICS = "/metrics"


@dataclass
class _Guest:
    socket: socket.socket
    since: float
    begun: bool = False
    """It has said something, but not a whole line."""

    def peek(self) -> bytes | None:
        """Its first line, or what there is of one that is too long or no text; None if it is still to come, empty if
        it never will."""
        try:
            seen = self.socket.recv(PEEKED_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        line, end, _ = seen.partition(b"\r\n")
        self.begun = True
        # HTTP begins with a letter; what does not is left to the server to refuse.
        return line if not seen or end or len(seen) >= PEEKED_BYTES or not seen[:1].isalpha() else None


class Doorman:
    def __init__(self, listener: socket.socket, ref: str, *, opaque: bool, clock: Callable[[], float]) -> None:
        """`opaque`: what comes in is encrypted. The listener is made non-blocking."""
        self.listener = listener
        self.ref = ref
        self.opaque = opaque
        self._clock = clock
        self._waiting: list[_Guest] = []
        listener.setblocking(False)

    @property
    def readers(self) -> list[socket.socket]:
        """What to wait for. One that said half a line is left out: it would be readable all the time."""
        room = len(self._waiting) < MOST_WAITING
        return [*([self.listener] if room else []), *(guest.socket for guest in self._waiting if not guest.begun)]

    def look(self, closed_s: float | None = None) -> list[socket.socket]:
        """Answer the probes; the connections of callers, still unread.

        While it is out of service for another `closed_s` seconds, callers are told so and none is given back.
        """
        self._accept()
        callers, still = [], []
        for guest in self._waiting:
            line = guest.peek()
            if line is None and self._clock() - guest.since < SILENT_S:
                still.append(guest)
            elif not line:
                guest.socket.close()
            elif not self._answered(guest.socket, line, closed_s):
                callers.append(guest.socket)
        self._waiting = still
        return callers

    def leave(self) -> list[socket.socket]:
        """Connections that have not said yet what they want: the next worker is to listen to them."""
        left, self._waiting = [guest.socket for guest in self._waiting], []
        return left

    def _accept(self) -> None:
        while len(self._waiting) < MOST_WAITING:
            try:
                accepted, _ = self.listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # of that connection, or there is no room for more: tried again at the next tick
                log.debug("a connection could not be taken: %s", error)
                return
            accepted.setblocking(False)
            self._waiting.append(_Guest(accepted, self._clock()))

    def _answered(self, guest: socket.socket, head: bytes, closed_s: float | None) -> bool:
        if self.opaque:
            if closed_s is not None:
                guest.close()
            return closed_s is not None
        answer = self._probe(head, closed_s)
        if answer is None and closed_s is not None:
            answer = _closed(closed_s)
        if answer is None:
            return False
        _say(guest, answer)
        return True

    def _probe(self, head: bytes, closed_s: float | None) -> bytes | None:
        method, _, rest = head.decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method not in {"GET", "HEAD"}:
            return None
        if path == METRICS:
            gauge = f'# TYPE tenshot_workers gauge\ntenshot_workers{{version="{self.ref}"}} 0\n'
            return _response("200 OK", "text/plain; version=0.0.4", gauge)
        # One that sleeps is ready for whoever calls; one that is out of service is not.
        if path in ALIVE or (path == READY and closed_s is None):
            return _response("200 OK", "text/plain", "")
        return None


def _say(guest: socket.socket, answer: bytes) -> None:
    with suppress(OSError):
        guest.recv(1 << 20)  # what was sent and not read would make the answer a reset
        guest.sendall(answer)
        guest.shutdown(socket.SHUT_WR)
    guest.close()


def _closed(for_s: float) -> bytes:
    error = {"code": "OutOfService", "message": "the endpoint is out of service by its schedule", "hint": ""}
    wait = f"Retry-After: {max(1, round(for_s))}\r\n"
    return _response("503 Service Unavailable", "application/json", json.dumps({"error": error}), wait)


def _response(status: str, kind: str, body: str, more: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
    )
    return (head + body).encode("latin-1")
