"""Token buckets over all nodes; with Redis away, or slow, each node counts for itself."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from storage.buckets import MemoryBuckets
from storage.errors import StorageUnavailable
from storage.interfaces import Clock
from storage.redis.client import RedisClient

#: Seconds that a command waits for its bucket: no answer may wait for a Redis that hangs.
PATIENCE = 0.25
#: Empty buckets that are remembered until they have a token again: a flood is refused without asking Redis.
EMPTY = 10_000


class RedisBuckets:
    """`storage.interfaces.Buckets`."""

    def __init__(self, client: RedisClient, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._own = MemoryBuckets(clock)
        self._empty: dict[str, float] = {}  # key -> when there is a token
        self._script = client.script("bucket")

    def take(self, key: str, capacity: float, per_second: float) -> float | Awaitable[float]:
        if self._empty and (until := self._empty.get(key)) is not None:
            if (wait := until - self._clock()) > 0.0:
                return wait
            del self._empty[key]
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
                wait = float(await reply) / 1000
        except (TimeoutError, StorageUnavailable):
            return self._own.take(key, capacity, per_second)
        if wait > 0.0:
            self._empty[key] = self._clock() + wait
            if len(self._empty) > EMPTY:
                del self._empty[next(iter(self._empty))]
        return wait
