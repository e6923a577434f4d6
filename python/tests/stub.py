"""A stand-in for the native half: calls that a test ends, so that it says in which order things happen."""

from __future__ import annotations

import itertools
import os
import socket
import weakref
from collections.abc import Callable
from typing import Any


class Completions:
    """As python/src/call.rs has it."""

    def __init__(self, blocking: bool) -> None:
        self.woken, self._wake = socket.socketpair()
        self.woken.setblocking(blocking)
        self.done: list[tuple[int, Any, Any]] = []

    delivered: list[Any] = []
    """What came out of any of them."""

    def fileno(self) -> int:
        """What a byte arrives at."""
        return self.woken.fileno()

    def push(self, key: int, value: Any, failure: Any) -> None:
        """A result comes."""
        self.done.append((key, value, failure))
        if len(self.done) == 1:
            self._wake.send(b"\0")

    def clear(self) -> None:
        """Takes the bytes."""
        self.woken.recv(64)

    def wake(self) -> None:
        """Without a result."""
        self._wake.send(b"\0")

    def drain(self, pending: dict[int, Any], arrived: list[tuple[Any, Any, Any]]) -> None:
        """What has come."""
        done, self.done = self.done, []
        for key, value, failure in done:
            if key in pending:
                self.delivered.append(value)
                arrived.append((pending.pop(key), value, failure))


class Call:
    """One that ends when it is told to, or as soon as it is started."""

    def __init__(self, *outcome: Any) -> None:
        self._outcome = outcome
        self._started: tuple[Completions, int] | None = None
        self.cancelled = False
        self.on_start: Callable[[], object] = lambda: None

    @property
    def started(self) -> bool:
        """Whether it is on its way, or ended."""
        return self._started is not None

    def start(self, completions: Completions, key: int) -> None:
        """Begins."""
        assert self._started is None
        self._started = (completions, key)
        if self._outcome:
            self.end(*self._outcome)
        self.on_start()

    def forget(self) -> None:
        """Begins for nobody."""
        self.start(Completions(False), 0)

    def cancel(self) -> None:
        """Nothing comes of it any more."""
        self.cancelled = True

    def end(self, value: Any, failure: Any = None) -> None:
        """Ends it, unless it was cancelled."""
        assert self._started is not None
        if not self.cancelled:
            completions, key = self._started
            completions.push(key, value, failure)


REFUSED = {"name": "api", "message": "the API server answers 500", "fault": "infrastructure", "code": 500}
"""What a request fails with."""


class Process:
    """One that does these things, at once or when a call ends."""

    id = pid = 1

    def __init__(self, *events: Call) -> None:
        self._events = list(events)

    def next(self) -> Call:
        """What it does next. That stays the next where the call is dropped before it is started."""
        while self._events[0].started:
            self._events.pop(0)
        return self._events[0]

    def kill(self, grace: Any) -> None:
        """It goes on all the same."""


class Files:
    """Files that all fail alike."""

    def __init__(self, failure: dict[str, Any]) -> None:
        self._failure = failure

    def read(self, *_: Any) -> Call:
        """Fails."""
        return Call(None, self._failure)

    write = read


_UIDS = itertools.count()
_ALL: weakref.WeakValueDictionary[str, Sandbox] = weakref.WeakValueDictionary()


class Sandbox:
    """A claimed one. ``releases``: the calls that are made to release it, in turn; then others, which succeed at once."""

    def __init__(
        self, name: str, *releases: Call, runs: list[Call] | None = None, files: Files | None = None
    ) -> None:
        self.name = name
        self.uid = f"uid-{next(_UIDS)}"
        _ALL[self.uid] = self
        self.pod = f"pod-of-{name}"
        self.container = None
        self._releases = list(releases)
        self.released: list[Call] = []
        self.forks = Call()
        self._runs = runs or []
        self.processes: list[Process] = []
        self._files = files

    def run(self, command: dict[str, Any]) -> Call:
        """The next one of ``runs``."""
        return self._runs.pop(0)

    def start(self, command: dict[str, Any]) -> Call:
        """The next one of ``processes``."""
        return Call(self.processes.pop(0))

    def files(self, user: str | None) -> Files | None:
        """Those that it was made with."""
        return self._files

    def release(self) -> Call:
        """Deletes it."""
        self.released.append(self._releases.pop(0) if self._releases else Call(None))
        return self.released[-1]

    def fork(self, count: int, directory: str) -> Call:
        """Ends when the test says so."""
        return self.forks

    @property
    def is_released(self) -> bool:
        """Whether one of the calls is on its way and not given up."""
        return any(call.started and not call.cancelled for call in self.released)


class Native:
    """A client for these Sandboxes; ``claims``: calls that give them."""

    run_id = "run"

    def __init__(self, *claims: Call) -> None:
        self._claims = list(claims)
        self.released: list[str] = []

    def release(self, name: str, uid: str) -> Call:
        """Deletes a Sandbox, whether or not somebody still holds it."""
        self.released.append(name)
        sandbox = _ALL.get(uid)
        return sandbox.release() if sandbox else Call(None)

    def claim(self, *_: Any) -> Call:
        """The next one."""
        return self._claims.pop(0)


def claimed(*sandboxes: Sandbox) -> Native:
    """A client that claims these at once."""
    return Native(*[Call(sandbox) for sandbox in sandboxes])
