"""What callers give, as the native half takes it. What it cannot take is a :class:`UsageError`, before anything is sent."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from numbers import Real
from reprlib import repr as shown
from typing import Any

from ._native import KEEP_MAX, is_run_id
from .errors import UsageError

_INT_MAX = 2**63 - 1


def seconds(value: float, what: str) -> timedelta:
    """A length of time."""
    if not isinstance(value, Real) or not 0 <= value < 1e9:
        raise UsageError(f"{what} is {shown(value)} and has to be a number of seconds")
    return timedelta(seconds=float(value))


def whole(value: int, what: str, least: int = 0, most: int = _INT_MAX) -> int:
    """A number without a fraction."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if not least <= number <= most:
        bounds = f"of {least} at least" if most == _INT_MAX else f"from {least} to {most}"
        raise UsageError(f"{what} is {shown(value)} and has to be a whole number {bounds}")
    return number


def text(value: str, what: str) -> str:
    """Text that can be sent."""
    if not isinstance(value, str):
        raise UsageError(f"{what} is {shown(value)} and has to be text")
    if not value.isascii():
        _encoded(value, what)
    return value


def text_or_none(value: str | None, what: str) -> str | None:
    """The same, if it is given."""
    return None if value is None else text(value, what)


def run_of(value: str) -> str:
    """The id of a run."""
    if not is_run_id(text(value, "run_id")):
        raise UsageError(
            f"run_id is {shown(value)} and has to be the value of a label: 1 to 63 letters, digits, '-', '_' and '.', of which the first and the "
            "last are letters or digits"
        )
    return value


def folder(value: str | os.PathLike[str] | None, what: str) -> str | None:
    """A path that is sent as text, if it is given."""
    return text_or_none(os.fspath(value) if isinstance(value, os.PathLike) else value, what)


def _encoded(value: str, what: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} has half of a surrogate pair at {error.start}, which is no character of UTF-8") from error


def pairs(values: Mapping[str, str] | None, what: str) -> list[tuple[str, str]]:
    """Names and values."""
    if values is None:
        return []
    if not isinstance(values, Mapping):
        raise UsageError(f"{what} is {shown(values)} and has to be a dict of names and values")
    return [(text(name, f"a name in {what}"), text(value, f"{shown(name)} in {what}")) for name, value in values.items()]


def steps_json(steps: Sequence[Mapping[str, Any]], what: str) -> str:
    """Steps of a Task, as the API has them."""
    if isinstance(steps, (str, bytes, Mapping)) or not isinstance(steps, Iterable):
        raise UsageError(f"{what} is {shown(steps)} and has to be a list of dicts")
    return json_of([one if not isinstance(one, Mapping) else dict(one) for one in steps], what)


def json_of(value: Any, what: str) -> str:
    """An object of the API."""
    try:
        written = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{what} is no JSON: {error}") from error
    return text(written, what)


def set_up_by(steps: Sequence[Mapping[str, Any]] | None, timeout: float) -> str | None:
    """The setup of a Sandbox, as the API has it."""
    limit = seconds(timeout, "setup_timeout") // timedelta(milliseconds=1)
    return None if steps is None else f'{{"steps": {steps_json(steps, "setup")}, "timeout": "{limit}ms"}}'


def path_bytes(path: str | bytes | os.PathLike[str]) -> bytes:
    """A path in a Sandbox: bytes, as Linux has them."""
    try:
        return os.fsencode(path)
    except (TypeError, UnicodeEncodeError) as error:
        raise UsageError(f"{shown(path)} is no path: {error}") from error


def path_text(path: bytes) -> str:
    """A path for people and for :func:`path_bytes`."""
    return os.fsdecode(path)


def content_bytes(data: str | bytes | bytearray | memoryview) -> bytes:
    """The content of a file, or standard input."""
    if isinstance(data, str):
        return _encoded(data, "content")
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise UsageError(f"content is text or bytes and not {type(data).__name__}")


def pieces_of(data: Any) -> Iterable[bytes]:
    """What a file object or an iterable of bytes has, piece by piece."""
    read = getattr(data, "read", None)
    if read is None:
        if not isinstance(data, Iterable):
            raise UsageError(f"content is text, bytes, a file object or an iterable of bytes and not {type(data).__name__}")
        for piece in data:
            yield content_bytes(piece)
        return
    while True:
        piece = read(256 * 1024)
        if piece is None:
            raise UsageError("content is a file object that does not wait for what is to come")
        if not piece:
            return
        yield content_bytes(piece)


def _argv(cmd: str | Sequence[str | os.PathLike[str]]) -> list[str]:
    if isinstance(cmd, str):
        return ["sh", "-c", text(cmd, "cmd")]
    if isinstance(cmd, (bytes, bytearray, Mapping)) or not isinstance(cmd, Iterable):
        raise UsageError(f"cmd is {shown(cmd)} and has to be a script, or a list of a program and its arguments")
    return [text(os.fspath(one) if isinstance(one, os.PathLike) else one, "an argument in cmd") for one in cmd]


def terminal(size: tuple[int, int], what: str) -> tuple[int, int]:
    """Columns and rows."""
    try:
        columns, rows = size
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what} is {shown(size)} and has to be (columns, rows)") from error
    return whole(columns, f"columns of {what}", 0, 65535), whole(rows, f"rows of {what}", 0, 65535)


def keep_of(keep: int | None) -> int:
    """How many bytes of each output are kept."""
    return KEEP_MAX if keep is None else whole(keep, "keep")


def command(
    cmd: str | Sequence[str | os.PathLike[str]],
    *,
    defaults: Mapping[str, str],
    envs: Mapping[str, str] | None,
    env: Mapping[str, str] | None,
    cwd: str | os.PathLike[str] | None,
    user: str | None,
    stdin: bool | str | bytes | None,
    tty: tuple[int, int] | None,
    timeout: float | None,
    grace: float | None,
    background: bool,
    keep: int | None,
) -> dict[str, Any]:
    """A command; ``defaults`` are the Sandbox's variables."""
    variables = {**defaults, **dict(pairs(envs, "envs")), **dict(pairs(env, "env"))}
    return {
        "argv": _argv(cmd),
        "env": list(variables.items()),
        "cwd": folder(cwd, "cwd"),
        "user": text_or_none(user, "user"),
        "input": None if stdin is None or isinstance(stdin, bool) else content_bytes(stdin),
        "stdin": stdin is True,
        "tty": None if tty is None else terminal(tty, "tty"),
        "timeout": None if timeout is None else seconds(timeout, "timeout"),
        "grace": None if grace is None else seconds(grace, "grace"),
        "background": bool(background),
        "keep": keep_of(keep),
    }
