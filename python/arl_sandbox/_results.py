"""What came of commands, and the errors that say so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal, TypeAlias

from .errors import ArlError

Stream: TypeAlias = Literal["stdout", "stderr"]
Cause: TypeAlias = Literal["timed_out", "out_of_memory", "killed", "abandoned"]


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes of an output that are not there any more, because nobody followed the process while it printed them."""

    stream: Stream
    start: int
    """The first byte."""
    end: int
    """The byte after the last."""


_SHOWN = 200
"""So many characters of an output, its end, are in what is printed of a result."""


@dataclass(frozen=True, repr=False)
class CommandResult:
    """What came of a command. A code other than 0 is a result too: see :meth:`check`."""

    exit_code: int
    """The code that it exited with, or 128 and the number of the signal that ended it."""
    stdout_bytes: bytes
    """What it printed, up to the ``keep`` of the command (64 MiB by default)."""
    stderr_bytes: bytes
    signal: int | None = None
    """The signal that ended it."""
    cause: Cause | None = None
    """What ended it, if that was not itself: its timeout, the container's memory limit, a ``kill``, or the lack of a client."""
    started_at: datetime | None = None
    """By the clock of this machine."""
    ended_at: datetime | None = None
    printed: tuple[int, int] = (0, 0)
    """How many bytes it printed on standard output and standard error, kept or not."""
    gaps: tuple[Gap, ...] = ()
    survivors: tuple[str, ...] = ()
    """Processes that it started and that could not be ended."""

    def __repr__(self) -> str:
        shown: dict[str, object] = {"exit_code": self.exit_code}
        for name, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            if text:
                shown[name] = text if len(text) <= _SHOWN else "..." + text[-_SHOWN:]
        told = {name: getattr(self, name) for name in ("signal", "cause", "gaps", "survivors")}
        shown |= {name: value for name, value in told.items() if value}
        return f"CommandResult({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @cached_property
    def stdout(self) -> str:
        """Standard output as UTF-8; bytes that are not become U+FFFD."""
        return self.stdout_bytes.decode(errors="replace")

    @cached_property
    def stderr(self) -> str:
        """Standard error as UTF-8; bytes that are not become U+FFFD."""
        return self.stderr_bytes.decode(errors="replace")

    @property
    def ok(self) -> bool:
        """Whether it exited with 0 by itself."""
        return self.exit_code == 0 and self.cause is None

    @property
    def timed_out(self) -> bool:
        """Whether its own timeout ended it."""
        return self.cause == "timed_out"

    @property
    def out_of_memory(self) -> bool:
        """Whether the container's memory limit ended it."""
        return self.cause == "out_of_memory"

    @property
    def truncated(self) -> bool:
        """Whether some of the output is not there."""
        return self.printed != (len(self.stdout_bytes), len(self.stderr_bytes))

    @property
    def lost(self) -> int:
        """How many bytes of its output the :attr:`gaps` are."""
        return sum(gap.end - gap.start for gap in self.gaps)

    @property
    def duration(self) -> float:
        """Seconds from its start to its end, measured in the pod."""
        if self.started_at is None or self.ended_at is None:
            return 0.0
        return (self.ended_at - self.started_at).total_seconds()

    def check(self) -> CommandResult:
        """Returns itself where it is :attr:`ok`; raises :class:`CommandError` otherwise, whose fault is the task's."""
        if self.ok:
            return self
        error, how = CommandError, f"exited with {self.exit_code}"
        if self.timed_out:
            error, how = CommandTimeoutError, "was ended by its timeout"
        elif self.out_of_memory:
            error, how = CommandMemoryError, "was ended by the memory limit of its container"
        elif self.cause is not None:
            how = f"was {self.cause}"
        elif self.signal is not None:
            how = f"was ended by signal {self.signal}"
        end = self.stderr[-2000:].strip()
        raise error(f"the command {how}" + (f": {end}" if end else ""), fault="task", result=self)


class CommandError(ArlError):
    """A command failed that was run with ``check=True``. ``result`` has what it printed."""

    result: CommandResult

    @property
    def exit_code(self) -> int:
        """The code that it exited with, or 128 and the number of the signal that ended it."""
        return self.result.exit_code


class CommandTimeoutError(CommandError, TimeoutError):
    """It was ended by its own timeout."""


class CommandMemoryError(CommandError):
    """It was ended by the container's memory limit."""


def result_of(end: Any, stdout: bytes, stderr: bytes, printed: tuple[int, int], gaps: list[Gap]) -> CommandResult:
    """From what the native half says."""
    code, signal, cause, survivors, started, ended = end
    return CommandResult(
        code,
        stdout,
        stderr,
        signal,
        cause,
        datetime.fromtimestamp(started, UTC),
        datetime.fromtimestamp(ended, UTC),
        printed,
        tuple(gaps),
        tuple(survivors),
    )


def finished(value: Any) -> CommandResult:
    """From what the native half says of a command that it has waited for."""
    end, stdout, stderr, printed, gaps = value
    return result_of(end, stdout, stderr, tuple(printed), [Gap(*gap) for gap in gaps])
