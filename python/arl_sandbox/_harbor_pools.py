"""Pools that are made on demand, and removed once nobody of this process uses them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Coroutine
from typing import Any

from ._async.client import AsyncClient


class Pools:
    """Of one client: never more than are in use."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._process = secrets.token_hex(4)
        self._users: dict[str, int] = {}
        self._made: set[str] = set()
        self._locks: dict[str, asyncio.Lock] = {}

    async def use(self, template: dict[str, Any], most: int) -> str:
        """The name of a pool of this template, of so many idle pods at most, which the first user makes. Each user has to :meth:`leave` it."""
        wanted = json.dumps([template, most], sort_keys=True)
        name = f"harbor-{self._process}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
        # Counted at once, so that whoever leaves meanwhile does not take it away.
        self._users[name] = self._users.get(name, 0) + 1
        try:
            async with self._lock(name):
                if name not in self._made:
                    await _whole(self._make(name, template, most))
        except BaseException:
            await asyncio.shield(self.leave(name))
            raise
        return name

    async def leave(self, name: str) -> None:
        """The last user removes the pool."""
        self._users[name] -= 1
        async with self._lock(name):
            if self._users[name] == 0 and name in self._made:
                await self._client.delete_pool(name)
                self._made.discard(name)

    async def _make(self, name: str, template: dict[str, Any], most: int) -> None:
        # Where this process is killed, it falls asleep.
        await self._client.create_pool(name, template, replicas=0, max_replicas=most)
        self._made.add(name)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Does all of it, also where the caller is cancelled meanwhile: otherwise nobody would know what came of it."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
