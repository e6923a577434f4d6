"""Many Sandboxes, and programs that die."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from arl_sandbox import (
    ApiError,
    ArlError,
    AsyncClient,
    AsyncSandbox,
    Client,
    ForbiddenError,
    NotFoundError,
    NotReadyError,
    Sandbox,
    SandboxNotFoundError,
    UnreachableError,
    UsageError,
)
from world import World, ends_by_interrupt, interrupt_us, kubectl, template, until


async def test_map_tries_again_only_what_is_the_infrastructures_fault(async_client: AsyncClient) -> None:
    tries = [0, 0, 0]
    used = set()

    async def work(sandbox: AsyncSandbox, item: int) -> int:
        tries[item] += 1
        used.add(sandbox.name)
        if item == 0 and tries[0] < 3:
            raise UnreachableError("away", fault="infrastructure")
        if item == 1:
            await sandbox.files.read("nothing")
        return item

    done = await async_client.map(range(3), work, pool="p", concurrency=3, retries=2, return_exceptions=True)
    assert (done[0], done[2]) == (0, 2) and isinstance(done[1], NotFoundError)
    assert tries == [3, 1, 1] and len(used) == 5, "each try has a Sandbox of its own"
    with pytest.raises(NotFoundError):
        await async_client.map([1], work, pool="p")


def test_the_sync_map_does_the_same(world: World, client: Client) -> None:
    def work(sandbox: Sandbox, item: int) -> str:
        return sandbox.commands.run(f"echo {item}").stdout

    assert client.map(range(4), work, pool="p", concurrency=2) == [f"{i}\n" for i in range(4)]
    assert not world.sandboxes(client.run_id)


def test_an_interrupted_map_ends_its_commands_and_releases_its_sandboxes(world: World, client: Client) -> None:
    running: list[int] = []

    def work(sandbox: Sandbox, item: int) -> None:
        # It is known to run once it has printed.
        sandbox.commands.run("echo; sleep 1111", on_stdout=lambda text: running.append(item))

    def interrupt() -> None:
        until(lambda: len(running) == 2, "both commands run")
        interrupt_us()

    with ends_by_interrupt(interrupt):
        client.map(range(4), work, pool="p", concurrency=2)
    assert sorted(running) == [0, 1]
    assert not world.sandboxes(client.run_id)


async def test_what_nobody_waits_for_is_deleted(world: World) -> None:
    async with AsyncClient(kubeconfig=world.kubeconfig) as client:
        for step in range(12):
            claim = asyncio.create_task(client.acquire("p"))
            await asyncio.sleep(step / 100)
            claim.cancel()
            try:
                await (await claim).kill()
            except asyncio.CancelledError:
                pass
        await asyncio.to_thread(until, lambda: not world.sandboxes(client.run_id), "no Sandbox is left")
        kept = await client.acquire("p")
        assert world.sandboxes(client.run_id) == [kept.name]
    assert not world.sandboxes(client.run_id), "a context manager kills what it has claimed"


def test_fork_copies_a_directory(sandbox: Sandbox) -> None:
    sandbox.files.write("/workspace/state", "learned")
    forks = sandbox.fork(2, path="/workspace")
    assert [fork.files.read("state") for fork in forks] == ["learned"] * 2
    assert len({sandbox.name, *(fork.name for fork in forks)}) == 3
    for fork in forks:
        fork.terminate()
    with pytest.raises(ArlError):
        sandbox.fork(1, path="/no/such/directory")


def test_a_snapshot_is_what_others_start_from(client: Client, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.files.write("/workspace/deep/state", "learned", mode=0o600)
    sandbox.files.write("/tmp/one", "1")
    in_memory = sandbox.snapshot("/workspace", "/tmp/one")
    in_file = sandbox.snapshot("/workspace", "/tmp/one", to=tmp_path / "state.tar")
    assert in_file.archive == str(tmp_path / "state.tar")
    assert (tmp_path / "state.tar").stat().st_size == in_file.size == in_memory.size
    writer = io.BytesIO()
    elsewhere = sandbox.snapshot("/workspace", to=writer)
    assert elsewhere.archive is None and len(writer.getvalue()) == elsewhere.size
    again = dataclasses.replace(elsewhere, archive=writer.getvalue())
    sandbox.kill()
    for snapshot in (in_memory, in_file, again):
        made = Sandbox.create("p", client=client, snapshot=snapshot)
        assert made.files.read("/workspace/deep/state") == "learned"
        assert made.files.get_info("/workspace/deep/state").mode == 0o600
        assert made.files.exists("/tmp/one") == (snapshot is not again)
        made.kill()
    with pytest.raises(UsageError, match="archive"):
        client.acquire("p", snapshot=elsewhere)
    changed = bytearray(writer.getvalue())
    changed[700] ^= 1
    with pytest.raises(ArlError, match="not the archive"):
        client.acquire("p", snapshot=dataclasses.replace(elsewhere, archive=bytes(changed)))


def test_another_program_connects_to_a_sandbox(world: World, client: Client, sandbox: Sandbox) -> None:
    sandbox.files.write("kept", "here")
    with Client(kubeconfig=world.kubeconfig) as other:
        same = Sandbox.connect(sandbox.name, client=other, envs={"A": "a"})
        assert (same.name, same.pod, same.pool, same.container) == (sandbox.name, sandbox.pod, "p", sandbox.container)
        assert same.commands.run("cat kept; echo $A").stdout == "herea\n"
    assert world.sandboxes(client.run_id) == [sandbox.name], "a client that is closed leaves it alone"
    same.kill()
    until(lambda: not world.sandboxes(client.run_id), "killed, it is gone")
    with pytest.raises(SandboxNotFoundError, match=f"no Sandbox {sandbox.name} in namespace {world.namespace}") as gone:
        client.open(sandbox.name)
    assert (gone.value.code, gone.value.fault, gone.value.sandbox) == (404, "usage", sandbox.name)
    waiting = {"apiVersion": "arl.infra.io/v1alpha1", "kind": "Sandbox", "metadata": {"name": "waiting"}, "spec": {"poolRef": "nowhere"}}
    world.create(waiting)
    with pytest.raises(NotReadyError):
        client.open("waiting")
    kubectl("delete", "-n", world.namespace, "sandbox", "waiting")


def test_a_pool_of_ones_own_is_made_and_reaped(world: World) -> None:
    client = Client(kubeconfig=world.kubeconfig_of("harbor"))
    client.create_pool("own", template(), replicas=1)
    sandbox = client.acquire("own")
    assert sandbox.commands.run("echo hi").stdout == "hi\n"
    client.delete_pool("own")
    client.delete_pool("own")
    assert sandbox.commands.run("echo still").stdout == "still\n", "Sandboxes keep their pods"
    client.create_pool("own", template(), replicas=0)
    with pytest.raises(ApiError) as twice:
        client.create_pool("own", template())
    assert (twice.value.code, twice.value.fault) == (409, "usage")
    assert client.reap() == 1
    assert not world.get("warmpools", "-l", f"arl.infra.io/run-id={client.run_id}")
    with Client(kubeconfig=world.kubeconfig) as other, pytest.raises(ForbiddenError):
        other.create_pool("own", template())


def test_a_task_is_the_audited_way(sandbox: Sandbox) -> None:
    status = sandbox.task([{"name": "a", "type": "Command", "command": ["sh", "-c", "echo hi"]}], timeout=60)
    assert (status["state"], status["stdout"]) == ("Succeeded", "hi\n")


def test_variables_of_a_sandbox_are_those_of_its_tasks_too(client: Client) -> None:
    with client.acquire("p", sandbox_envs={"A": "sandbox's", "B": "sandbox's"}, envs={"B": "own"}) as sandbox:
        assert sandbox.commands.run("echo $A $B").stdout == "sandbox's own\n"
        show = {"name": "a", "type": "Command", "command": ["sh", "-c", "echo $A $B"]}
        assert sandbox.task([show], timeout=60)["stdout"] == "sandbox's sandbox's\n"


def test_a_sandbox_is_set_up_before_it_is_claimed(client: Client) -> None:
    def step(script: str) -> dict[str, object]:
        return {"name": "a", "type": "Command", "command": ["sh", "-c", script]}

    with client.acquire("p", setup=[step("echo made >made")], setup_timeout=60) as sandbox:
        assert sandbox.commands.run("cat made").stdout == "made\n"
    with pytest.raises(NotReadyError, match=r"its setup failed .*exit code 3") as failed:
        client.acquire("p", setup=[step("exit 3")])
    assert failed.value.fault == "usage"
    with pytest.raises(NotReadyError, match="its setup failed .*TimedOut"):
        client.acquire("p", setup=[step("sleep 60")], setup_timeout=0.2)
    with pytest.raises(UsageError, match="setup_timeout"):
        client.acquire("p", setup_timeout=-1)


def test_set_timeout_changes_the_idle_time(world: World, client: Client) -> None:
    sandbox = client.acquire("p", timeout=100, labels={"a": "b"})
    spec = next(one for one in world.get("sandboxes", "-l", "a=b"))["spec"]
    assert spec["ttlSecondsAfterFinished"] == 100
    sandbox.set_timeout(1)
    until(lambda: sandbox.name not in world.sandboxes(client.run_id), "idle, it is deleted")
    sandbox.kill()


CRASHES = """
import json, sys
from arl_sandbox import Client
client = Client(kubeconfig=sys.argv[1], run_id=sys.argv[2])
held = [client.acquire("p") for _ in range(2)]
print(json.dumps([one.name for one in held]), flush=True)
held[0].commands.run("sleep 1000")
"""


def test_reap_removes_what_a_killed_program_left(world: World, client: Client) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", CRASHES, world.kubeconfig, "crashed"], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    held = json.loads(program.stdout.readline())
    os.kill(program.pid, signal.SIGKILL)
    assert program.wait() == -signal.SIGKILL
    assert sorted(world.sandboxes("crashed")) == sorted(held)
    assert client.reap("crashed") == 2
    until(lambda: not world.sandboxes("crashed"), "they are gone")
    assert client.reap("crashed") == 0


def test_what_a_killed_program_left_goes_by_itself(world: World) -> None:
    crashes = CRASHES.replace('client.acquire("p")', 'client.acquire("p", timeout=3)').replace("sleep 1000", "sleep 1")
    program = subprocess.Popen(
        [sys.executable, "-c", crashes + "input()", world.kubeconfig, "left"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    assert len(json.loads(program.stdout.readline())) == 2
    program.kill()
    program.wait()
    until(lambda: not world.sandboxes("left"), "idle, they are deleted")


FORKS = """
import os, sys, multiprocessing
from arl_sandbox import Client
def work(kubeconfig):
    with Client(kubeconfig=kubeconfig) as client:
        return client.acquire("p").commands.run("echo spawned").stdout
