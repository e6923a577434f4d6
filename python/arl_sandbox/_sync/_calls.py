"""Waiting for calls in threads. Signal handlers run meanwhile: the wait is a read from a socket, which Python itself interrupts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from .._logs import pass_on
from .._native import Call, Completions
from ..errors import from_native

T = TypeVar("T")
R = TypeVar("R")


class _Waiter:
    """Where one thread waits for one call at a time."""

    def __init__(self) -> None:
        self._completions = Completions(True)
        self._pending: dict[int, bool] = {}
        self._key = 0
        self.outcome: tuple[Any, Any] | None = None

    def start(self, call: Call[Any]) -> None:
        self._key += 1
        self.outcome = None
        self._pending = {self._key: True}
        call.start(self._completions, self._key)

    def wait(self) -> None:
        while self.outcome is None:
            os.read(self._completions.fileno(), 64)
            for _, value, failure in self._completions.drain(self._pending):
                self.outcome = (value, failure)


_IDLE: list[_Waiter] = []


class Begun(Generic[T]):
    """A call on its way."""

    def __init__(self, call: Call[T]) -> None:
        self._call = call
        self._waiter = _IDLE.pop() if _IDLE else _Waiter()
        self._waiter.start(call)

    def result(self) -> T:
        """Waits for it. Where that is interrupted, it may be waited for again."""
        self._waiter.wait()
        pass_on()
        outcome = self._waiter.outcome
        assert outcome is not None
        _IDLE.append(self._waiter)
        value, failure = outcome
        if failure is not None:
            raise from_native(failure)
        return value  # type: ignore[no-any-return]

    def cancel(self) -> None:
        """Gives it up."""
        self._call.cancel()


def begin(call: Call[T]) -> Begun[T]:
    """Starts a call, to be waited for by :func:`resume`."""
    return Begun(call)


def resume(begun: Begun[T]) -> T:
    """Waits for a call that was begun. Interrupted, it goes on."""
    return begun.result()


def result(call: Call[T], lost: Callable[[T], object] | None = None) -> T:
    """Starts a call and waits for it. Interrupted, it is given up, with what it has begun in a pod."""
    begun = Begun(call)
    try:
        return begun.result()
    except BaseException:
        begun.cancel()
        raise


def forget(call: Call[Any]) -> None:
    """Starts a call that nobody waits for."""
    call.start(Completions(True), 0)


def finish(calls: Sequence[tuple[Call[Any], Callable[[], object]]]) -> None:
    """Starts all calls and waits for all of them; each that succeeds is followed by its function. Interrupted, they go on. Raises the first error."""
    completions = Completions(True)
    pending = dict(enumerate(calls))
    for key, (call, _) in enumerate(calls):
        call.start(completions, key)
    failures = []
    while pending:
        os.read(completions.fileno(), 64)
        for (_, then), _, failure in completions.drain(pending):
            if failure is None:
                then()
            else:
                failures.append(failure)
    pass_on()
    if failures:
        raise from_native(failures[0])


def called(value: Any) -> None:
    """What a callback returned."""


def each(work: Callable[[T], R], items: Iterable[T], concurrency: int) -> list[R]:
    """Calls ``work`` for each item in threads, so many at a time; the results in the order of the items."""
    with ThreadPoolExecutor(max(1, concurrency), thread_name_prefix="arl-sandbox-map") as pool:
        return list(pool.map(work, items))


now = time.perf_counter
