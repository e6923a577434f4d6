"""One namespace for all tests, and clients of a user in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from arl_sandbox import AsyncClient, AsyncSandbox, Client, Sandbox
from world import World


@pytest.fixture(scope="session")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """With the pools ``p`` of three small pods, and ``root``, whose user is root by name."""
    world = World("sdk")
    try:
        world.pool("p", 3)
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
