"""What the adapters for Inspect and mini-swe-agent make of what a command printed and of file errors; without a cluster."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from arl_sandbox import AsyncClient, Client, TransferError
from arl_sandbox.inspect import ArlSandboxEnvironment
from arl_sandbox.mini_swe_agent import SUBMITTED, ArlEnvironment
from inspect_ai.util import OutputLimitExceededError, SandboxEnvironmentLimits, SandboxUnavailableError
from stub import REFUSED, Call, Files, Sandbox, claimed

pytestmark = pytest.mark.usefixtures("stubbed")

LOST = ("stdout", 3, 1003)


def printed(stdout: bytes, stderr: bytes = b"", *, cause: str | None = None, gaps: Any = (), code: int = 0) -> Call:
    """A command that ends, as the native half says it; ``gaps`` of standard output."""
    counts = (len(stdout) + sum(end - start for _, start, end in gaps), len(stderr))
    return Call(((code, None, cause, [], 0.0, 1.0), stdout, stderr, counts, list(gaps)))


async def environment(*runs: Call, files: Files | None = None) -> ArlSandboxEnvironment:
    """One for Inspect whose Sandbox runs these."""
    client = AsyncClient()
    client._native = claimed(Sandbox("a", runs=list(runs), files=files))  # type: ignore[assignment]
    return ArlSandboxEnvironment(await client.acquire("p"))


async def test_a_timeout_keeps_what_was_printed() -> None:
    inspected = await environment(printed(b"out\n", b"err\n", cause="timed_out"), printed(b"", cause="timed_out"))
    with pytest.raises(TimeoutError) as late:
        await inspected.exec(["sleep", "9"], timeout=1)
    assert getattr(late.value, "truncated_output") == "out\nerr\n"
    with pytest.raises(TimeoutError) as late:
        await inspected.exec(["sleep", "9"], timeout=1)
    assert not hasattr(late.value, "truncated_output")


async def test_too_much_output_is_told_apart_from_lost_output() -> None:
    much = Call(((0, None, None, [], 0.0, 1.0), b"out", b"err", (SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE + 1, 3), []))
    inspected = await environment(much, printed(b"onetwo", gaps=[LOST]))
    with pytest.raises(OutputLimitExceededError) as limit:
        await inspected.exec(["yes"])
    assert limit.value.truncated_output == "outerr"
    with pytest.raises(SandboxUnavailableError, match="1000 bytes of its output were lost"):
        await inspected.exec(["cat"])


async def test_a_path_through_a_file_is_not_found() -> None:
    failure = {"name": "remote", "kind": "not_directory", "message": "README.md/x: Not a directory", "fault": "task"}
    inspected = await environment(files=Files(failure))
    with pytest.raises(FileNotFoundError, match="README.md/x"):
        await inspected.read_file("README.md/x")
    with pytest.raises(FileNotFoundError, match="README.md/x"):
        await inspected.write_file("README.md/x", "")


async def test_a_null_byte_is_what_python_calls_it() -> None:
    failure = {"name": "remote", "kind": "invalid", "message": "a NUL", "fault": "usage"}
    inspected = await environment(Call(None, failure), files=Files(failure))
    for work in (inspected.read_file("a\0b"), inspected.write_file("a\0b", ""), inspected.exec(["cat", "a\0b"])):
        with pytest.raises(ValueError, match="embedded null byte"):
            await work


async def test_a_sample_stands_where_its_sandboxes_cannot_be_deleted(caplog: pytest.LogCaptureFixture) -> None:
    client = AsyncClient()
    natives = [Sandbox("a", Call(None, REFUSED)), Sandbox("b")]
    client._native = claimed(*natives)  # type: ignore[assignment]
    made: Any = {name: ArlSandboxEnvironment(await client.acquire("p")) for name in "ab"}
    with caplog.at_level(logging.WARNING, "arl_sandbox"):
        await ArlSandboxEnvironment.sample_cleanup("task", None, made, False)
    assert all(native.is_released for native in natives)
    assert "500" in caplog.text


def mini(monkeypatch: pytest.MonkeyPatch, *runs: Call) -> ArlEnvironment:
    """One for mini-swe-agent whose Sandbox runs these."""
    client = Client()
    client._native = claimed(Sandbox("a", runs=list(runs)))  # type: ignore[assignment]
    monkeypatch.setattr(Client, "default", lambda namespace=None: client)
    return ArlEnvironment(pool="p")


def test_mini_swe_agent_is_told_what_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    submission = f"{SUBMITTED}\n".encode()
    late = printed(b"onetwo", gaps=[LOST], cause="timed_out")
    shell = mini(monkeypatch, printed(b"onetwo", gaps=[LOST]), late, printed(submission + b"diff", gaps=[LOST]))
    note = "[1000 bytes of this output were lost on the way]"
    assert shell.execute({"command": "cat"})["output"] == f"onetwo\n{note}\n"
    assert shell.execute({"command": "cat"})["output"] == f"onetwo\n{note}\n"
    # Half a patch must not be taken for the agent's work.
    with pytest.raises(TransferError) as lost:
        shell.execute({"command": "submit"})
    assert lost.value.fault == "infrastructure"
    shell.cleanup()
