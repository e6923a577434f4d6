"""Clients: the way to a namespace, and work on many Sandboxes."""

from __future__ import annotations

import logging
import os
import secrets
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from .. import _native
from .._arguments import folder, json_of, pairs, run_of, seconds, set_up_by, text, text_or_none, whole
from .._models import Snapshot, Timings
from .._progress import Progress
from .._timings import Clock
from ..errors import ArlError, UsageError
from ._calls import FAILURES, each, finish, forget, is_ended, now, pause, result
from .sandbox import Sandbox

T = TypeVar("T")
R = TypeVar("R")

_LOGGER = logging.getLogger("arl_sandbox")
# Seconds before the first retry, and how often that is doubled.
_RETRY_PAUSE = 0.25
_RETRY_PAUSE_DOUBLED_MAX = 6
_DEFAULT: dict[str | None, Client] = {}


class Client:
    """A client for one namespace. It connects when it is first used, and keeps one watch for all claims.

    ``kubeconfig``: a path; otherwise that of the environment, or in a pod its ServiceAccount. ``context``: of the kubeconfig. ``namespace``:
    otherwise the one that these name. ``run_id``: the value of the label ``arl.infra.io/run-id`` on all that it creates, by which
    :meth:`reap` finds it; otherwise a new one. As a context manager it kills what it has claimed.
    """

    def __init__(
        self,
        *,
        kubeconfig: str | os.PathLike[str] | None = None,
        context: str | None = None,
        namespace: str | None = None,
        run_id: str | None = None,
    ) -> None:
        path, run = folder(kubeconfig, "kubeconfig"), run_of(text_or_none(run_id, "run_id") or secrets.token_hex(8))
        context, namespace = text_or_none(context, "context"), text_or_none(namespace, "namespace")
        self._native = _native.Client(path, context, namespace, run)
        self._clock = Clock()
        # The uids of those that it has claimed, by name: a Sandbox that nobody else holds has no stream that keeps it from being idle.
        self._held: dict[str, tuple[str | None, weakref.ref[_native.Sandbox]]] = {}
        self._closed = 0

    @classmethod
    def default(cls, namespace: str | None = None) -> Client:
        """The one that :meth:`Sandbox.create` uses where it is given none: one for each namespace and process."""
        return _DEFAULT.setdefault(namespace, cls(namespace=namespace))

    @property
    def run_id(self) -> str:
        """The run that all belongs to that it creates."""
        return self._native.run_id

    @property
    def timings(self) -> Timings:
        """How long claims and commands (those that were waited for) took so far, in seconds."""
        return self._clock.timings()

    def namespace(self) -> str:
        """Its namespace."""
        return result(self._native.namespace())

    def acquire(
        self,
        pool: str,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        envs: Mapping[str, str] | None = None,
        sandbox_envs: Mapping[str, str] | None = None,
        setup: Sequence[Mapping[str, Any]] | None = None,
        setup_timeout: float = 30,
        timeout: float = 3600,
        wait: float = 300,
        snapshot: Snapshot | None = None,
    ) -> Sandbox:
        """Claims a Sandbox: see :meth:`Sandbox.create`."""
        marks, own = (pairs(labels, "labels"), pairs(sandbox_envs, "sandbox_envs")), dict(pairs(envs, "envs"))
        start = _kept(snapshot), set_up_by(setup, setup_timeout)
        pool, name = text(pool, "pool"), text_or_none(name, "name")
        began, closed = now(), self._closed
        call = self._native.claim(pool, name, marks, seconds(timeout, "timeout"), seconds(wait, "wait"), start)
        native = result(call, lost=_give_back)
        try:
            if closed != self._closed:
                raise UsageError(f"Sandbox {native.name} is given up again: its client was closed while it was claimed")
            sandbox = self._adopt(native, own)
            self._clock.claim.add(now() - began)
        except BaseException:
            _give_back(native)
            raise
        return sandbox

    def open(self, name: str, *, envs: Mapping[str, str] | None = None) -> Sandbox:
        """A Sandbox that was claimed before: see :meth:`Sandbox.connect`."""
        own = dict(pairs(envs, "envs"))
        return Sandbox(self, result(self._native.open(text(name, "name"))), own)

    def create_pool(
        self, name: str, template: Mapping[str, Any], *, replicas: int = 1, max_replicas: int | None = None
    ) -> None:
        """Makes a pool that belongs to this run, and is deleted by :meth:`reap`; claims wait for its pods. ``template``: of its pods, as in the
        API (``{"spec": {"containers": [...]}}``). ``replicas``: idle pods that it keeps; with ``max_replicas`` the least number, up to which it grows as
        Sandboxes ask for pods. Needs the right to create WarmPools.
        """
        spec: dict[str, Any] = {"replicas": whole(replicas, "replicas"), "template": template}
        if max_replicas is not None:
            spec["scaling"] = {"maxReplicas": whole(max_replicas, "max_replicas")}
        result(self._native.create_pool(text(name, "name"), json_of(spec, "the spec of the pool")))

    def delete_pool(self, name: str) -> None:
        """Deletes a pool and its idle pods; Sandboxes keep theirs. One that is gone already is no error."""
        result(self._native.delete_pool(text(name, "name")))

    def release(self, sandbox: Sandbox) -> None:
        """Gives a Sandbox up: the same as :meth:`Sandbox.kill`."""
        sandbox.kill()

    def reap(self, run_id: str | None = None) -> int:
        """Deletes the Sandboxes, Tasks and pools that a run left, its own without ``run_id``; returns how many Sandboxes there were."""
        return result(self._native.reap(self.run_id if run_id is None else run_of(run_id)))

    def map(
        self,
        items: Iterable[T],
        fn: Callable[[Sandbox, T], R],
        *,
        pool: str,
        concurrency: int = 32,
        retries: int = 2,
        return_exceptions: bool = False,
        progress: bool = False,
        **claim: Any,
    ) -> list[Any]:
        """Calls ``fn(sandbox, item)`` for each item with a Sandbox of its own, ``concurrency`` at a time; the results in the order of the items.

        Where it fails by the infrastructure's fault (``error.fault``) it is called again in another Sandbox, ``retries`` times, after a pause
        that doubles. All items are tried; then the first error is raised, or with ``return_exceptions`` errors stand in the list. ``progress``: a bar on a terminal, where
        tqdm is installed. ``claim``: as for :meth:`acquire`. The sync face calls ``fn`` in ``concurrency`` threads.
        """
        attempts, concurrency = whole(retries, "retries") + 1, whole(concurrency, "concurrency", 1)
        waiting = _iterator(items, fn)
        with Progress(items, progress) as bar:

            def one(item: T) -> R | _Failed:
                done: R | _Failed
                for attempt in range(attempts):
                    if attempt:
                        pause(_RETRY_PAUSE * 2 ** min(attempt - 1, _RETRY_PAUSE_DOUBLED_MAX))
                    try:
                        done = self._once(pool, item, fn, claim)
                        break
                    except FAILURES as error:
                        if is_ended(error):
                            raise
                        done = _Failed(error)
                        if not (isinstance(error, ArlError) and error.fault == "infrastructure"):
                            break
                bar.advance()
                return done

            results = each(one, waiting, concurrency)
        failed = [done.error for done in results if isinstance(done, _Failed)]
        if failed and not return_exceptions:
            raise failed[0]
        return [done.error if isinstance(done, _Failed) else done for done in results]

    def _once(
        self, pool: str, item: T, fn: Callable[[Sandbox, T], R], claim: Mapping[str, Any]
    ) -> R:
        sandbox = self.acquire(pool, **claim)
        try:
            return fn(sandbox, item)
        finally:
            self._let_go([sandbox])

    def _adopt(self, native: _native.Sandbox, envs: Mapping[str, str]) -> Sandbox:
        sandbox = Sandbox(self, native, envs)
        self._held[native.name] = (native.uid, weakref.ref(native))
        return sandbox

    def _gone(self, name: str, uid: str | None) -> None:
        # Another of its name may have been claimed since.
        if name in self._held and self._held[name][0] == uid:
            del self._held[name]

    def _kill(self, sandboxes: Sequence[Sandbox]) -> None:
        natives = [sandbox._native for sandbox in sandboxes]
        finish([(native.release(), partial(self._gone, native.name, native.uid)) for native in natives])

    def _let_go(self, sandboxes: Sequence[Sandbox]) -> None:
        """Kills them after their work, whose outcome stands where that fails."""
        try:
            self._kill(sandboxes)
        except ArlError as error:
            _LOGGER.warning("a Sandbox is left, and is deleted once its idle time is over: %s", error)

    def close(self) -> None:
        """Kills what it has claimed and what was not killed yet: tries all of them, and raises the first error then. Cancelled, that goes on. A claim
        that is on its way then fails (:class:`UsageError`); later ones do not."""
        self._closed += 1
        finish(
            [
                (self._release(name, uid, native()), partial(self._gone, name, uid))
                for name, (uid, native) in list(self._held.items())
            ]
        )

    def _release(self, name: str, uid: str | None, native: _native.Sandbox | None) -> _native.Call[None]:
        # One that somebody still has takes no more: its pod would answer for a moment.
        return self._native.release(name, uid) if native is None else native.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Failed:
    """What came of an item that failed. A function may return exceptions, too."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _iterator(items: Iterable[T], fn: object) -> Iterator[T]:
    if not callable(fn):
        raise UsageError(f"fn is {fn!r} and has to be a function of a Sandbox and an item")
    try:
        return iter(items)
    except TypeError as error:
        raise UsageError(f"items cannot be iterated over: {error}") from error


def _kept(snapshot: Snapshot | None) -> tuple[int, str, bytes | str] | None:
    if snapshot is not None and not isinstance(snapshot, Snapshot):
        raise UsageError(f"snapshot is a {type(snapshot).__name__} and has to be what snapshot() returned")
    return None if snapshot is None else snapshot.kept()


def _give_back(sandbox: _native.Sandbox) -> None:
    """Nobody has it."""
    forget(sandbox.release())


Sandbox._default = Client.default
