"""Around a worker's whole application: writes on the board what its supervisor scales and replaces by.

A request counts as in flight from the last byte of its body on: a client that sends slowly is no load.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tenshot.serving.endpoints.board import Field
from tenshot.serving.endpoints.gate import PREDICT

if TYPE_CHECKING:
    from tenshot.serving.endpoints.board import Board
    from tenshot.serving.endpoints.gate import App, Message, Receive, Scope, Send

LATENCIES, LATENCY_S = 256, 10.0
"""Answers of which the 95th percentile is told, and for how long: a burst that is over is no reason to scale."""


class Watch:
    def __init__(self, board: Board | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Without a board (a Bento run by hand) nothing is written and nothing changed."""
        self.app: App = _nothing
        self.board = board
        self.connections: Callable[[], int] = lambda: 0
        """How many connections the server has open; told by whoever runs it."""
        self._clock = clock
        self._latencies: deque[tuple[float, float]] = deque(maxlen=LATENCIES)
        """(when, seconds) of answers, the last ones."""
        self._fresh = 0
        """Latencies since the percentile was last told."""
        self._counted_at = clock()
        self._inferring = 0
        self._run_s = 0.0

    def around(self, app: App) -> Watch:
        self.app = app
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.board is None or scope["type"] != "http":
            await self.app(scope, receive, send)
        else:
            visit = _Visit(self, receive, send, predicts=scope["path"] == PREDICT)
            try:
                await self.app(scope, visit.receive, visit.send)
            finally:
                visit.end()

    def tick(self) -> None:
        """A sign of life, several times a second."""
        if self.board is None:
            return
        self._count(0)
        self.board[Field.BEAT_AT] = self._clock()
        self.board[Field.LOOP_S] = time.thread_time()
        self.board[Field.CONNECTIONS] = self.connections()
        while self._latencies and self._clock() - self._latencies[0][0] > LATENCY_S:
            self._latencies.popleft()
            self._fresh += 1
        if self._fresh:
            self._fresh = 0
            ordered = sorted(seconds for _, seconds in self._latencies)
            self.board[Field.P95_S] = ordered[int(0.95 * (len(ordered) - 1))] if ordered else 0.0

    def touch(self) -> None:
        """The endpoint is in use."""
        if self.board is not None:
            self.board[Field.REQUEST_AT] = self._clock()

    async def infer(self, batched: Callable[[Any], Awaitable[Any]], array: Any) -> Any:
        """Call the batcher, and write down how long the input waited for the network."""
        if self.board is None:
            return await batched(array)
        began = self._clock()
        if not self._inferring:
            self.board[Field.INFERRING_SINCE] = began
        self._inferring += 1
        try:
            result = await batched(array)
            self.board[Field.INFERRED_AT] = self._clock()
            self.board.add(Field.WAITED_S, max(0.0, self._clock() - began - self._run_s))
            self.board.add(Field.INFERRED, 1)
            return result
        finally:
            self._inferring -= 1
            if not self._inferring:
                self.board[Field.INFERRING_SINCE] = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around one run of the network."""
        began = self._clock()
        yield
        self._run_s = self._clock() - began

    def leaves(self, status: int) -> bool:
        """Whether the connection of this answer is to be closed, so that its client comes to another worker."""
        board = self.board
        if board is None:
            return False
        share = board[Field.SHARE]
        return bool(board[Field.DRAIN_UNTIL] or (share and (status == 503 or self.connections() > share)))

    def entered(self) -> float:
        self._count(1)
        return self._clock()

    def left(self, entered_at: float, status: int) -> None:
        self._count(-1)
        if self.board is not None:
            self.board.add(Field.ANSWERED, 1)
        if status < 500:
            self._latencies.append((self._clock(), self._clock() - entered_at))
            self._fresh += 1

    def refused(self) -> None:
        if self.board is not None:
            self.board.add(Field.REFUSED, 1)

    def _count(self, change: int) -> None:
        if self.board is None:
            return
        at, in_flight = self._clock(), self.board[Field.IN_FLIGHT]
        self.board.add(Field.IN_FLIGHT_S, in_flight * (at - self._counted_at))
        self.board[Field.IN_FLIGHT] = in_flight + change
        self._counted_at = at


class _Visit:
    """One request."""

    def __init__(self, watch: Watch, receive: Receive, send: Send, *, predicts: bool) -> None:
        self.watch = watch
        self._receive, self._send = receive, send
        self._predicts = predicts
        self._entered_at: float | None = None
        self._status = 0

    async def receive(self) -> Message:
        message = await self._receive()
        whole = message["type"] == "http.request" and not message.get("more_body", False)
        if self._predicts and whole and self._entered_at is None and not self._status:
            self._entered_at = self.watch.entered()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            if self._status == 503 and self._predicts:
                self.watch.refused()
            if self.watch.leaves(self._status):
                kept = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"connection"]
                message = {**message, "headers": [*kept, (b"connection", b"close")]}
        await self._send(message)

    def end(self) -> None:
        if self._entered_at is not None:
            self.watch.left(self._entered_at, self._status)
            self._entered_at = None


async def _nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise RuntimeError("the application was not made yet")
