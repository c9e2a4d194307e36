"""Connections that hold a place and ask nothing: uvicorn waits for ever for a request's headers, this does not.

uvicorn itself ends a connection that stays silent after an answer. Here end: one that never says anything, one whose
headers come a byte at a time, one that goes on sending a body nobody wants, and one that does not read its answer. The
number of connections is bounded: for one more, the one that has been waiting longest goes.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from tenshot.projects.errors import RequestError
from tenshot.serving.endpoints.gate import RETRY_AFTER_S, App, Receive, Scope, Send, answer
from tenshot.serving.endpoints.guard import OPEN

YOUNG_S = 1.0
"""A connection that has waited less may have its request on the way, and is not closed to make room."""
MOST_OVER = 2
"""So many times the bound, counting those that only wait for their 503, and a connection is cut at once."""


class PatientProtocol(H11Protocol):
    timeout_s = 10.0
    most = 512
    waiting_since: float | None = None
    """Loop time since when everything depends on the client; None: it is our turn."""
    _timer: asyncio.TimerHandle | None = None
    _stuck = False
    """The client does not read."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._make_room()
        self._look()

    def data_received(self, data: bytes) -> None:
        if self.timeout_keep_alive_task is not None:  # the first of the next request: it has all its time
            self._look_away()
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._look_away()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = True
        self._look()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stuck = False
        self._look()

    def _look(self) -> None:
        """Start the clock when it becomes the client's turn, and not anew with every byte."""
        if (self.transport.is_closing() and not self._stuck) or not self._is_clients_turn():
            self._look_away()
        elif self._timer is None:
            self.waiting_since = self.loop.time()
            self._timer = self.loop.call_later(self.timeout_s, self._give_up)

    def _is_clients_turn(self) -> bool:
        theirs, ours = self.conn.their_state, self.conn.our_state
        return self._stuck or theirs is h11.IDLE or (ours is h11.DONE and theirs is h11.SEND_BODY)

    def _look_away(self) -> None:
        self.waiting_since = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self._stuck:
            self.transport.abort()
            return
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self.transport.write(_too_slow(self.timeout_s))
        self.transport.close()

    def _make_room(self) -> None:
        ripe = self.loop.time() - YOUNG_S
        others: Any = self.connections
        waiting = [c for c in others if isinstance(c, PatientProtocol) and (c.waiting_since or ripe + 1) <= ripe]
        if waiting:
            min(waiting, key=lambda connection: connection.waiting_since or 0.0).transport.abort()
        elif len(self.connections) > MOST_OVER * self.most:
            self.transport.abort()
        else:
            self.app = _Full(self.app, self.most)


class _Full:
    """Answers a connection that is one too many; signs of life come through, or a crowd would look like a hang."""

    def __init__(self, app: Any, most: int) -> None:
        self.app: App = app
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        error = RequestError(
            503, "TooManyConnections", f"{self.most} connections are open already", hint="try again in a second"
        )
        await answer(send, 503, error.document(), {"Retry-After": str(RETRY_AFTER_S), "Connection": "close"})


def patient(timeout_s: float, most: int) -> type[PatientProtocol]:
    """The protocol class for a `uvicorn.Config`."""
    return type("Patient", (PatientProtocol,), {"timeout_s": timeout_s, "most": most})


def _too_slow(timeout_s: float) -> bytes:
    error = RequestError(408, "HeadersTooSlow", f"the request's headers were not there after {timeout_s:g} s")
    body = json.dumps(error.document())
    head = "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode("ascii")
