"""What callers give, as the native half takes it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from ._native import KEEP_MAX
from .errors import UsageError


def seconds(value: float, what: str) -> timedelta:
    """A length of time."""
    if not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise UsageError(f"{what} is {value!r} and has to be a number of seconds")
    return timedelta(seconds=value)


def set_up_by(steps: Sequence[Mapping[str, Any]] | None, timeout: float) -> str | None:
    """The setup of a Sandbox, as the API has it."""
    limit = seconds(timeout, "setup_timeout") // timedelta(milliseconds=1)
    return None if steps is None else json.dumps({"steps": [dict(step) for step in steps], "timeout": f"{limit}ms"})


def path_bytes(path: str | bytes | os.PathLike[str]) -> bytes:
    """A path in a Sandbox: bytes, as Linux has them."""
    return path if isinstance(path, bytes) else os.fsencode(path)


def path_text(path: bytes) -> str:
    """A path for people and for :func:`path_bytes`."""
    return os.fsdecode(path)


def content_bytes(data: str | bytes | bytearray | memoryview) -> bytes:
    """The content of a file, or standard input."""
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise UsageError(f"content is text or bytes and not {type(data).__name__}")


def pieces_of(data: Any) -> Iterable[bytes]:
    """What a file object or an iterable of bytes has, piece by piece."""
    read = getattr(data, "read", None)
    if read is None:
        for piece in data:
            yield content_bytes(piece)
        return
    while piece := read(256 * 1024):
        yield content_bytes(piece)


def command(
    cmd: str | Sequence[str],
    *,
    defaults: Mapping[str, str],
    envs: Mapping[str, str] | None,
    env: Mapping[str, str] | None,
    cwd: str | None,
    user: str | None,
    stdin: bool | str | bytes | None,
    tty: tuple[int, int] | None,
    timeout: float | None,
    grace: float | None,
    background: bool,
    keep: int | None,
) -> dict[str, Any]:
    """A command; ``defaults`` are the Sandbox's variables."""
    variables = {**defaults, **(envs or {}), **(env or {})}
    return {
        "argv": ["sh", "-c", cmd] if isinstance(cmd, str) else list(cmd),
        "env": list(variables.items()),
        "cwd": cwd,
        "user": user,
        "input": None if stdin is None or isinstance(stdin, bool) else content_bytes(stdin),
        "stdin": stdin is True,
        "tty": tty,
        "timeout": None if timeout is None else seconds(timeout, "timeout"),
        "grace": None if grace is None else seconds(grace, "grace"),
        "background": background,
        "keep": KEEP_MAX if keep is None else keep,
    }
