"""Inputs that wait are run together; nobody waits for company."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tenshot.serving.endpoints.batching import Batcher


class Late(Exception):
    pass


class Network:
    """Doubles its input; runs only when told to."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = threading.Semaphore(0)
        self.error: Exception | None = None

    def __call__(self, batch: Any) -> Any:
        self.sizes.append(len(batch))
        self.go.acquire()
        if self.error:
            raise self.error
        return 2 * batch


def tried(use: Callable[[Network, Batcher, list[float]], Any], most: int = 4) -> Network:
    async def all_of_it() -> None:
        at = [0.0]
        batcher = Batcher(network, most=most, longest_s=10.0, overdue=Late, clock=lambda: at[0])
        await asyncio.wait_for(use(network, batcher, at), 50)

    network = Network()
    try:
        asyncio.run(all_of_it())
    finally:
        network.go.release(100)
    return network


def one(value: float) -> Any:
    return np.full((1, 3), value, np.float32)


async def started(batcher: Batcher, *values: float) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(batcher(one(value))) for value in values]
    await asyncio.sleep(0)
    return tasks


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (2, [1, 1]), (5, [1, 4]), (6, [1, 4, 1]), (10, [1, 4, 4, 1])])
def test_those_who_wait_go_together(count: int, sizes: list[int]) -> None:
    async def use(network: Network, batcher: Batcher, _: list[float]) -> None:
        tasks = await started(batcher, *range(count))
        network.go.release(count)
        found = await asyncio.gather(*tasks)
        assert [array.tolist() for array in found] == [[[2.0 * i] * 3] for i in range(count)]

    assert tried(use).sizes == sizes


def test_a_failure_is_everybody_s_of_the_batch_and_of_nobody_else() -> None:
    async def use(network: Network, batcher: Batcher, _: list[float]) -> None:
        network.error = ValueError("no")
        first = await started(batcher, 1.0)
        others = await started(batcher, 2.0, 3.0)
        network.go.release()
        with pytest.raises(ValueError, match="no"):
            await first[0]
        network.go.release()
        assert [type(error) for error in await asyncio.gather(*others, return_exceptions=True)] == [ValueError] * 2
        network.error = None
        network.go.release()
        assert (await batcher(one(4.0))).tolist() == [[8.0] * 3]

    assert tried(use).sizes == [1, 2, 1]


def test_who_waited_too_long_is_told_and_who_has_gone_is_left_out() -> None:
    async def use(network: Network, batcher: Batcher, at: list[float]) -> None:
        first = await started(batcher, 1.0)
        late, gone = await started(batcher, 2.0, 3.0)
        at[0] = 10.5
        fresh = await started(batcher, 4.0)
        gone.cancel()
        await asyncio.sleep(0)
        network.go.release(2)
        with pytest.raises(Late):
            await late
        assert (await first[0])[0, 0] == 2.0
        assert (await fresh[0])[0, 0] == 8.0

    assert tried(use).sizes == [1, 1]


def test_who_goes_while_the_network_runs_harms_nobody() -> None:
    async def use(network: Network, batcher: Batcher, _: list[float]) -> None:
        [gone] = await started(batcher, 1.0)
        [other] = await started(batcher, 2.0)
        gone.cancel()
        await asyncio.sleep(0)
        network.go.release(2)
        assert (await other)[0, 0] == 4.0

    assert tried(use).sizes == [1, 1]
