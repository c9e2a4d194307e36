"""Puts inputs that wait for the network together, without ever waiting for more of them.

While the network runs, inputs gather; when it is free, it gets as many as one batch may hold. Alone, an input is run at
once. That is all a CPU needs, where a batch is hardly faster than its images one after the other: to hold an input back
until others come, as adaptive batching for GPUs does, only makes it late.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class _Waiting(NamedTuple):
    since: float
    array: Array
    answer: asyncio.Future[Array]


class Batcher:
    """Of one event loop; the network runs in one thread."""

    def __init__(
        self,
        run: Callable[[Array], Array],
        *,
        most: int,
        longest_s: float,
        overdue: Callable[[], Exception],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`run`: [N, …] → [N, …], N at most `most`. An input whose turn does not come within `longest_s` gets
        `overdue()`."""
        self._run = run
        self._most = most
        self._longest_s = longest_s
        self._overdue = overdue
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._running = False
        self._thread = ThreadPoolExecutor(1, "network")

    async def __call__(self, array: Array) -> Array:
        """[1, …] → [1, …]. Raises what `run` does, or `overdue()`."""
        answer: asyncio.Future[Array] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(self._clock(), array, answer))
        self._next()
        return await answer

    def _next(self) -> None:
        if self._running or not (batch := self._batch()):
            return
        self._running = True
        arrays = batch[0].array if len(batch) == 1 else np.concatenate([one.array for one in batch])
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._thread, self._run, arrays)
        done.add_done_callback(lambda result: self._answered(batch, result))

    def _batch(self) -> list[_Waiting]:
        """The next ones, without those who have gone or waited too long."""
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < self._most:
            one = self._waiting.popleft()
            if one.answer.done():  # cancelled: its caller went away
                continue
            if self._clock() - one.since > self._longest_s:
                one.answer.set_exception(self._overdue())
            else:
                batch.append(one)
        return batch

    def _answered(self, batch: list[_Waiting], result: asyncio.Future[Array]) -> None:
        self._running = False
        if result.cancelled():
            error: BaseException | None = RuntimeError("the endpoint is stopping")
        else:
            error = result.exception()
        for index, one in enumerate(batch):
            if one.answer.done():
                continue
            if error is None:
                one.answer.set_result(result.result()[index : index + 1])
            else:
                one.answer.set_exception(error)
        self._next()
