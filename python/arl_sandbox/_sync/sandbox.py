"""Sandboxes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, ClassVar, Protocol, Self

from .. import _native
from .._arguments import folder, path_bytes, seconds, steps_json, whole
from .._models import Snapshot
from .._timings import Clock
from ..errors import from_native
from ._calls import forget, result
from .commands import Commands
from .files import Files, Path, save


WORKSPACE = "/workspace"
"""The directory that is copied where none is named."""


class Owner(Protocol):
    """Whose a Sandbox is: :class:`Client`, which builds on this module."""

    _clock: Clock

    @property
    def run_id(self) -> str: ...
    def namespace(self) -> str: ...
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
    ) -> Sandbox: ...
    def open(self, name: str, *, envs: Mapping[str, str] | None = None) -> Sandbox: ...
    def _adopt(self, native: _native.Sandbox, envs: Mapping[str, str]) -> Sandbox: ...
    def _kill(self, sandboxes: Sequence[Sandbox]) -> None: ...
    def _let_go(self, sandboxes: Sequence[Sandbox]) -> None: ...


class Sandbox:
    """A pod from a warm pool, claimed for the caller: :meth:`create` makes one. It lives until it is killed, or idle for too long; as a context
    manager until its end. May be used by many threads and tasks at once."""

    _default: ClassVar[Callable[[str | None], Owner]]

    def __init__(self, client: Owner, native: _native.Sandbox, envs: Mapping[str, str]) -> None:
        self._client = client
        self._native = native
        self._envs = dict(envs)
        self.commands = Commands(native, self._envs, client._clock)
        """Its commands."""
        self.files = Files(native)
        """Its files."""

    @classmethod
    def create(
        cls,
        pool: str,
        *,
        client: Owner | None = None,
        namespace: str | None = None,
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
        """Claims a Sandbox from a pool.

        ``client``: whose it is; otherwise one for the kubeconfig of the environment (in a pod: its ServiceAccount) and ``namespace``.
        ``name``: of the Sandbox; otherwise one that nothing else has. ``labels``: added to it. ``envs``: variables for all commands that are run
        by this object, which go nowhere else. ``sandbox_envs``: variables in the Sandbox object, for all commands in it, Tasks and other clients included;
        not for secrets. ``setup``: steps as :meth:`task` takes them, which are run once before the Sandbox is ready, within ``setup_timeout`` seconds
        and within ``wait``. ``timeout``: seconds of idle time after which it is deleted, so that a program that is killed leaves nothing for ever;
        it is not idle while commands run, nor, once there was one or a file call, while the program has this object.
        ``wait``: seconds that the claim may take. ``snapshot``: files that it starts with, from :meth:`snapshot`.

        Raises :class:`PoolNotFoundError` at once, :class:`NotReadyError` where there was no pod in time (its message says what the pool waits for) or a
        step of the setup failed, :class:`ForbiddenError` without the rights.
        """
        owner = client or cls._default(namespace)
        return owner.acquire(
            pool,
            name=name,
            labels=labels,
            envs=envs,
            sandbox_envs=sandbox_envs,
            setup=setup,
            setup_timeout=setup_timeout,
            timeout=timeout,
            wait=wait,
            snapshot=snapshot,
        )

    @classmethod
    def connect(
        cls,
        name: str,
        *,
        client: Owner | None = None,
        namespace: str | None = None,
        envs: Mapping[str, str] | None = None,
    ) -> Sandbox:
        """A Sandbox that was claimed before, by this program or another. ``client``, ``namespace``, ``envs``: as for :meth:`create`.

        A client that is closed leaves it alone; as a context manager it is killed at the end. Raises :class:`SandboxNotFoundError` where there
        is none, and :class:`NotReadyError` at once where it has no pod.
        """
        return (client or cls._default(namespace)).open(name, envs=envs)

    @property
    def name(self) -> str:
        """The name of the Sandbox object."""
        return self._native.name

    @property
    def sandbox_id(self) -> str:
        """The same as :attr:`name`."""
        return self._native.name

    @property
    def pool(self) -> str:
        """The name of its pool."""
        return self._native.pool

    @property
    def pod(self) -> str:
        """The name of its pod."""
        return self._native.pod

    @property
    def container(self) -> str | None:
        """The container of the pod that commands run in; None: its default one."""
        return self._native.container

    @property
    def client(self) -> Owner:
        """Whose it is."""
        return self._client

    def set_timeout(self, timeout: float) -> None:
        """Deletes it once it has been idle for ``timeout`` seconds (whole ones), whatever :meth:`create` said. Needs the right to patch Sandboxes."""
        result(self._native.set_idle_ttl(seconds(timeout, "timeout")))

    def kill(self) -> None:
        """Gives it up: the Sandbox and its pod are deleted. One that is gone already is no error. Cancelled (or interrupted), that goes on."""
        self._client._kill([self])

    def terminate(self) -> None:
        """The same as :meth:`kill`."""
        self.kill()

    def fork(
        self, count: int, *, path: str | os.PathLike[str] = WORKSPACE, return_exceptions: bool = False
    ) -> list[Any]:
        """Claims ``count`` more of the same pool and copies the directory ``path`` into each, from one pass over it. Only files: processes are not
        copied.

        Returns Sandboxes. Where one fails, the others are given up and its error is raised; with ``return_exceptions`` it stands in the list.
        """
        directory = folder(path, "path") or ""
        forks = result(self._native.fork(whole(count, "count"), directory), lost=_give_back)
        try:
            made = [self._forked(one) for one in forks]
        except BaseException:
            _give_back(forks)
            raise
        failed = [one for one in made if isinstance(one, BaseException)]
        if failed and not return_exceptions:
            self._client._let_go([one for one in made if isinstance(one, Sandbox)])
            raise failed[0]
        return made

    def _forked(self, one: _native.Sandbox | dict[str, Any]) -> Sandbox | BaseException:
        return from_native(one) if isinstance(one, dict) else self._client._adopt(one, self._envs)

    def snapshot(
        self, *paths: Path, to: str | os.PathLike[str] | IO[bytes] | None = None, user: str | None = None
    ) -> Snapshot:
        """Copies files, and directories with all that is in them, out of it as one tar archive, for :meth:`create` of others. Processes are not
        copied.

        ``paths``: absolute; ``/workspace`` where none is given. ``to``: where the archive is kept: in memory (None), in the file of a path, which is replaced, or in what a writer
        makes of it. ``user``: with that user's rights.
        """
        names = [path_bytes(path) for path in paths or (WORKSPACE,)]
        return save(self._native.files(user).snapshot(names), to)

    def task(self, steps: Sequence[Mapping[str, Any]], *, timeout: float | None = None) -> dict[str, Any]:
        """Runs a Task object in it, the audited way, and returns its status as the API has it. A Task that failed is a result too.

        ``steps``: as in the API, ``{"name": "a", "type": "Command", "command": ["true"]}``. ``timeout``: seconds.
        """
        limit = None if timeout is None else seconds(timeout, "timeout")
        status = result(self._native.task(steps_json(steps, "steps"), limit))
        return json.loads(status)  # type: ignore[no-any-return]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} of pool {self.pool}>"


def _give_back(forks: list[_native.Sandbox | dict[str, Any]]) -> None:
    """Nobody has them."""
    for one in forks:
        if not isinstance(one, dict):
            forget(one.release())
