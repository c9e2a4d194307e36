"""uvicorn's server as a worker of several runs it: on a socket that others accept from too, watched through a board."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import uvicorn

from tenshot.serving.endpoints.board import Field

if TYPE_CHECKING:
    from tenshot.serving.endpoints.board import Board
    from tenshot.serving.endpoints.watch import Watch

ACCEPTED_AT_ONCE = 1
"""Connections that a worker takes before it looks after those it has: the rest is for workers with more time."""


class SharedListener(socket.socket):
    """A listening socket that was handed down. The length of its queue is not this worker's to change."""

    def listen(self, _backlog: int = 0, /) -> None:
        return


class WorkerServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, watch: Watch, guests: Sequence[socket.socket] = ()) -> None:
        """`guests` are connections that somebody accepted already and whose requests are still to be read."""
        super().__init__(config)
        self.watch = watch
        self.guests = guests
        self._welcomes: list[asyncio.Task[None]] = []
        watch.connections = lambda: len(self.server_state.connections)

    @property
    def board(self) -> Board | None:
        return self.watch.board

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._welcomes = [asyncio.create_task(self._welcome(guest)) for guest in self.guests]

    async def _welcome(self, guest: socket.socket) -> None:
        """A connection that has gone meanwhile, or does not shake hands, must neither end the worker nor hold it up."""
        with suppress(OSError, TimeoutError):  # ssl.SSLError and ConnectionError are OSErrors
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, guest, ssl=self.config.ssl)

    async def on_tick(self, counter: int) -> bool:
        ends = await super().on_tick(counter)
        if self.board is None:
            return ends
        self.watch.tick()
        if not self.board[Field.READY] and await ready(self.watch.app):
            self.board[Field.READY] = 1
        return ends or self._drained(self.board[Field.DRAIN_UNTIL])

    def _drained(self, until: float) -> bool:
        """Told to leave: no new connections from now on; over once the last one has closed, or time is up.

        Connections are not cut: each is closed with its next answer (`Watch.leaves`), or after the time that idle ones
        are kept, so that no request meets a closed door.
        """
        if not until:
            return False
        for server in self.servers:
            server.close()
        settled = not self.server_state.connections and all(task.done() for task in self._welcomes)
        return settled or time.monotonic() >= until

    def _protocol(self) -> Any:
        kind: Any = self.config.http_protocol_class
        return kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


async def ready(app: Any) -> bool:
    """Whether the application answers GET /readyz with 200."""
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    path = "/readyz"
    scope: dict[str, Any] = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET"}
    scope |= {"scheme": "http"}
    scope |= {"path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": []}
    scope |= {"client": ("127.0.0.1", 0), "server": ("127.0.0.1", 0)}
    await app(scope, receive, send)
    return status == 200
