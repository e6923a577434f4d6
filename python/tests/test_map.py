"""What ``map`` makes of its items and of what its function does, in both faces; without a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from arl_sandbox import AsyncClient, AsyncSandbox, Client, Sandbox
from stub import Sandbox as Native
from stub import claimed

pytestmark = pytest.mark.usefixtures("stubbed")


def async_client(count: int) -> AsyncClient:
    """One that has so many Sandboxes to give."""
    client = AsyncClient()
    client._native = claimed(*(Native(str(number)) for number in range(count)))  # type: ignore[assignment]
    return client


def sync_client(count: int) -> Client:
    """The same."""
    client = Client()
    client._native = claimed(*(Native(str(number)) for number in range(count)))  # type: ignore[assignment]
    return client


async def test_a_function_that_is_cancelled_by_itself_takes_no_other_result_away() -> None:
    async def work(sandbox: AsyncSandbox, item: int) -> int:
        if item % 2:
            other = asyncio.ensure_future(asyncio.sleep(100))
            other.cancel()
            await other
        return item

    for concurrency in (1, 2, 5):
        done = await async_client(5).map(range(5), work, pool="p", concurrency=concurrency, return_exceptions=True)
        assert [type(one) for one in done] == [int, asyncio.CancelledError] * 2 + [int]
        assert done[::2] == [0, 2, 4]
    with pytest.raises(asyncio.CancelledError):
        await async_client(5).map(range(5), work, pool="p")


async def test_a_map_that_is_cancelled_ends() -> None:
    began = asyncio.Event()

    async def work(sandbox: AsyncSandbox, item: int) -> None:
        began.set()
        await asyncio.sleep(100)

    task = asyncio.ensure_future(async_client(5).map(range(5), work, pool="p", concurrency=2))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(20):
            await task


def broken() -> Iterator[int]:
    """Items whose source fails."""
    yield 1
    raise OSError("the source broke") from KeyError("why")


async def test_items_that_fail_say_so_themselves() -> None:
    async def work(sandbox: AsyncSandbox, item: int) -> int:
        return item

    with pytest.raises(OSError, match="the source broke") as failed:
        await async_client(5).map(broken(), work, pool="p", concurrency=3)
    assert isinstance(failed.value.__cause__, KeyError)
    with pytest.raises(OSError, match="the source broke"):
        sync_client(5).map(broken(), lambda sandbox, item: item, pool="p", concurrency=3)


async def test_items_are_taken_when_there_is_room_for_them() -> None:
    count, done = 40, 0
    ahead: list[int] = []

    def items() -> Iterator[int]:
        for item in range(count):
            ahead.append(item - done)
            yield item

    async def work(sandbox: AsyncSandbox, item: int) -> int:
        nonlocal done
        await asyncio.sleep(0)
        done += 1
        return item

    def sync_work(sandbox: Sandbox, item: int) -> int:
        nonlocal done
        done += 1
        return item

    assert await async_client(count).map(items(), work, pool="p", concurrency=2) == list(range(count))
    done = 0
    assert sync_client(count).map(items(), sync_work, pool="p", concurrency=2) == list(range(count))
    # One is taken while those before it are worked on.
    assert max(ahead) <= 3


async def test_an_enormous_concurrency_is_no_more_than_the_items() -> None:
    async def work(sandbox: AsyncSandbox, item: int) -> int:
        return item

    async with asyncio.timeout(20):
        assert await async_client(3).map(range(3), work, pool="p", concurrency=10**12) == [0, 1, 2]
    assert sync_client(3).map(range(3), lambda sandbox, item: item, pool="p", concurrency=10**12) == [0, 1, 2]


async def test_a_function_may_return_an_error() -> None:
    mine = ValueError("mine")

    async def work(sandbox: AsyncSandbox, item: int) -> Any:
        return mine

    assert await async_client(1).map([1], work, pool="p") == [mine]
    assert sync_client(1).map([1], lambda sandbox, item: mine, pool="p") == [mine]


def test_a_function_that_ends_the_program_ends_the_sync_map() -> None:
    natives = [Native(str(number)) for number in range(5)]
    client = Client()
    client._native = claimed(*natives)  # type: ignore[assignment]

    def work(sandbox: Sandbox, item: int) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        client.map(range(5), work, pool="p", concurrency=1)
    assert all(native.is_released for native in natives if native.released) and natives[0].is_released
