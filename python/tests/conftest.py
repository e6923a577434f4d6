"""One namespace for all tests, and clients of a user in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from arl_sandbox import AsyncClient, AsyncSandbox, Client, Sandbox
from arl_sandbox._async import _calls as async_calls
from arl_sandbox._sync import _calls as sync_calls
from stub import Completions
from world import World, template


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """With the pools ``p`` of three small pods, ``small``, whose pods have little memory, and ``unpullable``."""
    world = World("sdk")
    try:
        world.pool("p", 3)
        world.pool("unpullable", 1, template("127.0.0.1:1/no-such-image:1"))
        world.pool("small", 1, template(resources={"limits": {"memory": "32Mi"}}))
        yield world
    finally:
        world.close(bool(request.session.testsfailed))


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    """Kills what it has claimed."""
    with Client(kubeconfig=world.kubeconfig) as client:
        yield client


@pytest.fixture
def sandbox(client: Client) -> Sandbox:
    """A Sandbox of the pool ``p``."""
    return client.acquire("p")


@pytest.fixture
async def async_client(world: World) -> AsyncIterator[AsyncClient]:
    """Kills what it has claimed."""
    async with AsyncClient(kubeconfig=world.kubeconfig) as client:
        yield client


@pytest.fixture
async def async_sandbox(async_client: AsyncClient) -> AsyncSandbox:
    """A Sandbox of the pool ``p``."""
    return await async_client.acquire("p")


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are those of stub.py."""
    monkeypatch.setattr(async_calls, "Completions", Completions)
    monkeypatch.setattr(sync_calls, "Completions", Completions)
    monkeypatch.setattr(sync_calls, "_IDLE", [])
    monkeypatch.setattr(Completions, "delivered", [])
