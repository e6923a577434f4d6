"""What goes wrong has the right type and blame, in seconds and not at a deadline."""

from __future__ import annotations

import asyncio
import json
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from arl_sandbox import (
    AsyncClient,
    Client,
    CommandMemoryError,
    ConfigError,
    ForbiddenError,
    NotFoundError,
    NotReadyError,
    PodLostError,
    PoolNotFoundError,
    UsageError,
)
from world import World, kubectl, template

T = TypeVar("T")


@contextmanager
def soon(seconds: float) -> Iterator[None]:
    """Well before the two minutes, or five, that a deadline is."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def test_a_pool_that_is_not_there(client: Client) -> None:
    with soon(20), pytest.raises(PoolNotFoundError) as missing:
        client.acquire("no-such-pool")
    assert (missing.value.fault, missing.value.reason) == ("usage", "PoolNotFound")


def test_an_image_that_cannot_be_pulled(client: Client) -> None:
    with soon(60), pytest.raises(NotReadyError) as unpullable:
        client.acquire("unpullable")
    assert (unpullable.value.fault, unpullable.value.reason) == ("usage", "ImagePullBackOff")
    assert "no-such-image" in str(unpullable.value)


def test_a_quota(world: World) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"requests.example.com/few": "0"}}}
    # Of a kind that the pods of other pools do not ask for.
    asks = template(resources={"limits": {"example.com/few": "1"}})
    world.create(quota)
    try:
        world.pool("poor", 1, asks)
        with Client(kubeconfig=world.kubeconfig) as client, soon(60), pytest.raises(NotReadyError) as refused:
            client.acquire("poor", wait=20)
        # Another may give room back, so that it is waited for.
        assert (refused.value.fault, refused.value.reason) == ("infrastructure", "PoolEmpty")
        assert "quota" in str(refused.value)
    finally:
        kubectl("delete", "-n", world.namespace, "resourcequota", "few")
        kubectl("delete", "-n", world.namespace, "warmpool", "poor")


def test_a_pool_that_is_empty_for_now(world: World, client: Client) -> None:
    world.pool("none", 0)
    with soon(30), pytest.raises(NotReadyError) as empty:
        client.acquire("none", wait=1)
    assert (empty.value.fault, empty.value.reason) == ("infrastructure", "PoolEmpty")
    assert not world.sandboxes(client.run_id), "what was not claimed is deleted"


async def test_a_pod_that_goes_in_the_middle_of_a_command(world: World, async_client: AsyncClient) -> None:
    sandbox = await async_client.acquire("p")
    command = asyncio.create_task(sandbox.commands.run("sleep 1000"))
    while not await sandbox.commands.list():
        pass
    with soon(60):
        await asyncio.to_thread(kubectl, "delete", "-n", world.namespace, "pod", sandbox.pod, "--grace-period=1", "--wait=false")
        with pytest.raises(PodLostError) as lost:
            await command
    assert (lost.value.fault, lost.value.pod) == ("infrastructure", sandbox.pod)


async def test_a_sandbox_that_is_killed_in_the_middle_of_a_command(async_client: AsyncClient) -> None:
    sandbox = await async_client.acquire("p")
    command = asyncio.create_task(sandbox.commands.run("sleep 1000"))
    while not await sandbox.commands.list():
        pass
    await sandbox.kill()
    with soon(60), pytest.raises(PodLostError, match="was deleted") as lost:
        await command
    assert (lost.value.fault, lost.value.pod) == ("usage", sandbox.pod)


@pytest.mark.parametrize("how", ["killed", "closed"])
async def test_a_sandbox_that_was_given_up_takes_no_more(async_client: AsyncClient, how: str) -> None:
    sandbox = await async_client.acquire("p")
    await (sandbox.kill() if how == "killed" else async_client.close())
    for call in (sandbox.commands.run("true"), sandbox.files.read("/etc/hostname"), sandbox.commands.list()):
        with soon(60), pytest.raises(PodLostError, match="its Sandbox was released") as lost:
            await call
        assert lost.value.fault == "usage"


def test_a_task_in_a_sandbox_that_is_gone(client: Client) -> None:
    sandbox = client.acquire("p")
    sandbox.kill()
    with soon(60), pytest.raises(PodLostError, match="was deleted") as lost:
        sandbox.task([{"name": "a", "type": "Command", "command": ["true"]}], timeout=10)
    assert (lost.value.fault, lost.value.pod) == ("usage", sandbox.pod)


async def test_a_pod_that_is_evicted_in_the_middle_of_a_command(world: World, async_client: AsyncClient) -> None:
    sandbox = await async_client.acquire("p")
    command = asyncio.create_task(sandbox.commands.run("sleep 1000"))
    while not await sandbox.commands.list():
        pass
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": sandbox.pod, "namespace": world.namespace},
    }
    path = f"/api/v1/namespaces/{world.namespace}/pods/{sandbox.pod}/eviction"
    with soon(60):
        await asyncio.to_thread(kubectl, "create", "--raw", path, "-f", "-", given=eviction)
        with pytest.raises(PodLostError) as lost:
            await command
    assert (lost.value.fault, lost.value.pod) == ("infrastructure", sandbox.pod)


def test_more_output_than_is_kept(client: Client) -> None:
    sandbox = client.acquire("p")
    with soon(60):
        done = sandbox.commands.run("head -c 3000000 /dev/zero; echo end >&2", keep=1_000_000)
    assert (done.exit_code, done.truncated, len(done.stdout_bytes)) == (0, True, 1_000_000)
    assert (done.printed, done.stderr) == ((3_000_000, 4), "end\n")


def test_memory(client: Client) -> None:
    sandbox = client.acquire("small")
    done = sandbox.commands.run("echo begun; tail /dev/zero")
    assert (done.out_of_memory, done.stdout) == (True, "begun\n")
    with pytest.raises(CommandMemoryError) as failed:
        sandbox.commands.run("tail /dev/zero", check=True)
    assert failed.value.fault == "task"
    assert sandbox.commands.run("echo alive").stdout == "alive\n"


def granted(call: Callable[[], T]) -> T:
    """The API server hears of a right a moment after it is granted."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return call()
        except ForbiddenError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_no_rights(world: World) -> None:
    nobody = Client(kubeconfig=world.kubeconfig_of("nobody"))
    with soon(20), pytest.raises(ForbiddenError) as forbidden:
        nobody.acquire("p")
    assert (forbidden.value.fault, forbidden.value.code) == ("usage", 403)
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "claims"},
        "rules": [{"apiGroups": ["arl.infra.io"], "resources": ["sandboxes"], "verbs": ["*"]}],
    }
    world.create(role)
    world._bind("nobody", "Role", "claims")
    claimed = granted(lambda: nobody.acquire("p"))
    with claimed as sandbox, soon(20), pytest.raises(ForbiddenError, match="pods/exec") as no_exec:
        sandbox.commands.run("true")
    assert (no_exec.value.fault, no_exec.value.code) == ("usage", 403)


