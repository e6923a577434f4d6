"""Files of a Sandbox."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import IO, Any, Literal, TypeAlias, overload

from .. import _native
from .._archives import Keeper
from .._arguments import content_bytes, path_bytes, path_text, pieces_of, text_or_none, whole
from .._models import EntryInfo, Snapshot, WriteEntry, WriteInfo
from ..errors import NotFoundError, RemoteError, UsageError
from ._calls import result

Path: TypeAlias = str | bytes | os.PathLike[str]
Content: TypeAlias = str | bytes | bytearray | memoryview | IO[bytes] | IO[str] | Iterable[bytes] | AsyncIterable[bytes]


# ENOENT, ENOTDIR, ENAMETOOLONG and ELOOP, as Linux numbers them.
_NOTHING = (2, 20, 36, 40)


class AsyncFiles:
    """Files of a Sandbox. Relative paths are below the container's working directory. ``user`` (a name, or ``uid[:gid]``): with that user's
    rights; needs an agent that is root.

    Errors are of the kinds of the operating system (:class:`NotFoundError`, :class:`AccessDeniedError`, ...) and are its exceptions too:
    ``except FileNotFoundError`` works.
    """

    def __init__(self, native: _native.Sandbox) -> None:
        self._native = native

    def _of(self, user: str | None) -> _native.Files:
        return self._native.files(text_or_none(user, "user"))

    @overload
    async def read(
        self, path: Path, *, format: Literal["text"] = "text", user: str | None = None, offset: int = 0, length: int | None = None
    ) -> str: ...

    @overload
    async def read(
        self, path: Path, *, format: Literal["bytes"], user: str | None = None, offset: int = 0, length: int | None = None
    ) -> bytes: ...

    @overload
    async def read(
        self, path: Path, *, format: Literal["stream"], user: str | None = None, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]: ...

    async def read(
        self, path: Path, *, format: str = "text", user: str | None = None, offset: int = 0, length: int | None = None
    ) -> str | bytes | AsyncIterator[bytes]:
        """The content of a file: as text (UTF-8, or UnicodeDecodeError), as bytes, or as a stream of bytes that has one piece in memory at a
        time. ``length`` bytes from ``offset`` on, or all that follow."""
        if format not in ("text", "bytes", "stream"):
            raise UsageError(f'format is {format!r} and has to be "text", "bytes" or "stream"')
        files, path, offset = self._of(user), path_bytes(path), whole(offset, "offset")
        length = None if length is None else whole(length, "length")
        if format == "stream":
            return _pieces(files.download(path, offset, length))
        content = await result(files.read(path, offset, length))
        return content if format == "bytes" else content.decode()

    async def write(self, path: Path, data: Content, *, user: str | None = None, mode: int | None = None) -> WriteInfo:
        """Replaces a file, all of it or not at all; directories that are missing are made. ``data``: text, bytes, a file object or an iterable of
        bytes, which is taken piece by piece. ``mode``: permission bits; otherwise those of the file that is there, or 0644."""
        files, name, mode = self._of(user), path_bytes(path), _mode(mode)
        if isinstance(data, (str, bytes, bytearray, memoryview)):
            size = await result(files.write(name, content_bytes(data), mode))
        else:
            size = await _send(files.upload(name, mode), data)
        text = path_text(name)
        return WriteInfo(PurePosixPath(text).name, text, size)

    async def write_files(
        self, files: Iterable[WriteEntry | dict[str, Any]], *, user: str | None = None
    ) -> list[WriteInfo]:
        """Writes several files, one after the other: entries, or dicts with ``path`` and ``data``."""
        if not isinstance(files, Iterable) or isinstance(files, (str, bytes, Mapping)):
            raise UsageError(f"files is a {type(files).__name__} and has to be a list of entries")
        entries = [_write_entry(file) for file in files]
        return [await self.write(entry.path, entry.data, user=user, mode=entry.mode) for entry in entries]

    async def append(self, path: Path, data: str | bytes, *, user: str | None = None) -> None:
        """Adds to the end of a file, which is made where it is missing."""
        await result(self._of(user).append(path_bytes(path), content_bytes(data)))

    async def list(self, path: Path, *, depth: int | None = 1, user: str | None = None) -> list[EntryInfo]:
        """What is in a directory, down to ``depth`` levels; all with None. Links are not followed."""
        folder = path_bytes(path)
        levels = None if depth is None else whole(depth, "depth", most=2**32 - 1)
        rows = await result(self._of(user).list(folder, levels))
        return [_entry(row, os.path.join(folder, row[0])) for row in rows]

    async def exists(self, path: Path, *, user: str | None = None) -> bool:
        """Whether there is something. A link that leads nowhere is nothing."""
        try:
            await self.get_info(path, user=user)
        except RemoteError as error:
            if error.errno in _NOTHING:
                return False
            raise
        return True

    async def get_info(self, path: Path, *, user: str | None = None) -> EntryInfo:
        """What is there. A link at the end of the path is followed."""
        name = path_bytes(path)
        return _entry(await result(self._of(user).stat(name)), name)

    async def remove(self, path: Path, *, recursive: bool = True, user: str | None = None) -> None:
        """Removes a file, a link, or a directory with all that is in it. ``recursive=False``: a directory has to be empty."""
        await result(self._of(user).remove(path_bytes(path), recursive))

    async def rename(self, old_path: Path, new_path: Path, *, user: str | None = None) -> EntryInfo:
        """Gives a file another name; one that has it is replaced."""
        name = path_bytes(new_path)
        await result(self._of(user).rename(path_bytes(old_path), name))
        try:
            return await self.get_info(name, user=user)
        except NotFoundError:
            # It may be a link that leads nowhere.
            folder, last = os.path.split(name.rstrip(b"/"))
            for entry in await self.list(folder or b".", user=user):
                if entry.name == path_text(last):
                    return entry
            raise

    async def make_dir(self, path: Path, *, user: str | None = None) -> bool:
        """Makes a directory, and those above it; false where it is there already."""
        try:
            if (await self.get_info(path, user=user)).type == "dir":
                return False
        except RemoteError as error:
            if error.errno not in _NOTHING:
                raise
        await result(self._of(user).make_dir(path_bytes(path)))
        return True

    async def chmod(self, path: Path, mode: int, *, user: str | None = None) -> None:
        """Changes the permission bits of a file."""
        await result(self._of(user).chmod(path_bytes(path), whole(mode, "mode", most=0o7777)))

    def pack(self, directory: Path, *, user: str | None = None) -> AsyncIterator[bytes]:
        """A directory as a tar archive, with links and modes, as a stream of bytes."""
        return _pieces(self._of(user).pack(path_bytes(directory)))

    async def unpack(self, directory: Path, archive: Content, *, user: str | None = None) -> int:
        """Unpacks a tar archive into a directory, which is made where it is missing; returns how many entries there were. Nothing outside of the
        directory is touched, whatever the archive says."""
        upload = self._of(user).unpack(path_bytes(directory))
        pieces = [archive] if isinstance(archive, (str, bytes, bytearray, memoryview)) else archive
        return await _send(upload, pieces)


def _mode(mode: int | None) -> int | None:
    return None if mode is None else whole(mode, "mode", most=0o7777)


def _write_entry(file: Any) -> WriteEntry:
    try:
        return file if isinstance(file, WriteEntry) else WriteEntry(**file)
    except TypeError as error:
        raise UsageError(f"a file to write is a WriteEntry, or a dict with path and data: {error}") from error


async def _pieces(download: _native.Download) -> AsyncIterator[bytes]:
    while piece := await result(download.next()):
        yield piece


async def _send(upload: _native.Upload, data: Any) -> int:
    if hasattr(data, "__aiter__") and not hasattr(data, "read"):
        async for piece in data:
            await result(upload.write(content_bytes(piece)))
    else:
        for piece in pieces_of(data):
            await result(upload.write(piece))
    return await result(upload.finish())


async def save(download: _native.Download, to: str | os.PathLike[str] | IO[bytes] | None) -> Snapshot:
    """Keeps an archive where it is to be kept."""
    digest, size = hashlib.sha256(), 0
    with Keeper(to) as keeper:
        async for piece in _pieces(download):
            keeper.write(piece)
            digest.update(piece)
            size += len(piece)
        return Snapshot(size, digest.hexdigest(), keeper.archive())


_FIRST = int(datetime.min.replace(tzinfo=UTC).timestamp())
_LAST = int(datetime.max.replace(microsecond=0, tzinfo=UTC).timestamp())


def _entry(row: Any, path: bytes) -> EntryInfo:
    _, kind, size, mode, uid, gid, modified, target = row
    text = path_text(path)
    link = None if target is None else path_text(target)
    # A file may have any date.
    at = datetime.fromtimestamp(min(max(modified, _FIRST), _LAST), UTC)
    return EntryInfo(PurePosixPath(text).name, text, kind, size, mode, uid, gid, at, link)
