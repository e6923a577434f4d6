"""What is said while there is nothing yet."""

from __future__ import annotations

import logging
import time

import pytest
from arl_sandbox import AsyncClient, AsyncSandbox, Client, NotReadyError
from world import World


@pytest.fixture(scope="module")
def asleep(world: World) -> str:
    """A pool without pods."""
    return world.pool("asleep", 0)


def check(records: list[logging.LogRecord]) -> None:
    """It was said once for all items, why, and while they waited."""
    (told,) = [record for record in records if "waits: " in record.getMessage()]
    assert (told.name, told.levelno) == ("arl_sandbox", logging.WARNING)
    assert "a claim from pool asleep waits: " in told.getMessage()
    assert time.time() - told.created > 2, "it was told before the end"


def test_a_map_says_what_it_waits_for(world: World, asleep: str, caplog: pytest.LogCaptureFixture) -> None:
    with Client(kubeconfig=world.kubeconfig) as client:
        done = client.map(range(3), lambda sandbox, item: item, pool=asleep, retries=0, wait=9, return_exceptions=True)
    check(caplog.records)
    assert [type(one) for one in done] == [NotReadyError] * 3


async def test_an_async_map_says_it_too(world: World, asleep: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work(sandbox: AsyncSandbox, item: int) -> int:
        return item

    async with AsyncClient(kubeconfig=world.kubeconfig) as client:
        await client.map(range(3), work, pool=asleep, retries=0, wait=9, return_exceptions=True)
    check(caplog.records)
