"""Live commands of a Sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal, overload
from weakref import WeakValueDictionary

from .. import _native
from .._arguments import command as command_of
from .._arguments import keep_of, seconds, whole
from .._models import ProcessInfo
from .._results import CommandResult, finished
from .._timings import Clock
from ..errors import RemoteError
from ._calls import now, result
from .handle import AsyncCommandHandle, Callback


class AsyncCommands:
    """Runs commands in a Sandbox, several at once if need be."""

    def __init__(self, native: _native.Sandbox, envs: Mapping[str, str], clock: Clock) -> None:
        self._native = native
        self._envs = envs
        self._clock = clock
        self._handles: WeakValueDictionary[int, AsyncCommandHandle] = WeakValueDictionary()

    @overload
    async def run(
        self,
        cmd: str | Sequence[str | PathLike[str]],
        *,
        background: Literal[False] = False,
        envs: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: str | PathLike[str] | None = None,
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
        stdin: bool | str | bytes | None = None,
        tty: tuple[int, int] | None = None,
        timeout: float | None = None,
        grace: float | None = None,
        keep: int | None = None,
        check: bool = False,
    ) -> CommandResult: ...

    @overload
    async def run(
        self,
        cmd: str | Sequence[str | PathLike[str]],
        *,
        background: Literal[True],
        envs: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: str | PathLike[str] | None = None,
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
        stdin: bool | str | bytes | None = None,
        tty: tuple[int, int] | None = None,
        timeout: float | None = None,
        grace: float | None = None,
        keep: int | None = None,
        check: bool = False,
    ) -> AsyncCommandHandle: ...

    @overload
    async def run(
        self,
        cmd: str | Sequence[str | PathLike[str]],
        *,
        background: bool,
        envs: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: str | PathLike[str] | None = None,
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
        stdin: bool | str | bytes | None = None,
        tty: tuple[int, int] | None = None,
        timeout: float | None = None,
        grace: float | None = None,
        keep: int | None = None,
        check: bool = False,
    ) -> CommandResult | AsyncCommandHandle: ...

    async def run(
        self,
        cmd: str | Sequence[str | PathLike[str]],
        *,
        background: bool = False,
        envs: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: str | PathLike[str] | None = None,
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
        stdin: bool | str | bytes | None = None,
        tty: tuple[int, int] | None = None,
        timeout: float | None = None,
        grace: float | None = None,
        keep: int | None = None,
        check: bool = False,
    ) -> CommandResult | AsyncCommandHandle:
        """Runs a command to its end, or starts it (``background=True``).

        ``cmd``: a script for the container's ``sh``, or a program with its arguments. ``envs`` (or ``env``): variables beside the container's.
        ``cwd``: relative to the container's working directory, where it runs otherwise. ``user``: a name, or ``uid[:gid]``; needs an agent that
        is root. ``stdin``: its standard input, empty by default; ``True``: written by the handle. ``tty``: a terminal of (columns, rows);
        all output then is standard output. ``on_stdout``, ``on_stderr``: given text as it is printed; of a process in the background,
        while it is waited for.

        ``timeout``: seconds after which it is ended (TERM, ``grace`` seconds, 2 by default, KILL); the result then is ``timed_out`` and has what
        was printed. ``keep``: bytes of each output that the result has, 64 MiB by default; what comes after them is counted and dropped.
        ``check``: raise :class:`CommandError` unless it exited with 0.

        A code other than 0, a timeout and the memory limit are results. Raises :class:`NotFoundError` and other :class:`RemoteError` where it
        cannot be started, :class:`PodLostError` where the pod goes meanwhile. Cancelled (or interrupted), the command is ended in the pod; one
        whose client dies is ended after 60 s, unless it is in the background.
        """
        following = background or on_stdout is not None or on_stderr is not None or stdin is True
        command = command_of(
            cmd,
            defaults=self._envs,
            envs=envs,
            env=env,
            cwd=cwd,
            user=user,
            stdin=stdin,
            tty=tty,
            timeout=timeout,
            grace=grace,
            background=background,
            keep=keep,
        )
        began = now()
        if not following:
            end = finished(await result(self._native.run(command)))
            self._clock.command.add(now() - began)
            return end.check() if check else end
        native = await result(self._native.start(command), lost=_kill)
        handle = self._handle(native, command["keep"], on_stdout, on_stderr, check)
        if background:
            return handle
        try:
            return await handle.wait()
        except BaseException:
            native.kill(None)
            raise
        finally:
            self._clock.command.add(now() - began)

    async def list(self) -> list[ProcessInfo]:
        """The live processes in the Sandbox, and those that have ended and were not waited for."""
        return [ProcessInfo(*row) for row in await result(self._native.processes())]

    async def connect(self, pid: int, *, keep: int | None = None) -> AsyncCommandHandle:
        """Follows a process that was started before, by this program or another, from the first byte on that is kept of its output
        (256 KiB of each at least).

        ``pid``: its number in the pod, or its ``id``. Where this object follows it already, it is the same handle; a command that it waits for is
        refused (:class:`UsageError`). Raises :class:`RemoteError` (``kind`` ``"unknown_process"``) where there is none.
        """
        limit = keep_of(keep)
        found = await self._find(pid)
        if found is None:
            message = f"there is no live process {pid}"
            raise RemoteError(message, fault="task", kind="unknown_process", pod=self._native.pod)
        known = self._handles.get(found)
        if known is not None:
            return known
        return self._handle(await result(self._native.attach(found)), limit)

    def _handle(self, native: _native.Process, keep: int, *options: Any) -> AsyncCommandHandle:
        handle = AsyncCommandHandle(native, keep, *options)
        self._handles[handle.id] = handle
        return handle

    async def kill(self, pid: int, *, grace: float | None = None) -> bool:
        """Ends a process and all that it started: TERM, ``grace`` seconds (2 by default), KILL; false where there is none."""
        limit = None if grace is None else seconds(grace, "grace")
        found = await self._find(pid)
        if found is not None:
            self._native.kill(found, limit)
        return found is not None

    async def _find(self, pid: int) -> int | None:
        number = whole(pid, "pid", most=2**64 - 1)
        rows = [row for row in await self.list() if number in (row.id, row.pid)]
        return next((row.id for row in sorted(rows, key=lambda row: row.ended)), None)


def _kill(process: _native.Process) -> None:
    process.kill(None)