def test_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as nowhere:
        Client(kubeconfig="/no/such/kubeconfig").acquire("p")
    assert nowhere.value.fault == "usage"


def test_errors_can_be_sent_to_other_processes() -> None:
    error = pickle.loads(pickle.dumps(NotFoundError("gone", fault="task", kind="not_found", errno=2)))
    assert type(error) is NotFoundError and str(error) == "gone"
    assert (error.fault, error.kind, error.errno) == ("task", "not_found", 2)


@pytest.fixture
def nowhere(tmp_path: Path) -> Client:
    """Of a cluster that does not answer: what is sent fails otherwise."""
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}
    context = {"name": "c", "context": {"cluster": "c", "namespace": "n", "user": "u"}}
    config = {"clusters": [cluster], "contexts": [context], "users": [{"name": "u", "user": {}}], "current-context": "c"}
    (tmp_path / "kubeconfig").write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **config}))
    return Client(kubeconfig=tmp_path / "kubeconfig")


@pytest.mark.parametrize("name", ["?x", "", "a/b", "..", "A"])
def test_a_name_that_would_make_another_request(nowhere: Client, name: str) -> None:
    # Put into the deletion of one, it would be that of all.
    with pytest.raises(UsageError, match="name"):
        nowhere.delete_pool(name)
    with pytest.raises(UsageError, match="name"):
        nowhere.create_pool(name, {"spec": {"containers": []}})
    with pytest.raises(UsageError, match="name"):
        nowhere.open(name)
