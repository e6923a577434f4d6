"""Commands, in both faces."""

from __future__ import annotations

import asyncio

import pytest
from arl_sandbox import (
    AsyncCommandHandle,
    AsyncSandbox,
    CommandError,
    CommandTimeoutError,
    NotFoundError,
    RemoteError,
    Sandbox,
    StdinClosedError,
    UsageError,
)
from world import ends_by_interrupt, interrupt_us, until


def running(sandbox: Sandbox, word: str) -> bool:
    """Whether a process with this word runs in the pod."""
    found = sandbox.commands.run(f"ps | grep -v grep | grep -c '[{word[0]}]{word[1:]}'; true").stdout
    return found.strip() != "0"


def test_a_command_runs_as_it_is_told(sandbox: Sandbox) -> None:
    script = "echo out; echo err >&2; echo $A $B; pwd; cat; exit 3"
    done = sandbox.commands.run(script, envs={"A": "a"}, env={"B": "b"}, cwd="/tmp", stdin="in\n")
    assert (done.exit_code, done.stdout, done.stderr) == (3, "out\na b\n/tmp\nin\n", "err\n")
    assert not done.ok and not done.truncated and done.cause is None and 0 <= done.duration < 30
    assert sandbox.commands.run(["echo", "$A"]).stdout == "$A\n"
    assert sandbox.commands.run("kill -9 $$").signal == 9
    with pytest.raises(CommandError, match="exited with 3") as failed:
        sandbox.commands.run("echo why >&2; exit 3", check=True)
    assert (failed.value.exit_code, failed.value.fault, failed.value.result.stderr) == (3, "task", "why\n")
    kept = sandbox.commands.run("yes | head -c 100000", keep=10)
    assert (len(kept.stdout_bytes), kept.printed, kept.truncated) == (10, (100_000, 0), True)
    with pytest.raises(NotFoundError) as missing:
        sandbox.commands.run(["/no/such/program"])
    assert (missing.value.fault, missing.value.kind) == ("task", "not_found")
    with pytest.raises(RemoteError) as nowhere:
        sandbox.commands.run("true", cwd="/no/such/directory")
    assert nowhere.value.kind == "no_working_directory"
    with pytest.raises(UsageError):
        sandbox.commands.run("true", timeout=-1)


def test_a_command_that_is_too_long_disturbs_no_other(sandbox: Sandbox) -> None:
    other = sandbox.commands.run("sleep 1; echo on", background=True)
    with pytest.raises(UsageError, match="file"):
        sandbox.commands.run(["echo", *["x" * 100_000] * 30])
    assert other.wait().stdout == "on\n"


def test_a_timeout_is_a_result_and_keeps_the_output(sandbox: Sandbox) -> None:
    late = sandbox.commands.run("echo begun; sleep 1000", timeout=0.3, grace=0)
    assert (late.timed_out, late.stdout, late.ok) == (True, "begun\n", False)
    with pytest.raises(CommandTimeoutError) as failed:
        sandbox.commands.run("sleep 1000", timeout=0.1, grace=0, check=True)
    assert failed.value.fault == "task" and isinstance(failed.value, TimeoutError)


def test_output_is_streamed_to_callbacks_and_iterators(sandbox: Sandbox) -> None:
    out: list[str] = []
    err: list[str] = []
    done = sandbox.commands.run(
        "printf 'a\\303'; sleep 0.3; printf '\\244b'; echo e >&2", on_stdout=out.append, on_stderr=err.append
    )
    assert ("".join(out), err, done.stdout) == ("aäb", ["e\n"], "aäb")
    assert len(out) >= 2, "it came while the command ran"
    handle = sandbox.commands.run("for i in 1 2 3; do echo $i; done; exit 4", background=True)
    assert b"".join(piece.data for piece in handle) == b"1\n2\n3\n"
    assert (handle.exit_code, handle.wait().stdout, handle.wait().exit_code) == (4, "1\n2\n3\n", 4)


def test_a_process_in_the_background_is_written_to_found_and_killed(sandbox: Sandbox) -> None:
    cat = sandbox.commands.run("cat", background=True, stdin=True)
    cat.send_stdin("hello\n")
    assert next(iter(cat)).text == "hello\n"
    cat.send_stdin(b"again\n")
    cat.close_stdin()
    assert cat.wait().stdout == "hello\nagain\n"
    with pytest.raises(UsageError):
        cat.send_stdin("more")
    deaf = sandbox.commands.run("exec 0<&-; sleep 1000", background=True, stdin=True)
    with pytest.raises(StdinClosedError) as closed:
        for _ in range(1000):
            deaf.send_stdin("x" * 1000)
    assert closed.value.fault == "task"
    assert [row.pid for row in sandbox.commands.list() if not row.ended] == [deaf.pid]
    assert sandbox.commands.connect(deaf.pid) is deaf
    identity = deaf.id
    del deaf
    again = sandbox.commands.connect(identity)
    assert sandbox.commands.kill(again.pid, grace=0) and not sandbox.commands.kill(999_999)
    assert again.wait().cause == "killed"
    with pytest.raises(RemoteError) as unknown:
        sandbox.commands.connect(999_999)
    assert unknown.value.kind == "unknown_process"
    assert sandbox.commands.list() == []


