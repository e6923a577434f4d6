"""Processes of a Sandbox that were started."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self, TypeAlias

from .. import _native
from .._arguments import content_bytes, seconds, terminal, whole
from .._models import Collected, Output
from .._results import CommandResult
from ..errors import from_native
from ._calls import Begun, Turn, begin, called, result, resume

Callback: TypeAlias = Callable[[str], object]


class AsyncCommandHandle:
    """A process that was started, in the background or by :meth:`AsyncCommands.connect`.

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
        self._turn = Turn()
        self._callbacks = {"stdout": on_stdout, "stderr": on_stderr}
        self._check = check

    @property
    def id(self) -> int:
        """Its name, by which :meth:`AsyncCommands.connect` finds it again. It is never used again."""
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

    async def _event(self) -> tuple[Any, Output | None]:
        if self._collected.result is not None:
            return None, None
        # What is coming is kept until it was taken, also where the wait for it is given up: no output is lost. Nothing comes after a failure.
        if self._coming is None:
            self._coming = begin(self._native.next())
        event = await resume(self._coming)
        output = None if event[0] == "rejected" else self._collected.add(event)
        self._coming = None
        return event, output

    async def _next(self) -> Output | None:
        event, output = await self._turn.take(self._event)
        if event is not None and event[0] == "rejected":
            kind, message = event[1:]
            raise from_native({"name": "remote", "kind": kind, "message": message, "fault": "usage"})
        return output

    async def __aiter__(self) -> AsyncIterator[Output]:
        """What it prints, piece by piece, until it ends."""
        while self._collected.result is None:
            output = await self._next()
            if output is not None:
                yield output

    async def wait(
        self, *, on_stdout: Callback | None = None, on_stderr: Callback | None = None, check: bool | None = None
    ) -> CommandResult:
        """Waits for its end. Callbacks are given text as it is printed; coroutine functions are awaited by the async face.

        ``check``: raise :class:`CommandError` unless it exited with 0. The output in the result is all that was printed since it was started,
        up to ``keep``.

        Raises :class:`PodLostError` where the pod is gone, and :class:`RemoteError` (``kind`` ``"lost"``) where its end will never be known.
        """
        callbacks = {"stdout": on_stdout or self._callbacks["stdout"], "stderr": on_stderr or self._callbacks["stderr"]}
        while self._collected.result is None:
            output = await self._next()
            callback = callbacks[output.stream] if output is not None else None
            if output is not None and callback is not None and output.text:
                await called(callback(output.text))
        end = self._collected.result
        return end.check() if (self._check if check is None else check) else end

    async def send_stdin(self, data: str | bytes) -> None:
        """Writes to its standard input, which ``stdin=True`` or a terminal gives it. Waits while it does not read.

        Raises :class:`StdinClosedError` where it does not read any more, :class:`UsageError` where it has no standard input.
        """
        await result(self._native.write_stdin(content_bytes(data)))

    async def close_stdin(self) -> None:
        """It reads the end of its standard input."""
        await result(self._native.close_stdin())

    async def kill(self, *, grace: float | None = None) -> None:
        """Ends it and all that it started: TERM, ``grace`` seconds (2 by default), KILL. :meth:`wait` says when that is done."""
        self._native.kill(None if grace is None else seconds(grace, "grace"))

    async def send_signal(self, signal: int) -> None:
        """Sends a signal to it and its process group."""
        self._native.signal(whole(signal, "signal", 1, 64))

    async def resize(self, columns: int, rows: int) -> None:
        """Its terminal has another size."""
        self._native.resize(*terminal((columns, rows), "the terminal"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends it where it still runs."""
        if self._collected.result is None:
            await self.kill()
