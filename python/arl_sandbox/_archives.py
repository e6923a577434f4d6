"""Where the archives of snapshots are kept."""

from __future__ import annotations

import io
import os
import secrets
import shutil
from contextlib import suppress
from types import TracebackType
from typing import IO, Self

from .errors import UsageError


class Keeper:
    """A file, memory, or somebody's writer. A file is there, or replaces the one that was, once it is complete; what is no file, such as a pipe, is
    written to as it is."""

    def __init__(self, to: str | os.PathLike[str] | IO[bytes] | None) -> None:
        self._path: str | None = None
        self._memory: io.BytesIO | None = None
        # What the file is until it is complete, and where it goes then.
        self._part: tuple[str, str] | None = None
        if to is None:
            self._writer: IO[bytes] = io.BytesIO()
            self._memory = self._writer
        elif isinstance(to, (str, os.PathLike)):
            self._path = os.path.abspath(to)
            target = os.path.realpath(self._path)
            if os.path.isfile(target) or not os.path.exists(target):
                self._part = os.path.join(os.path.dirname(target), f".{secrets.token_hex(8)}.part"), target
            self._writer = open(self._part[0] if self._part else target, "xb" if self._part else "wb")
        elif hasattr(to, "write"):
            self._writer = to
        else:
            raise UsageError(f"to is a {type(to).__name__} and has to be a path, or what can be written to")

    def write(self, piece: bytes) -> None:
        """Adds to it."""
        self._writer.write(piece)

    def archive(self) -> bytes | str | None:
        """All of it, or the path of the file; None: where it is only the writer's owner knows."""
        return self._path if self._memory is None else self._memory.getvalue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._path is None:
            return
        try:
            self._writer.close()
            if self._part is not None and error is None:
                part, target = self._part
                if os.path.exists(target):
                    shutil.copymode(target, part)
                os.replace(part, target)
        finally:
            if self._part is not None:
                with suppress(FileNotFoundError):
                    os.remove(self._part[0])