def test_a_process_that_nobody_looks_at_is_not_held_up(sandbox: Sandbox) -> None:
    handle = sandbox.commands.run("yes | head -c 20000000; echo end >&2; touch done", background=True)
    until(lambda: sandbox.files.exists("done"), "it wrote 20 MB that nobody read")
    done = handle.wait()
    assert (done.exit_code, done.stderr, done.printed[0]) == (0, "end\n", 20_000_000)
    assert done.truncated and done.gaps[0].stream == "stdout"
    assert len(done.stdout_bytes) + sum(gap.end - gap.start for gap in done.gaps) == 20_000_000


def test_a_terminal_is_one(sandbox: Sandbox) -> None:
    handle = sandbox.commands.run("stty size; read line; echo got $line; stty size", background=True, tty=(100, 40))
    assert next(iter(handle)).text.split() == ["40", "100"]
    handle.resize(80, 24)
    handle.send_stdin("x\n")
    assert handle.wait().stdout.split() == ["40", "100", "x", "got", "x", "24", "80"]


def test_interrupted_it_ends_the_command(sandbox: Sandbox) -> None:
    def interrupt() -> None:
        until(lambda: running(sandbox, "sleep 1111"), "the command runs")
        interrupt_us()

    with ends_by_interrupt(interrupt):
        sandbox.commands.run("sleep 1111; true")
    until(lambda: not running(sandbox, "sleep 1111"), "the command was ended")


async def test_the_async_face_does_the_same(async_sandbox: AsyncSandbox) -> None:
    done = await async_sandbox.commands.run("cat; exit 3", stdin="in")
    assert (done.exit_code, done.stdout) == (3, "in")
    out: list[str] = []

    async def callback(text: str) -> None:
        await asyncio.sleep(0)
        out.append(text)

    await async_sandbox.commands.run("echo x; echo y >&2", on_stdout=callback)
    assert "".join(out) == "x\n"
    handle = await async_sandbox.commands.run("cat; exit 5", background=True, stdin=True)
    assert isinstance(handle, AsyncCommandHandle)
    await handle.send_stdin("a\n")
    async for piece in handle:
        assert piece.text == "a\n"
        await handle.close_stdin()
    assert (await handle.wait()).exit_code == 5


async def test_a_command_that_is_waited_for_is_not_followed_twice(async_sandbox: AsyncSandbox) -> None:
    call = asyncio.create_task(async_sandbox.commands.run("echo a; cat /pipe; echo b; sleep 1000"))
    await async_sandbox.commands.run("true")
    while not (rows := [row for row in await async_sandbox.commands.list() if not row.ended]):
        pass
    with pytest.raises(UsageError, match="already"):
        await async_sandbox.commands.connect(rows[0].pid)
    assert await async_sandbox.commands.kill(rows[0].pid, grace=0)
    done = await call
    assert done.cause == "killed" and "a\nb\n".startswith(done.stdout), "it may be killed before it has printed all"
    assert await async_sandbox.commands.list() == []


async def test_a_wait_that_is_given_up_loses_no_output(async_sandbox: AsyncSandbox) -> None:
    script = "for i in $(seq 200); do echo $i; usleep 3000; done"
    handle = await async_sandbox.commands.run(script, background=True)
    given_up = 0
    while handle.exit_code is None:
        try:
            await asyncio.wait_for(handle.wait(), 0.01)
        except TimeoutError:
            given_up += 1
    assert given_up > 5, "some were given up"
    assert (await handle.wait()).stdout == "".join(f"{i}\n" for i in range(1, 201))


async def test_cancelled_it_ends_the_command(async_sandbox: AsyncSandbox) -> None:
    async def runs() -> bool:
        return bool([row for row in await async_sandbox.commands.list() if "sleep 22" in row.command and not row.ended])

    for options in ({}, {"on_stdout": print}):
        call = asyncio.create_task(async_sandbox.commands.run("sleep 2222; true", **options))  # type: ignore[call-overload]
        while not await runs():
            pass
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(30):
            while await runs():
                pass
    # Given up at once, when it may not have begun.
    for _ in range(20):
        call = asyncio.create_task(async_sandbox.commands.run("sleep 2222; true"))
        await asyncio.sleep(0)
        call.cancel()
    async with asyncio.timeout(30):
        await async_sandbox.commands.run("true")
        while await runs():
            pass
