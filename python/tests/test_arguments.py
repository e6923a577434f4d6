"""What makes no sense is a UsageError before anything is sent or made. Without a cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from arl_sandbox import Client, CommandHandle, CommandResult, Sandbox, UsageError
from stub import Call, claimed
from stub import Sandbox as Native

pytestmark = pytest.mark.usefixtures("stubbed")

DONE: Any = ((0, None, None, [], 0.0, 1.0), b"", b"", (0, 0), [])
HALF = "half \ud83d"

Wrong: TypeAlias = Callable[[Any], Any]


def each(what: str, call: Callable[[Any, Any], Any], values: Iterable[Any]) -> dict[str, Wrong]:
    """Calls that are wrong in the same way."""
    return {f"{what} {value!r}": partial(given, call, value) for value in values}


def given(call: Callable[[Any, Any], Any], value: Any, to: Any) -> Any:
    """One of them."""
    return call(to, value)


class Unasked:
    """Something of the native half, that is asked for nothing."""

    def __getattr__(self, name: str) -> Any:
        def asked(*arguments: Any) -> None:
            raise AssertionError(f"{name} is asked for, with {arguments}")

        return asked


class AskedProcess(Unasked):
    """A process."""

    id = 1


class Asked(Unasked):
    """A Sandbox, all of whose calls are refused but those that lead to others."""

    name, uid, pod, container = "a", "uid", "pod", None

    def start(self, command: Any) -> Call:
        """One whose process is asked for nothing."""
        return Call(AskedProcess())

    def files(self, user: str | None) -> Unasked:
        """The native half takes text here."""
        assert user is None
        return Unasked()


class AskedClient(Unasked):
    """A client that has one Sandbox to give."""

    run_id = "run"

    def claim(self, *arguments: Any) -> Call:
        """It is given at once."""
        return Call(Asked())

    def release(self, *arguments: Any) -> Call:
        """It is gone."""
        return Call(None)


@pytest.fixture
def client() -> Client:
    """Its calls are never sent."""
    client = Client()
    client._native = AskedClient()  # type: ignore[assignment]
    return client


COMMANDS: dict[str, Wrong] = {
    **each("cmd", lambda c, cmd: c.run(cmd), (None, b"ls", 5, {"a": 1}, ["a", 1], ["a", b"b"], HALF)),
    **each("envs", lambda c, envs: c.run("x", envs=envs), ("A=b", ["A"], {"A": 1}, {1: "a"}, {"A": HALF})),
    **each("tty", lambda c, tty: c.run("x", tty=tty), (True, (1,), (-1, 5), (70000, 5), "ab")),
    **each("keep", lambda c, keep: c.run("x", keep=keep), (-1, 1.5, "x", 10**30)),
    "cwd": lambda c: c.run("x", cwd=b"/tmp"),
    "user": lambda c: c.run("x", user=0),
    "stdin": lambda c: c.run("x", stdin=5),
    "connect": lambda c: c.connect("1"),
    "connect keep": lambda c: c.connect(1, keep=-1),
    "kill": lambda c: c.kill(None),
}


@pytest.mark.parametrize("wrong", COMMANDS.values(), ids=COMMANDS)
def test_commands(client: Client, wrong: Wrong) -> None:
    with pytest.raises(UsageError):
        wrong(client.acquire("p").commands)


HANDLES: dict[str, Wrong] = {
    **each("signal", lambda h, number: h.send_signal(number), (0, -9, 65, 2**40, "TERM", None)),
    **each("size", lambda h, size: h.resize(*size), ((-1, 1), (1, 70000), ("x", 1))),
    "grace": lambda h: h.kill(grace=-1),
    "stdin": lambda h: h.send_stdin(HALF),
}


@pytest.mark.parametrize("wrong", HANDLES.values(), ids=HANDLES)
def test_handles(client: Client, wrong: Wrong) -> None:
    with pytest.raises(UsageError):
        wrong(client.acquire("p").commands.run("x", background=True))


FILES: dict[str, Wrong] = {
    **each("path", lambda f, path: f.read(path), (None, 5, HALF, ["x"])),
    **each("format", lambda f, name: f.read("x", format=name), ("json", None)),
    **each("offset", lambda f, number: f.read("x", offset=number), (-1, 1.5, 2**70)),
    **each("mode", lambda f, mode: f.write("x", "y", mode=mode), (-1, 0o10000, "644")),
    **each("depth", lambda f, depth: f.list("x", depth=depth), (-1, "1", 2**40)),
    "length": lambda f: f.read("x", length=-1),
    "user": lambda f: f.read("x", user=0),
    "chmod": lambda f: f.chmod("x", -1),
    "append": lambda f: f.append("x", None),
    "text": lambda f: f.write("x", HALF),
    "entry": lambda f: f.write_files([{"path": "x"}]),
    "entries": lambda f: f.write_files([("x", "y")]),
    "no entries": lambda f: f.write_files(None),
}


@pytest.mark.parametrize("wrong", FILES.values(), ids=FILES)
def test_files(client: Client, wrong: Wrong) -> None:
    with pytest.raises(UsageError):
        wrong(client.acquire("p").files)


@pytest.mark.parametrize("content", [None, 5, object(), [1, 2], Path("x")], ids=repr)
def test_content(content: Any) -> None:
    from arl_sandbox._arguments import pieces_of

    with pytest.raises(UsageError):
        list(pieces_of(content))


def test_a_file_that_has_nothing_yet_is_not_taken_for_its_end() -> None:
    from arl_sandbox._arguments import pieces_of

    out, into = os.pipe()
    os.set_blocking(out, False)
    with os.fdopen(out, "rb", buffering=0) as pipe, os.fdopen(into, "wb"), pytest.raises(UsageError, match="wait"):
        list(pieces_of(pipe))


SANDBOXES: dict[str, Wrong] = {
    **each("count", lambda s, count: s.fork(count, path="/x"), (-1, 1.5, "2", None)),
    **each("steps", lambda s, steps: s.task(steps), (None, 5, "x", {"name": "a"}, [{"a": b"x"}], [{"a": HALF}])),
    "fork": lambda s: s.fork(1, path=b"/x"),
    "snapshot": lambda s: s.snapshot(None),
    "time": lambda s: s.set_timeout("1"),
}


@pytest.mark.parametrize("wrong", SANDBOXES.values(), ids=SANDBOXES)
def test_sandboxes(client: Client, wrong: Wrong) -> None:
    with pytest.raises(UsageError):
        wrong(client.acquire("p"))


CLAIMS: dict[str, dict[str, Any]] = {
    "pool": {"pool": 5},
    "pool of bytes": {"pool": b"p"},
    "name": {"name": 5},
    "labels": {"labels": {"a": 1}},
    "envs": {"envs": {"A": 1}},
    "sandbox_envs": {"sandbox_envs": ["A"]},
    "setup": {"setup": "x"},
    "setup of what is no JSON": {"setup": [{"name": Path("x")}]},
    "snapshot": {"snapshot": "state.tar"},
    "timeout": {"timeout": None},
}


@pytest.mark.parametrize("wrong", CLAIMS.values(), ids=CLAIMS)
def test_claims(client: Client, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        client.acquire(**{"pool": "p", **wrong})


CLIENTS: dict[str, Wrong] = {
    "open": lambda c: c.open(None),
    "open envs": lambda c: c.open("a", envs={"A": 1}),
    "pool": lambda c: c.create_pool(None, {}),
    "template": lambda c: c.create_pool("p", {"spec": {1, 2}}),
    "replicas": lambda c: c.create_pool("p", {}, replicas=-1),
    "most": lambda c: c.create_pool("p", {}, max_replicas="3"),
    "delete": lambda c: c.delete_pool(5),
    "reap": lambda c: c.reap(5),
    # As of a variable that is not set: not the run of this client.
    "reap nothing": lambda c: c.reap(""),
    "reap more": lambda c: c.reap("a,b"),
    **each("concurrency", lambda c, number: c.map([1], max, pool="p", concurrency=number), (0, -1, None, 1.5)),
    **each("retries", lambda c, number: c.map([1], max, pool="p", retries=number), (-1, None)),
    "items": lambda c: c.map(None, max, pool="p"),
    "function": lambda c: c.map([1], None, pool="p"),
}


@pytest.mark.parametrize("wrong", CLIENTS.values(), ids=CLIENTS)
def test_clients(client: Client, wrong: Wrong) -> None:
    with pytest.raises(UsageError):
        wrong(client)


@pytest.mark.parametrize("wrong", [{"kubeconfig": 5}, {"context": 5}, {"namespace": b"n"}, {"run_id": 5}, {"run_id": "a,b"}], ids=str)
def test_ways_to_a_cluster(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Client(**wrong)


def test_a_path_is_one_wherever_a_path_is_meant(tmp_path: Path) -> None:
    Client(kubeconfig=tmp_path / "kubeconfig")
    native = Native("a")
    seen: list[dict[str, Any]] = []

    def run(command: dict[str, Any]) -> Call:
        seen.append(command)
        return Call(DONE)

    native.run = run  # type: ignore[method-assign]
    client = Client()
    client._native = claimed(native)  # type: ignore[assignment]
    sandbox = client.acquire("p")
    sandbox.commands.run([Path("/bin/ls"), "-l"], cwd=Path("/tmp"))
    assert (seen[0]["argv"], seen[0]["cwd"]) == (["/bin/ls", "-l"], "/tmp")
    native.forks = Call([])
    assert sandbox.fork(0, path=Path("/x")) == []


def test_progress_without_a_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    own = Client()
    own._native = claimed(Native("a"))  # type: ignore[assignment]
    assert own.map([7], lambda sandbox, item: item, pool="p", progress=True) == [7]


def either(sandbox: Sandbox, background: bool) -> CommandResult | CommandHandle:
    """A program that does not know it: its types are right."""
    return sandbox.commands.run("x", background=background)


def test_a_variable_may_say_whether_a_command_is_in_the_background(client: Client) -> None:
    assert isinstance(either(client.acquire("p"), True), CommandHandle)
