"""Where the archives of snapshots are kept."""

from __future__ import annotations

import io
import os
from types import TracebackType
from typing import IO, Self


class Keeper:
    """A file, memory, or somebody's writer. A file that is not complete is removed."""

    def __init__(self, to: str | os.PathLike[str] | IO[bytes] | None) -> None:
        self._path: str | None = None
        self._memory: io.BytesIO | None = None
        if to is None:
            self._writer: IO[bytes] = io.BytesIO()
            self._memory = self._writer
        elif isinstance(to, (str, os.PathLike)):
            self._path = os.path.abspath(to)
            self._writer = open(self._path, "wb")
        else:
            self._writer = to

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
        if self._path is not None:
            self._writer.close()
            if error is not None:
                os.remove(self._path)
