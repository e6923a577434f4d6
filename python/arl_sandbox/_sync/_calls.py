"""Waiting for calls in threads. Signal handlers run meanwhile: the wait is a read from a socket, which Python itself interrupts.

A handler may raise after any call of a function. What has come is therefore always in a list before the next one, and can be waited for again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeAlias, TypeVar

from .._logs import pass_on
from .._native import Call, Completions
from ..errors import from_native

T = TypeVar("T")
R = TypeVar("R")

Arrived: TypeAlias = list[tuple[Any, Any, Any]]

_IDLE: list[Completions] = []


class Begun(Generic[T]):
    """A call on its way, once :meth:`start` was called, or :meth:`result`."""

    def __init__(self, call: Call[T]) -> None:
        self._call = call
        self._key = id(self)
        self._pending = {self._key: None}
        self._arrived: Arrived = []
        self._completions: Completions | None = None
        self._is_started = False

    def start(self) -> None:
        """Starts it, unless it was."""
        if self._is_started:
            return
        try:
            self._completions = _IDLE.pop()
        except IndexError:
            self._completions = Completions(True)
        # Nothing is called between this and the start itself.
        self._is_started = True
        try:
            self._call.start(self._completions, self._key)
        except RuntimeError:
            self._is_started = False
            raise

    def result(self) -> T:
        """Waits for it. Where that is interrupted, it may be waited for again."""
        self.start()
        stops = _STOPS.of_this_thread
        if stops is not None:
            stops.add(self._wake)
        try:
            self._wait(stops)
        finally:
            if stops is not None:
                stops.discard(self._wake)
        pass_on()
        completions, self._completions = self._completions, None
        if completions is not None:
            _IDLE.append(completions)
        ((_, value, failure),) = self._arrived
        if failure is not None:
            raise from_native(failure)
        return value  # type: ignore[no-any-return]

    def _wait(self, stops: _Stops | None) -> None:
        while not self._arrived:
            # The byte that announces a result may have been read before the last interruption.
            completions = self._completions
            assert completions is not None
            completions.drain(self._pending, self._arrived)
            if not self._arrived:
                if stops is not None and stops.is_over:
                    raise KeyboardInterrupt
                os.read(completions.fileno(), 64)
                pass_on()

    def _wake(self) -> None:
        completions = self._completions
        if completions is not None:
            completions.wake()

    def give_up(self, lost: Callable[[T], object] | None) -> None:
        """Nobody waits for it any more. What comes of it is dropped; where it has come, ``lost`` is told."""
        self._call.cancel()
        self._completions = None
        for _, value, failure in self._arrived:
            if failure is None and lost is not None:
                lost(value)


def begin(call: Call[T]) -> Begun[T]:
    """A call to be waited for by :func:`resume`, which starts it: one that was started here would be lost where this is interrupted."""
    return Begun(call)


def resume(begun: Begun[T]) -> T:
    """Waits for a call that was begun. Interrupted, it goes on."""
    return begun.result()


def result(call: Call[T], lost: Callable[[T], object] | None = None) -> T:
    """Starts a call and waits for it. Interrupted, it is given up, with what it has begun in a pod. Where its result has come by then, ``lost``
    is told."""
    begun = Begun(call)
    try:
        return begun.result()
    except BaseException:
        begun.give_up(lost)
        raise


def forget(call: Call[Any]) -> None:
    """Starts a call that nobody waits for."""
    call.forget()


def finish(calls: Sequence[tuple[Call[Any], Callable[[], object]]]) -> None:
    """Starts all calls and waits for all of them; each that succeeds is followed by its function. Interrupted, they go on. Raises the first error."""
    completions = Completions(True)
    pending = dict(enumerate(calls))
    for key, (call, _) in enumerate(calls):
        call.start(completions, key)
    failures = []
    while pending:
        os.read(completions.fileno(), 64)
        arrived: Arrived = []
        completions.drain(pending, arrived)
        for (_, then), _, failure in arrived:
            if failure is None:
                then()
            else:
                failures.append(failure)
    pass_on()
    if failures:
        raise from_native(failures[0])


def called(value: Any) -> None:
    """What a callback returned."""


class _Stops:
    """What ends the waits of some threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stops: set[Callable[[], object]] = set()
        self.is_over = False

    def add(self, stop: Callable[[], object]) -> None:
        """From now on, or at once."""
        with self._lock:
            self._stops.add(stop)
        if self.is_over:
            stop()

    def discard(self, stop: Callable[[], object]) -> None:
        """Not any more."""
        with self._lock:
            self._stops.discard(stop)

    def end(self) -> None:
        """Ends those that are, and those that come."""
        with self._lock:
            self.is_over = True
            stops = list(self._stops)
        for stop in stops:
            stop()


class _Current(threading.local):
    of_this_thread: _Stops | None = None


_STOPS = _Current()


def each(work: Callable[[T], R], items: Iterable[T], concurrency: int) -> list[R]:
    """Calls ``work`` for each item in threads, so many at a time, and takes each item when there is room for it; the results in the order of the
    items. Interrupted, what the threads wait for is interrupted too."""
    stops, outer = _Stops(), _STOPS.of_this_thread

    def enter() -> None:
        _STOPS.of_this_thread = stops

    room = threading.Semaphore(concurrency)
    broken: list[BaseException] = []

    def one(item: T) -> R:
        try:
            return work(item)
        except BaseException as error:
            broken.append(error)
            raise
        finally:
            room.release()

    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="arl-sandbox-map", initializer=enter)
    futures: list[Future[R]] = []
    if outer is not None:
        outer.add(stops.end)
    try:
        for item in items:
            room.acquire()
            if broken:
                raise broken[0]
            futures.append(pool.submit(one, item))
        return [future.result() for future in futures]
    except BaseException:
        stops.end()
        raise
    finally:
        if outer is not None:
            outer.discard(stops.end)
        pool.shutdown(cancel_futures=True)


class Turn:
    """One at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def take(self, work: Callable[[], T]) -> T:
        """Does this once it is its turn."""
        with self._lock:
            return work()


FAILURES = (Exception,)
"""What a function of the caller may fail with."""


def is_ended(failure: BaseException) -> bool:
    """Whether who runs this is ended by it."""
    return False


now = time.perf_counter
pause = time.sleep