if __name__ == "__main__":
    client = Client(kubeconfig=sys.argv[1])
    with client.acquire("p") as sandbox, sandbox.commands.run("sleep 1000", background=True) as handle:
        pid = os.fork()
        if pid == 0:
            for use in (lambda: sandbox.commands.run("true"), handle.kill, lambda: handle.send_signal(9)):
                try:
                    use()
                    os._exit(0)
                except RuntimeError as error:
                    print(error, flush=True)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert sandbox.commands.run("echo parent").stdout == "parent\\n"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, [sys.argv[1]]))
"""


def test_a_forked_process_is_told_so_and_a_spawned_one_works(world: World, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "forks.py").write_text(FORKS)
    program = [sys.executable, str(tmp_path / "forks.py"), world.kubeconfig]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "forked" in done.stdout and "spawn" in done.stdout and "['spawned\\n']" in done.stdout


async def test_fifty_sandboxes_run_twenty_commands_each_at_once(world: World) -> None:
    world.pool("fleet", 15)

    async def commands(sandbox: AsyncSandbox, number: int) -> list[str]:
        run = [sandbox.commands.run(f"echo {number} {i}", timeout=60) for i in range(20)]
        return [done.stdout for done in await asyncio.gather(*run)]

    before = threading.active_count()
    async with AsyncClient(kubeconfig=world.kubeconfig) as client:
        fleet = await asyncio.gather(*[client.acquire("fleet") for _ in range(50)])
        printed = await asyncio.gather(*[commands(sandbox, number) for number, sandbox in enumerate(fleet)])
        assert threading.active_count() == before, "no thread waits for a call"
        assert printed == [[f"{number} {i}\n" for i in range(20)] for number in range(50)]
        timings = client.timings
        assert (timings.claim.count, timings.command.count) == (50, 1000)
        assert 0 < timings.command.p50 <= timings.command.p90 <= timings.command.p99 <= timings.command.max
        kubectl("delete", "-n", world.namespace, "warmpool", "fleet", "--wait=false")
