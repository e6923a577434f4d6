"""Waiting for calls on an event loop: thousands at once, without a thread for any of them."""

from __future__ import annotations

import asyncio
import inspect
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

from .._logs import pass_on
from .._native import Call, Completions
from ..errors import from_native

T = TypeVar("T")
R = TypeVar("R")

Begun: TypeAlias = "asyncio.Future[T]"


class _Bridge:
    """Results for one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._completions = Completions(False)
        self._pending: dict[int, tuple[asyncio.Future[Any], Callable[[Any], object] | None]] = {}
        self._key = 0
        loop.add_reader(self._completions.fileno(), self._arrived)

    def begin(self, call: Call[T], future: asyncio.Future[T], lost: Callable[[T], object] | None = None) -> int:
        self._key += 1
        self._pending[self._key] = (future, lost)
        try:
            call.start(self._completions, self._key)
        except BaseException:
            del self._pending[self._key]
            raise
        return self._key

    def give_up(self, key: int) -> None:
        self._pending.pop(key, None)

    def _arrived(self) -> None:
        self._completions.clear()
        arrived: list[tuple[Any, Any, Any]] = []
        self._completions.drain(self._pending, arrived)
        for (future, lost), value, failure in arrived:
            if future.done():
                # It was cancelled in this turn of the loop, and its task does not know yet.
                if failure is None and lost is not None:
                    lost(value)
            elif failure is None:
                future.set_result(value)
            else:
                future.set_exception(from_native(failure))
        pass_on()


_BRIDGES: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Bridge] = weakref.WeakKeyDictionary()


def _bridge(loop: asyncio.AbstractEventLoop) -> _Bridge:
    bridge = _BRIDGES.get(loop)
    if bridge is None:
        bridge = _BRIDGES[loop] = _Bridge(loop)
    return bridge


def begin(call: Call[T]) -> Begun[T]:
    """Starts a call, to be waited for by :func:`resume`."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    _bridge(loop).begin(call, future)
    return future


async def resume(begun: Begun[T]) -> T:
    """Waits for a call that was begun. Cancelled, it goes on."""
    return await asyncio.shield(begun)


async def result(call: Call[T], lost: Callable[[T], object] | None = None) -> T:
    """Starts a call and waits for it. Cancelled, it is given up, with what it has begun in a pod. Where its result has come by then, ``lost`` is
    told."""
    loop = asyncio.get_running_loop()
    bridge = _bridge(loop)
    future: asyncio.Future[T] = loop.create_future()
    key = bridge.begin(call, future, lost)
    try:
        return await future
    except asyncio.CancelledError:
        call.cancel()
        bridge.give_up(key)
        if future.done() and not future.cancelled() and future.exception() is None and lost is not None:
            lost(future.result())
        raise


def forget(call: Call[Any]) -> None:
    """Starts a call that nobody waits for."""
    call.start(Completions(False), 0)


async def finish(calls: Sequence[tuple[Call[Any], Callable[[], object]]]) -> None:
    """Starts all calls and waits for all of them; each that succeeds is followed by its function. Cancelled, they go on. Raises the first error."""

    def follow(then: Callable[[], object], done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            then()

    begun = []
    for call, then in calls:
        begun.append(begin(call))
        begun[-1].add_done_callback(partial(follow, then))
    for outcome in await asyncio.shield(asyncio.gather(*begun, return_exceptions=True)):
        if isinstance(outcome, BaseException):
            raise outcome


async def called(value: Any) -> None:
    """What a callback returned: awaited, where it can be."""
    if inspect.isawaitable(value):
        await value


async def each(work: Callable[[T], Awaitable[R]], items: Iterable[T], concurrency: int) -> list[R]:
    """Calls ``work`` for each item, so many at a time; the results in the order of the items."""
    waiting = enumerate(items)
    results: dict[int, R] = {}

    async def worker() -> None:
        for index, item in waiting:
            results[index] = await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(max(1, concurrency)):
            group.create_task(worker())
    return [results[index] for index in sorted(results)]


now = time.perf_counter
pause = asyncio.sleep
Lock = asyncio.Lock
