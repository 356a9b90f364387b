"""Token buckets over all nodes; with Redis away, or slow, each node counts for itself."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from storage.errors import Unavailable
from storage.interfaces import Clock
from storage.memory import MemoryBuckets
from storage.redis.client import Client

#: Seconds that a command waits for its bucket: no answer may wait for a Redis that hangs.
PATIENCE = 0.25


class RedisBuckets:
    """`storage.interfaces.Buckets`."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._own = MemoryBuckets(clock)
        self._script = client.script("bucket")

    def take(self, key: str, capacity: float, per_second: float) -> float | Awaitable[float]:
        if self._client.overdue > PATIENCE:
            return self._own.take(key, capacity, per_second)
        name = f"{self._client.prefix}:bucket:{key}"
        reply = self._client.run_script(self._script, (name,), capacity, per_second)
        return self._answer(reply, key, capacity, per_second)

    async def _answer(
        self, reply: "asyncio.Future[Any]", key: str, capacity: float, per_second: float
    ) -> float:
        try:
            async with asyncio.timeout(PATIENCE):
                return float(await reply) / 1000
        except (TimeoutError, Unavailable):
            return self._own.take(key, capacity, per_second)
