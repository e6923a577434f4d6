"""Event loops that end, one after the other and beside each other; without a cluster."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
from collections.abc import Coroutine
from typing import Any

import pytest
import stub
from arl_sandbox import AsyncClient, AsyncCommandHandle, AsyncSandbox, Client, UsageError
from stub import Call, Native, Process, claimed
from world import until

pytestmark = pytest.mark.usefixtures("stubbed")

OUT = ("stdout", b"one\n")
END: tuple[Any, ...] = ("ended", (3, None, None, [], 0.0, 1.0))


def client_of(native: Native) -> AsyncClient:
    """An async client for these."""
    client = AsyncClient()
    client._native = native  # type: ignore[assignment]
    return client


async def started(*events: Call) -> AsyncCommandHandle:
    """A process in the background."""
    native = stub.Sandbox("a")
    native.processes.append(Process(*events))
    return await (await client_of(claimed(native)).acquire("p")).commands.run("x", background=True)


async def given_up(handle: AsyncCommandHandle, waits: int = 1) -> None:
    """Waits that are cancelled."""
    tasks = [asyncio.ensure_future(handle.wait()) for _ in range(waits)]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def ended(work: Coroutine[Any, Any, Any]) -> Any:
    """Its result, on a loop of its own: once Inspect has run an evaluation, `asyncio.run` takes the loop that is there."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(asyncio.wait_for(work, 20))
    finally:
        loop.close()


def test_a_process_is_waited_for_on_one_loop_after_the_other() -> None:
    out, end = Call(), Call()
    handle = ended(started(out, end))
    # Two at once, so that one waits for its turn.
    ended(given_up(handle, 2))
    ended(given_up(handle, 2))

    async def rest() -> Any:
        wait = asyncio.ensure_future(handle.wait())
        await asyncio.sleep(0.01)
        out.end(OUT)
        await asyncio.sleep(0.01)
        end.end(END)
        return await wait

    done = ended(rest())
    assert (done.exit_code, done.stdout) == (3, "one\n")


def test_what_comes_while_no_loop_runs_is_not_lost() -> None:
    outs = [Call(), Call()]
    handles = [ended(started(out, Call(END))) for out in outs]

    async def both() -> None:
        for handle in handles:
            await given_up(handle)

    ended(both())
    for out in outs:
        out.end(OUT)
    for handle in handles:
        assert ended(handle.wait()).stdout == "one\n"


def test_a_process_is_waited_for_from_a_loop_of_another_thread() -> None:
    out, end = Call(), Call(END)

    async def first() -> Any:
        handle = await started(out, end)
        wait = asyncio.ensure_future(handle.wait())
        await asyncio.sleep(0.01)
        results: list[Any] = []
        other = threading.Thread(target=lambda: results.append(ended(handle.wait())))
        other.start()
        await asyncio.sleep(0.05)
        out.end(OUT)
        mine = await wait
        await asyncio.to_thread(other.join, 20)
        return mine, *results

    for done in ended(first()):
        assert (done.exit_code, done.stdout) == (3, "one\n")


def test_a_loop_that_is_closed_in_the_middle_of_a_call_gives_it_up() -> None:
    run, claim = Call(), Call()
    native = stub.Sandbox("a", runs=[run])
    client = client_of(Native(Call(native), claim))
    tasks: list[asyncio.Task[Any]] = []

    async def begins() -> None:
        sandbox: AsyncSandbox = await client.acquire("p")
        tasks.append(asyncio.ensure_future(sandbox.commands.run("sleep 1000")))
        tasks.append(asyncio.ensure_future(client.acquire("p")))
        await asyncio.sleep(0.01)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(begins())
    loop.close()
    assert run.started and claim.started
    tasks.clear()
    gc.collect()
    assert run.cancelled and claim.cancelled


def test_loops_without_number_leave_nothing_open() -> None:
    async def runs() -> None:
        native = stub.Sandbox("a", runs=[Call(((0, None, None, [], 0.0, 1.0), b"", b"", (0, 0), []))])
        await (await client_of(claimed(native)).acquire("p")).commands.run("true")

    ended(runs())
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        ended(runs())
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_a_failure_that_nobody_waits_for_any_more_is_no_mistake(caplog: pytest.LogCaptureFixture) -> None:
    async def lost() -> None:
        event = Call()
        handle = await started(event)
        await given_up(handle)
        event.end(None, {"name": "pod_lost", "message": "the pod is gone", "fault": "infrastructure"})
        await asyncio.sleep(0.01)
        del handle
        gc.collect()

    with caplog.at_level(logging.ERROR, "asyncio"):
        ended(lost())
        gc.collect()
    assert not caplog.records


def test_an_exception_of_a_signal_handler_is_not_the_processs() -> None:
    def late(*_: object) -> None:
        raise TimeoutError("the caller's alarm")

    native, event, end = stub.Sandbox("a"), Call(), Call(END)
    native.processes.append(Process(event, end))
    client = Client()
    client._native = claimed(native)  # type: ignore[assignment]
    handle = client.acquire("p").commands.run("x", background=True)
    before = signal.signal(signal.SIGALRM, late)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(TimeoutError, match="alarm"):
            handle.wait()
    finally:
        signal.signal(signal.SIGALRM, before)
    event.end(OUT)
    assert handle.wait().stdout == "one\n"


async def test_a_claim_that_comes_after_its_client_is_closed_is_given_up() -> None:
    claim, native = Call(), stub.Sandbox("a")
    client = client_of(Native(claim))
    async with client:
        task = asyncio.ensure_future(client.acquire("p"))
        await asyncio.sleep(0)
    claim.end(native)
    with pytest.raises(UsageError, match="closed"):
        await task
    assert native.is_released and not client._held


def test_the_same_in_the_sync_face() -> None:
    claim, native = Call(), stub.Sandbox("a")
    client = Client()
    client._native = Native(claim)  # type: ignore[assignment]
    failures: list[BaseException] = []

    def acquires() -> None:
        try:
            client.acquire("p")
        except UsageError as error:
            failures.append(error)

    thread = threading.Thread(target=acquires)
    with client:
        thread.start()
        until(lambda: claim.started, "the claim is on its way")
    claim.end(native)
    thread.join(20)
    assert failures and native.is_released
