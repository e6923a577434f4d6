"""Waits that are shared and interrupted; without a cluster."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import arl_sandbox
import pytest
import stub
from arl_sandbox import AsyncClient, Client, CommandHandle, PodLostError, Sandbox
from stub import Call, Completions, Process, claimed
from world import ends_by_interrupt, interrupt_us, until

T = TypeVar("T")

pytestmark = pytest.mark.usefixtures("stubbed")

END: tuple[Any, ...] = ("ended", (3, None, None, [], 0.0, 1.0))
LOST = {"name": "pod_lost", "message": "the pod is gone", "fault": "infrastructure"}


def prints() -> list[Call]:
    """Two pieces, a gap, and the end."""
    events = [("stdout", b"one\n"), ("stdout", b"two\n"), ("gap", ("stderr", 0, 5)), END]
    return [Call(event) for event in events]


def handle_of(*events: Call) -> CommandHandle:
    """A process in the background."""
    client, native = Client(), stub.Sandbox("a")
    client._native = claimed(native)  # type: ignore[assignment]
    native.processes.append(Process(*events))
    return client.acquire("p").commands.run("x", background=True)


def in_time(work: Callable[[], T], what: object) -> T:
    """Its result, which must not take forever."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    thread.join(20)
    assert results, f"it hangs, or failed: {what}"
    return results[0]


async def test_two_waits_count_each_piece_once() -> None:
    client, native = AsyncClient(), stub.Sandbox("a")
    client._native = claimed(native)  # type: ignore[assignment]
    held = [Call() for _ in range(4)]
    native.processes.append(Process(*held))
    handle = await (await client.acquire("p")).commands.run("x", background=True)
    out: list[str] = []
    waits = asyncio.gather(*[handle.wait(on_stdout=out.append) for _ in range(3)])
    for call, event in zip(held, prints(), strict=True):
        async with asyncio.timeout(20):
            while not call.started:
                await asyncio.sleep(0)
        call.end(*event._outcome)
    async with asyncio.timeout(20):
        results = await waits
    assert [done.stdout for done in results] == ["one\ntwo\n"] * 3 and "".join(out) == "one\ntwo\n"
    assert results[0].printed == (8, 5) and len(results[0].gaps) == 1


def test_two_threads_wait_for_one_process() -> None:
    held = [Call() for _ in range(4)]
    handle = handle_of(*held)
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(handle.wait().stdout), daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for call, event in zip(held, prints(), strict=True):
        until(lambda call=call: call.started, "one of them waits")  # type: ignore[misc]
        call.end(*event._outcome)
    for thread in threads:
        thread.join(20)
    assert results == ["one\ntwo\n"] * 2


def test_a_wait_that_failed_fails_again_alike() -> None:
    handle = handle_of(Call(None, LOST))
    for _ in range(2):
        with pytest.raises(PodLostError):
            handle.wait()


PACKAGE = str(Path(arl_sandbox.__file__).parent)


@contextmanager
def interrupted(at: int) -> Iterator[list[str]]:
    """A signal handler raises at the so many-th place where one may run within the package: when a function is entered, and when one that is not
    written in Python has returned, as which those of stub.py count. The list says where that was."""
    places: list[str] = []
    left = at

    def handler(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        where = frame.f_code.co_filename
        if event == "return" and where == stub.__file__ and frame.f_back is not None:
            where = frame.f_back.f_code.co_filename
        elif event not in ("call", "c_return"):
            return
        if where.startswith(PACKAGE):
            left -= 1
            if left < 0 and not places:
                places.append(f"{where}:{frame.f_lineno} {event}")
                raise KeyboardInterrupt

    sys.setprofile(handler)
    try:
        yield places
    except KeyboardInterrupt:
        assert places
    finally:
        sys.setprofile(None)


def test_a_wait_that_is_interrupted_anywhere_can_be_waited_for_again() -> None:
    at, places = 0, ["before the first"]
    while places:
        handle = handle_of(*prints())
        with interrupted(at) as places:
            handle.wait()
        done = in_time(handle.wait, places)
        assert (done.stdout, done.printed, len(done.gaps)) == ("one\ntwo\n", (8, 5), 1), (at, places)
        at += 1
    assert at > 50, f"{at}: there are many such places"


def test_a_claim_that_is_interrupted_anywhere_leaves_no_sandbox() -> None:
    at, places = 0, ["before the first"]
    while places:
        client, native = Client(), stub.Sandbox("a")
        client._native = claimed(native)  # type: ignore[assignment]
        sandbox = None
        with interrupted(at) as places:
            sandbox = client.acquire("p")
        # What never came out of the native half is released there.
        assert sandbox is not None or native.is_released or native not in Completions.delivered, (at, places)
        at += 1
    assert at > 20, "there are many such places"


def test_an_interrupted_map_ends_what_its_threads_wait_for() -> None:
    client = Client()
    runs = [Call(), Call()]
    natives = [stub.Sandbox(name, runs=[run]) for name, run in zip("ab", runs, strict=True)]
    client._native = claimed(*natives)  # type: ignore[assignment]

    def work(sandbox: Sandbox, item: int) -> None:
        sandbox.commands.run("sleep 1000")

    def interrupt() -> None:
        until(lambda: all(run.started for run in runs), "both commands run")
        interrupt_us()
        try:
            until(lambda: all(run.cancelled for run in runs), "both are given up", 20)
        finally:
            for run in runs:
                run.end(((0, None, None, [], 0.0, 1.0), b"", b"", (0, 0), []))

    with ends_by_interrupt(interrupt):
        client.map(range(4), work, pool="p", concurrency=2)
    assert all(run.cancelled for run in runs)
    assert all(native.is_released for native in natives)
