"""Live commands of a Sandbox."""

from __future__ import annotations

from collections.abc import Iterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, overload
from weakref import WeakValueDictionary

from .. import _native
from .._arguments import command as command_of
from .._arguments import content_bytes, seconds
from .._models import Collected, Output, ProcessInfo
from .._results import CommandResult, finished
from .._timings import Clock
from ..errors import RemoteError, from_native
from ._calls import Begun, Lock, begin, called, now, result, resume

Callback: TypeAlias = Callable[[str], object]


class CommandHandle:
    """A process that was started, in the background or by :meth:`Commands.connect`.

    Iterate over it for its output as it comes, or :meth:`wait` for its end. Until then it is never held up: the last 8 MiB of its output are
    kept here, and what is older becomes a gap. While it is iterated over or waited for, nothing is dropped and a slow reader slows it.
    Of several who do so at once, each is given a part of it, and all are given its end. The process goes on when the handle is dropped.
    """

    def __init__(
        self,
        native: _native.Process,
        keep: int,
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
        check: bool = False,
    ) -> None:
        self._native = native
        self._collected = Collected(keep)
        self._coming: Begun[tuple[Any, ...]] | None = None
        self._turn = Lock()
        self._failure: Exception | None = None
        self._callbacks = {"stdout": on_stdout, "stderr": on_stderr}
        self._check = check

    @property
    def id(self) -> int:
        """Its name, by which :meth:`Commands.connect` finds it again. It is never used again."""
        return self._native.id

    @property
    def pid(self) -> int:
        """Its number in the pod."""
        return self._native.pid

    @property
    def exit_code(self) -> int | None:
        """The code that it exited with, once that was waited for."""
        end = self._collected.result
        return None if end is None else end.exit_code

    def _next(self) -> Output | None:
        with self._turn:
            if self._failure is not None:
                raise self._failure
            if self._collected.result is not None:
                return None
            # What is coming is kept until it was taken, also where the wait for it is given up: no output is lost.
            if self._coming is None:
                self._coming = begin(self._native.next())
            try:
                event = resume(self._coming)
            except Exception as error:
                self._failure = error
                raise
            output = None if event[0] == "rejected" else self._collected.add(event)
            self._coming = None
        if event[0] == "rejected":
            kind, message = event[1:]
            raise from_native({"name": "remote", "kind": kind, "message": message, "fault": "usage"})
        return output

    def __iter__(self) -> Iterator[Output]:
        """What it prints, piece by piece, until it ends."""
        while self._collected.result is None:
            output = self._next()
            if output is not None:
                yield output

    def wait(
        self, *, on_stdout: Callback | None = None, on_stderr: Callback | None = None, check: bool | None = None
    ) -> CommandResult:
        """Waits for its end. Callbacks are given text as it is printed; coroutine functions are awaited by the async face.

        ``check``: raise :class:`CommandError` unless it exited with 0. The output in the result is all that was printed since it was started,
        up to ``keep``.

        Raises :class:`PodLostError` where the pod is gone, and :class:`RemoteError` (``kind`` ``"lost"``) where its end will never be known.
        """
        callbacks = {"stdout": on_stdout or self._callbacks["stdout"], "stderr": on_stderr or self._callbacks["stderr"]}
        while self._collected.result is None:
            output = self._next()
            callback = callbacks[output.stream] if output is not None else None
            if output is not None and callback is not None and output.text:
                called(callback(output.text))
        end = self._collected.result
        return end.check() if (self._check if check is None else check) else end

    def send_stdin(self, data: str | bytes) -> None:
        """Writes to its standard input, which ``stdin=True`` or a terminal gives it. Waits while it does not read.

        Raises :class:`StdinClosedError` where it does not read any more, :class:`UsageError` where it has no standard input.
        """
        result(self._native.write_stdin(content_bytes(data)))

    def close_stdin(self) -> None:
        """It reads the end of its standard input."""
        result(self._native.close_stdin())

    def kill(self, *, grace: float | None = None) -> None:
        """Ends it and all that it started: TERM, ``grace`` seconds (2 by default), KILL. :meth:`wait` says when that is done."""
        self._native.kill(None if grace is None else seconds(grace, "grace"))

    def send_signal(self, signal: int) -> None:
        """Sends a signal to it and its process group."""
        self._native.signal(int(signal))

    def resize(self, columns: int, rows: int) -> None:
        """Its terminal has another size."""
        self._native.resize(columns, rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends it where it still runs."""
        if self._collected.result is None:
            self.kill()


class Commands:
    """Runs commands in a Sandbox, several at once if need be."""

    def __init__(self, native: _native.Sandbox, envs: Mapping[str, str], clock: Clock) -> None:
        self._native = native
        self._envs = envs
        self._clock = clock
        self._handles: WeakValueDictionary[int, CommandHandle] = WeakValueDictionary()

    @overload
    def run(
        self,
        cmd: str | Sequence[str],
        *,
        background: Literal[False] = False,
        envs: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: str | None = None,
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
    def run(
        self,
        cmd: str | Sequence[str],
        *,
        background: Literal[True],
        envs: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: str | None = None,
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
        stdin: bool | str | bytes | None = None,
        tty: tuple[int, int] | None = None,
        timeout: float | None = None,
        grace: float | None = None,
        keep: int | None = None,
        check: bool = False,
    ) -> CommandHandle: ...

    def run(
        self,
        cmd: str | Sequence[str],
        *,
        background: bool = False,
        envs: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: str | None = None,
        on_stdout: Callback | None = None,
        on_stderr: Callback | None = None,
        stdin: bool | str | bytes | None = None,
        tty: tuple[int, int] | None = None,
        timeout: float | None = None,
        grace: float | None = None,
        keep: int | None = None,
        check: bool = False,
    ) -> CommandResult | CommandHandle:
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
            end = finished(result(self._native.run(command)))
            self._clock.command.add(now() - began)
            return end.check() if check else end
        native = result(self._native.start(command), lost=_kill)
        handle = self._handle(native, command["keep"], on_stdout, on_stderr, check)
        if background:
            return handle
        try:
            return handle.wait()
        except BaseException:
            native.kill(None)
            raise
        finally:
            self._clock.command.add(now() - began)

    def list(self) -> list[ProcessInfo]:
        """The live processes in the Sandbox, and those that have ended and were not waited for."""
        return [ProcessInfo(*row) for row in result(self._native.processes())]

    def connect(self, pid: int, *, keep: int | None = None) -> CommandHandle:
        """Follows a process that was started before, by this program or another, from the first byte on that is kept of its output
        (256 KiB of each at least).

        ``pid``: its number in the pod, or its ``id``. Where this object follows it already, it is the same handle; a command that it waits for is
        refused (:class:`UsageError`). Raises :class:`RemoteError` (``kind`` ``"unknown_process"``) where there is none.
        """
        found = self._find(pid)
        if found is None:
            message = f"there is no live process {pid}"
            raise RemoteError(message, fault="task", kind="unknown_process", pod=self._native.pod)
        known = self._handles.get(found)
        if known is not None:
            return known
        limit = _native.KEEP_MAX if keep is None else keep
        return self._handle(result(self._native.attach(found)), limit)

    def _handle(self, native: _native.Process, keep: int, *options: Any) -> CommandHandle:
        handle = CommandHandle(native, keep, *options)
        self._handles[handle.id] = handle
        return handle

    def kill(self, pid: int, *, grace: float | None = None) -> bool:
        """Ends a process and all that it started: TERM, ``grace`` seconds (2 by default), KILL; false where there is none."""
        found = self._find(pid)
        if found is not None:
            self._native.kill(found, None if grace is None else seconds(grace, "grace"))
        return found is not None

    def _find(self, pid: int) -> int | None:
        rows = self.list()
        return next((row.id for row in rows if pid in (row.id, row.pid) and not row.ended), None) or next(
            (row.id for row in rows if pid in (row.id, row.pid)), None
        )


def _kill(process: _native.Process) -> None:
    process.kill(None)
