"""Waiting for calls on an event loop: thousands at once, without a thread for any of them."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

from .._logs import pass_on
from .._native import Call, Completions
from ..errors import from_native

T = TypeVar("T")
R = TypeVar("R")


class _Bridge:
    """Results for one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._completions = Completions(False)
        self._pending: dict[int, tuple[asyncio.Future[Any], Callable[[Any], object] | None]] = {}
        self._key = 0
        self.move(loop)

    def move(self, loop: asyncio.AbstractEventLoop) -> None:
        """Results arrive on this loop, since the one before is over."""
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

    def expect(self, key: int, future: asyncio.Future[Any]) -> None:
        """What is begun has its result there."""
        self._pending[key] = (future, None)

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
                continue
            # It has its result also where it cannot tell anybody, since its loop is closed.
            with suppress(RuntimeError):
                if failure is None:
                    future.set_result(value)
                else:
                    future.set_exception(from_native(failure))
        pass_on()


# A loop holds its bridge until it is closed. What was not waited for then goes with it.
_BRIDGES: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[_Bridge]] = weakref.WeakKeyDictionary()


def _bridge(loop: asyncio.AbstractEventLoop) -> _Bridge:
    known = _BRIDGES.get(loop)
    bridge = None if known is None else known()
    if bridge is None:
        bridge = _Bridge(loop)
        _BRIDGES[loop] = weakref.ref(bridge)
    return bridge


class Begun(Generic[T]):
    """A call on its way."""

    def __init__(self, call: Call[T]) -> None:
        loop = asyncio.get_running_loop()
        self._bridge = _bridge(loop)
        self.future: asyncio.Future[T] = loop.create_future()
        self.future.add_done_callback(_look)
        self._key = self._bridge.begin(call, self.future)

    def move(self, loop: asyncio.AbstractEventLoop) -> None:
        """It is waited for on this loop, since the one before is over."""
        self.future = loop.create_future()
        self.future.add_done_callback(_look)
        self._bridge.expect(self._key, self.future)
        self._bridge.move(loop)


def _look(future: asyncio.Future[Any]) -> None:
    """That nobody waits for it any more is no mistake, which asyncio would log."""
    if not future.cancelled():
        future.exception()


def begin(call: Call[T]) -> Begun[T]:
    """Starts a call, to be waited for by :func:`resume`."""
    return Begun(call)


async def resume(begun: Begun[T]) -> T:
    """Waits for a call that was begun, also where the loop of then is over. Cancelled, it goes on."""
    loop = asyncio.get_running_loop()
    if begun.future.done():
        return begun.future.result()
    if begun.future.get_loop() is not loop:
        begun.move(loop)
    return await asyncio.shield(begun.future)


async def result(call: Call[T], lost: Callable[[T], object] | None = None) -> T:
    """Starts a call and waits for it. Cancelled, it is given up, with what it has begun in a pod. Where its result has come by then, ``lost`` is
    told."""
    loop = asyncio.get_running_loop()
    bridge = _bridge(loop)
    future: asyncio.Future[T] = loop.create_future()
    key = bridge.begin(call, future, lost)
    try:
        return await future
    except (asyncio.CancelledError, GeneratorExit):
        # The latter where its loop was closed before.
        call.cancel()
        bridge.give_up(key)
        if future.done() and not future.cancelled() and future.exception() is None and lost is not None:
            lost(future.result())
        raise


def forget(call: Call[Any]) -> None:
    """Starts a call that nobody waits for."""
    call.forget()


async def finish(calls: Sequence[tuple[Call[Any], Callable[[], object]]]) -> None:
    """Starts all calls and waits for all of them; each that succeeds is followed by its function. Cancelled, they go on. Raises the first error."""

    def follow(then: Callable[[], object], done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            then()

    begun = []
    for call, then in calls:
        begun.append(begin(call).future)
        begun[-1].add_done_callback(partial(follow, then))
    for outcome in await asyncio.shield(asyncio.gather(*begun, return_exceptions=True)):
        if isinstance(outcome, BaseException):
            raise outcome


async def called(value: Any) -> None:
    """What a callback returned: awaited, where it can be."""
    if inspect.isawaitable(value):
        await value


FAILURES = (Exception, asyncio.CancelledError)
"""What a function of the caller may fail with."""


def is_ended(failure: BaseException) -> bool:
    """Whether who runs this is ended by it: a function may also fail because something that it waited for was cancelled."""
    task = asyncio.current_task()
    return isinstance(failure, asyncio.CancelledError) and task is not None and task.cancelling() > 0


async def each(work: Callable[[T], Awaitable[R]], items: Iterable[T], concurrency: int) -> list[R]:
    """Calls ``work`` for each item, so many at a time, and takes each item when there is room for it; the results in the order of the items."""
    room = asyncio.Semaphore(concurrency)
    tasks: list[asyncio.Task[R]] = []

    def done(_: object) -> None:
        room.release()

    async def one(item: T) -> R:
        return await work(item)

    failed: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for item in items:
                await room.acquire()
                tasks.append(group.create_task(one(item)))
                tasks[-1].add_done_callback(done)
    except BaseExceptionGroup as failures:
        # The error of the items themselves, for which there is no other place.
        failed = failures.exceptions[0]
    if failed is not None:
        raise failed
    return [task.result() for task in tasks]


class Turn:
    """One at a time, on the loop that has it as long as that runs."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()

    def _taken_by(self, loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
        with self._guard:
            if self._loop is None or (self._loop is not loop and not self._loop.is_running()):
                # The lock of a loop that is over may be held for ever.
                self._loop, self._lock = loop, asyncio.Lock()
            return self._loop

    async def take(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does this once it is its turn."""
        while (theirs := self._taken_by(asyncio.get_running_loop())) is not asyncio.get_running_loop():
            try:
                return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.take(work), theirs))
            except (asyncio.CancelledError, RuntimeError) as error:
                if is_ended(error) or theirs.is_running():
                    raise
        async with self._lock:
            return await work()


now = time.perf_counter
pause = asyncio.sleep
