"""Sandboxes are given up, whatever happens to those who used them. Without a cluster, but for the last ones."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import weakref
from collections.abc import Coroutine
from typing import Any

import anyio
import pytest
from arl_sandbox import ApiError, AsyncClient, AsyncSandbox, Client, PodLostError
from arl_sandbox.mini_swe_agent import ArlEnvironment
from stub import REFUSED, Call, Completions, Native, Sandbox, claimed
from world import World


def client_of(native: Native) -> AsyncClient:
    """An async client for these."""
    client = AsyncClient()
    client._native = native  # type: ignore[assignment]
    return client


def sync_client_of(native: Native) -> Client:
    """A sync client for these."""
    client = Client()
    client._native = native  # type: ignore[assignment]
    return client


async def cancelled_as_it_comes(work: Coroutine[Any, Any, Any], call: Call, value: Any, known: bool) -> None:
    """Cancels a task in the turn of the loop in which its result arrives, before or after (``known``) its future has it."""
    task = asyncio.ensure_future(work)
    while not call.started:
        await asyncio.sleep(0)
    call.end(value)
    if known:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done(), "it has not run yet"
        task.cancel()
    else:
        asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.usefixtures("stubbed")
class TestWithoutACluster:
    """What the native half is asked to do."""

    async def test_a_client_holds_no_sandbox_and_releases_all(self) -> None:
        native = claimed(Sandbox("a"))
        client = client_of(native)
        held = weakref.ref((await client.acquire("p"))._native)
        # The loop has it as long as this turn.
        await asyncio.sleep(0)
        Completions.delivered.clear()
        gc.collect()
        assert held() is None, "it has no stream"
        await client.close()
        assert native.released == ["a"]

    async def test_a_sandbox_that_somebody_has_is_told_that_its_client_is_closed(self) -> None:
        native = Sandbox("a")
        client = client_of(claimed(native))
        sandbox = await client.acquire("p")
        await client.close()
        assert sandbox._native is native and client._native.released == []  # type: ignore[attr-defined, comparison-overlap]
        assert len(native.released) == 1 and not client._held

    async def test_a_sandbox_is_not_taken_for_another_of_its_name(self) -> None:
        before, after = Sandbox("a"), Sandbox("a")
        client = client_of(claimed(before, after))
        old, _ = await client.acquire("p", name="a"), await client.acquire("p", name="a")
        await old.kill()
        await client.close()
        assert before.is_released and after.is_released

    async def test_what_fails_is_tried_again_after_a_pause_that_doubles(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pauses: list[float] = []

        async def pause(seconds: float) -> None:
            pauses.append(seconds)

        async def work(sandbox: AsyncSandbox, item: int) -> None:
            raise PodLostError("it is gone", fault="infrastructure")

        monkeypatch.setattr("arl_sandbox._async.client.pause", pause)
        client = client_of(claimed(*(Sandbox(str(number)) for number in range(10))))
        assert len(await client.map([7], work, pool="p", retries=9, return_exceptions=True)) == 1
        assert pauses == [0.25, 0.5, 1, 2, 4, 8, 16, 16, 16]

    async def test_a_sandbox_is_released_by_a_scope_that_is_cancelled_again_and_again(self) -> None:
        release = Call()
        native = Sandbox("a", release)
        client = client_of(claimed(native))
        with anyio.CancelScope() as scope:
            async with await client.acquire("p"):
                scope.cancel()
                await anyio.sleep_forever()
        assert native.is_released
        release.end(None)
        async with asyncio.timeout(10):
            while client._held:
                await asyncio.sleep(0)
        assert not client._held, "it is known to be gone, though nobody waited for that"

    async def test_a_client_that_is_cancelled_releases_all(self) -> None:
        natives = [Sandbox(name, Call()) for name in "abc"]
        client = client_of(claimed(*natives))
        with anyio.CancelScope() as scope:
            async with client:
                for _ in natives:
                    await client.acquire("p")
                scope.cancel()
                await anyio.sleep_forever()
        assert all(native.is_released for native in natives)

    async def test_one_release_that_fails_stops_no_other(self) -> None:
        natives = [Sandbox("a", Call(None, REFUSED)), Sandbox("b", Call()), Sandbox("c", Call(None, REFUSED))]
        client = client_of(claimed(*natives))
        for _ in natives:
            await client.acquire("p")
        closing = asyncio.ensure_future(client.close())
        while not all(native.released for native in natives):
            await asyncio.sleep(0)
        natives[1].released[0].end(None)
        with pytest.raises(ApiError, match="500"):
            await closing
        assert all(native.is_released for native in natives)
        assert sorted(client._held) == ["a", "c"], "they are tried again"
        await client.close()
        assert not client._held

    def test_one_release_that_fails_stops_no_other_in_the_sync_face(self) -> None:
        natives = [Sandbox("a", Call(None, REFUSED)), Sandbox("b"), Sandbox("c", Call(None, REFUSED))]
        client = sync_client_of(claimed(*natives))
        with pytest.raises(ApiError, match="500"), client:
            for _ in natives:
                client.acquire("p")
        assert all(native.is_released for native in natives)
        assert sorted(client._held) == ["a", "c"]

    async def test_map_keeps_what_was_done_where_the_release_fails(self, caplog: pytest.LogCaptureFixture) -> None:
        calls = []

        async def work(sandbox: AsyncSandbox, item: int) -> int:
            calls.append(item)
            return item

        client = client_of(claimed(Sandbox("a", Call(None, REFUSED)), Sandbox("b")))
        with caplog.at_level(logging.WARNING, "arl_sandbox"):
            assert await client.map([7], work, pool="p") == [7]
        assert calls == [7], "what has succeeded is not done again"
        assert "the API server answers 500" in caplog.text
        assert list(client._held) == ["a"], "closing the client tries it again"

    @pytest.mark.parametrize("known", [False, True])
    async def test_a_claim_that_comes_while_it_is_cancelled_is_released(self, known: bool) -> None:
        native, claim = Sandbox("a"), Call()
        await cancelled_as_it_comes(client_of(Native(claim)).acquire("p"), claim, native, known)
        assert native.is_released

    @pytest.mark.parametrize("known", [False, True])
    async def test_forks_that_come_while_they_are_cancelled_are_released(self, known: bool) -> None:
        parent, forks = Sandbox("a"), [Sandbox("b"), Sandbox("c")]
        sandbox = await client_of(claimed(parent)).acquire("p")
        fork = sandbox.fork(3, path="/x")
        await cancelled_as_it_comes(fork, parent.forks, [forks[0], REFUSED, forks[1]], known)
        assert all(fork.is_released for fork in forks)

    async def test_forks_are_released_where_one_of_them_fails(self) -> None:
        parent, forks = Sandbox("a"), [Sandbox("b", Call(None, REFUSED)), Sandbox("c")]
        parent.forks = Call([forks[0], REFUSED, forks[1]])
        client = client_of(claimed(parent))
        sandbox = await client.acquire("p")
        with pytest.raises(ApiError):
            await sandbox.fork(3, path="/x")
        assert all(fork.is_released for fork in forks) and sorted(client._held) == ["a", "b"]

    def test_an_environment_of_mini_swe_agent_that_nobody_has_is_released(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        natives = [Sandbox("a"), Sandbox("b")]
        client = sync_client_of(claimed(*natives))
        monkeypatch.setattr(Client, "default", lambda namespace=None: client)
        environment = ArlEnvironment(pool="p")
        del environment
        gc.collect()
        assert natives[0].is_released and not client._held
        environment = ArlEnvironment(pool="p")
        environment.cleanup()
        environment.cleanup()
        assert len(natives[1].released) == 1


ENDS = """
import sys
from arl_sandbox.mini_swe_agent import ArlEnvironment
environment = ArlEnvironment(pool="p", kubeconfig=sys.argv[1], interpreter=["sh", "-c"])
print(environment.execute({"command": "echo worked"})["output"], environment.sandbox.client.run_id)
if sys.argv[2] == "interrupted":
    raise KeyboardInterrupt
"""


@pytest.mark.parametrize("how", ["ended", "interrupted"])
def test_a_program_that_ends_releases_the_sandboxes_of_mini_swe_agent(world: World, how: str) -> None:
    program = [sys.executable, "-c", ENDS, world.kubeconfig, how]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120)
    worked, run_id = done.stdout.split()[-2:]
    assert worked == "worked", done.stderr
    assert not world.sandboxes(run_id)
