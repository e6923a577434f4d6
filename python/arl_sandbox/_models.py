"""What calls return."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import IO, Any, Literal, TypeAlias

from ._results import CommandResult, Gap, Stream, result_of
from .errors import UsageError

FileType: TypeAlias = Literal["file", "dir", "link", "pipe", "socket", "device"]


@dataclass(frozen=True, slots=True)
class Output:
    """Something that a process printed."""

    stream: Stream
    data: bytes
    text: str
    """``data`` as UTF-8; what is not becomes U+FFFD. A character that ends in the next piece is in the next piece's text."""


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A live process in a Sandbox."""

    id: int
    """Its name, which is never used again."""
    pid: int
    """Its number in the pod."""
    command: str
    """The beginning of its program and arguments."""
    background: bool
    """Whether it goes on without a client."""
    tty: bool
    running_for: float
    """Seconds since it was started."""
    ended: bool


@dataclass(frozen=True, slots=True)
class EntryInfo:
    """What is under a name in a Sandbox."""

    name: str
    path: str
    type: FileType
    size: int
    """Bytes."""
    mode: int
    """Permission bits."""
    uid: int
    gid: int
    modified_time: datetime
    symlink_target: str | None


@dataclass(frozen=True, slots=True)
class WriteInfo:
    """A file that was written."""

    name: str
    path: str
    size: int
    """Bytes that were written."""
    type: FileType = "file"


@dataclass(frozen=True, slots=True)
class WriteEntry:
    """A file to write."""

    path: str
    data: str | bytes | IO[bytes] | IO[str]
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Files of a Sandbox, as one tar archive of absolute paths."""

    size: int
    """Bytes of the archive."""
    sha256: str
    """Its digest, in hexadecimal digits: an archive that is another one is not taken for it."""
    archive: bytes | str | None = field(default=None, repr=False)
    """It, or the path of the file that it is in. Where a writer took it: None; ``dataclasses.replace(snapshot, archive=...)`` says where it is."""

    def kept(self) -> tuple[int, str, bytes | str]:
        """As the native half takes it."""
        if self.archive is None:
            raise UsageError("this snapshot does not say where its archive is; use dataclasses.replace(snapshot, archive=...)")
        return self.size, self.sha256, self.archive


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of times in seconds. Each is exact to 2 %."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Timings:
    """How long claims and commands took, as their caller saw it."""

    claim: Percentiles
    command: Percentiles


# The most gaps that are told apart. Each is of a stream that broke.
_GAPS_MAX = 1024


def _with_gap(gaps: list[Gap], gap: Gap) -> list[Gap]:
    """Where there are many, the last one of an output reaches to the end of those that follow."""
    last = next((at for at in reversed(range(len(gaps))) if gaps[at].stream == gap.stream), None)
    if len(gaps) < _GAPS_MAX or last is None:
        return [*gaps, gap]
    return [*gaps[:last], replace(gaps[last], end=gap.end), *gaps[last + 1 :]]


class Collected:
    """What a process has printed so far, up to a limit, and its end."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._data = {"stdout": bytearray(), "stderr": bytearray()}
        self._printed = {"stdout": 0, "stderr": 0}
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in self._data}
        self._gaps: list[Gap] = []
        self._taken: tuple[Any, ...] | None = None
        self.result: CommandResult | None = None

    def add(self, event: tuple[Any, ...]) -> Output | None:
        """Takes an event of a process; returns what it printed, if it did. Where it is interrupted it may be given the same event again."""
        if event is self._taken:
            return None
        name, value = event[0], event[1]
        if name in self._data:
            output = Output(name, value, self._decoders[name].decode(value))
            total = self._printed[name] + len(value)
            kept = value[: max(0, self._keep - len(self._data[name]))]
            # Python runs signal handlers where something is called, and not between these.
            self._taken = event
            self._printed[name] = total
            self._data[name] += kept
            return output
        if name == "gap":
            gap = Gap(*value)
            total = self._printed[gap.stream] + gap.end - gap.start
            gaps = _with_gap(self._gaps, gap)
            self._taken = event
            self._printed[gap.stream] = total
            self._gaps = gaps
        elif name == "ended":
            stdout, stderr = (bytes(self._data[name]) for name in ("stdout", "stderr"))
            printed = (self._printed["stdout"], self._printed["stderr"])
            self.result = result_of(value, stdout, stderr, printed, self._gaps)
        return None
