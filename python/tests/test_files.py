"""Files, in both faces."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from arl_sandbox import (
    AccessDeniedError,
    AsyncSandbox,
    IsDirectoryError,
    NotFoundError,
    RemoteError,
    Sandbox,
    WriteEntry,
)


def test_files_are_written_read_and_listed(sandbox: Sandbox) -> None:
    files = sandbox.files
    written = files.write("/workspace/a/b.txt", "text ✨", mode=0o600)
    assert (written.name, written.path, written.size) == ("b.txt", "/workspace/a/b.txt", 8)
    assert files.read("a/b.txt") == "text ✨"
    assert files.read(Path("/workspace/a/b.txt"), format="bytes", offset=5) == "✨".encode()
    files.append("a/b.txt", b"\xff")
    with pytest.raises(UnicodeDecodeError):
        files.read("a/b.txt")
    info = files.get_info("a/b.txt")
    assert (info.name, info.type, info.size, info.mode) == ("b.txt", "file", 9, 0o600)
    files.write_files([{"path": "x", "data": "1"}, WriteEntry("y", b"2", mode=0o755)])
    assert files.make_dir("d/e") and not files.make_dir("d/e")
    sandbox.commands.run("ln -s y link", check=True)
    listed = {entry.path: entry for entry in files.list("/workspace", depth=None)}
    assert sorted(listed) == [f"/workspace/{name}" for name in ("a", "a/b.txt", "d", "d/e", "link", "x", "y")]
    assert (listed["/workspace/link"].type, listed["/workspace/link"].symlink_target) == ("link", "y")
    assert (listed["/workspace/y"].mode, listed["/workspace/d"].type) == (0o755, "dir")
    assert files.rename("x", "z").size == 1 and files.exists("z") and not files.exists("x")
    files.chmod("z", 0o400)
    assert files.get_info("z").mode == 0o400
    files.remove("a")
    assert [entry.name for entry in files.list(".")].count("a") == 0


def test_large_files_go_piece_by_piece(sandbox: Sandbox) -> None:
    content = bytes(range(256)) * 40_000
    assert sandbox.files.write("big", io.BytesIO(content)).size == len(content)
    assert sandbox.files.read("big", format="bytes") == content
    pieces = list(sandbox.files.read("big", format="stream"))
    assert len(pieces) > 10 and b"".join(pieces) == content
    assert sandbox.files.write("pieces", (content[at : at + 99_999] for at in range(0, len(content), 99_999))).size == len(content)
    assert sandbox.commands.run("cmp big pieces").ok

    def broken() -> object:
        yield b"begun"
        raise OSError("the source broke")

    with pytest.raises(OSError, match="the source broke"):
        sandbox.files.write("pieces", broken())  # type: ignore[arg-type]
    assert sandbox.commands.run("cmp big pieces").ok, "a file is written all of it or not at all"


def test_trees_go_as_archives(sandbox: Sandbox) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        entry = tarfile.TarInfo("sub/file")
        entry.size, entry.mode = 5, 0o750
        archive.addfile(entry, io.BytesIO(b"hello"))
    assert sandbox.files.unpack("tree", made.getvalue()) == 1
    packed = b"".join(sandbox.files.pack("tree"))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        member = next(member for member in archive.getmembers() if member.isfile())
        found = archive.extractfile(member)
        assert found is not None and found.read() == b"hello" and member.mode & 0o777 == 0o750


def test_errors_are_those_of_python_too(sandbox: Sandbox) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        sandbox.files.read("nothing")
    assert isinstance(missing.value, NotFoundError)
    assert (missing.value.fault, missing.value.kind, missing.value.errno) == ("task", "not_found", 2)
    assert "nothing" in str(missing.value)
    with pytest.raises(IsADirectoryError) as folder:
        sandbox.files.read("/workspace")
    assert isinstance(folder.value, IsDirectoryError)
    with pytest.raises(PermissionError) as denied:
        sandbox.commands.run("echo secret >secret; chmod 600 secret", check=True)
        sandbox.files.read("secret", user="nobody")
    assert isinstance(denied.value, AccessDeniedError)
    with pytest.raises(RemoteError) as nobody:
        sandbox.files.read("x", user="no-such-user")
    assert (nobody.value.kind, nobody.value.fault) == ("no_such_user", "usage")
    sandbox.commands.run("mkdir -p full/x", check=True)
    with pytest.raises(RemoteError) as filled:
        sandbox.files.remove("full", recursive=False)
    assert filled.value.fault == "task"
    with pytest.raises(RemoteError) as dots:
        sandbox.files.remove("full/..")
    assert (dots.value.kind, dots.value.fault) == ("invalid", "usage")
    assert sandbox.files.exists("full/x")


def test_nothing_is_where_a_path_leads_nowhere(sandbox: Sandbox) -> None:
    files = sandbox.files
    files.write("f", "")
    sandbox.commands.run("ln -s nowhere dangling; ln -s loop loop", check=True)
    for path in ("f/x", "dangling", "loop", "x" * 300, "nothing"):
        assert not files.exists(path), path
    with pytest.raises(NotADirectoryError):
        files.make_dir("f/x")
    moved = files.rename("dangling", "moved")
    assert (moved.name, moved.type, moved.symlink_target) == ("moved", "link", "nowhere")


async def test_the_async_face_does_the_same(async_sandbox: AsyncSandbox) -> None:
    files = async_sandbox.files

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    await files.write("f", pieces())
    assert await files.read("f") == "one two"
    assert [piece async for piece in await files.read("f", format="stream")] == [b"one two"]
    assert [entry.name for entry in await files.list("/workspace")] == ["f"]
    with pytest.raises(NotFoundError):
        await files.get_info("g")
    assert not await files.exists("g")
