"""Token buckets over all nodes; with Redis away, or slow, each node counts for itself."""

import asyncio
from collections.abc import Awaitable
from functools import partial
from typing import Any

from storage.buckets import MemoryBuckets
from storage.errors import StorageUnavailable
from storage.interfaces import Clock
from storage.redis.client import RedisClient

#: Seconds that a command waits for its bucket: no answer may wait for a Redis that hangs.
PATIENCE = 0.25
#: Empty buckets that are remembered until they have a token again: a flood is refused without asking Redis.
EMPTY = 10_000
#: Buckets that are remembered because they had many tokens, and the part of these that is taken without
#: waiting for Redis's answer: who is far below a limit does not wait for its count. Where other nodes take
#: all of them meanwhile, so many more than there are pass here, once.
AMPLE, AHEAD = 10_000, 16


class _Ample:
    """A bucket that was at least half full: its tokens, and those that Redis has been asked for since."""

    __slots__ = ("asked", "left")

    def __init__(self, left: int) -> None:
        self.left, self.asked = left, 0


class RedisBuckets:
    """`storage.interfaces.Buckets`."""

    def __init__(self, client: RedisClient, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._own = MemoryBuckets(clock)
        self._empty: dict[str, float] = {}  # key -> when there is a token
        self._ample: dict[str, _Ample] = {}
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
        ample = self._ample.get(key)
        if ample is not None and ample.asked < ample.left // AHEAD:
            ample.asked += 1
            reply.add_done_callback(partial(self._answered, key, capacity, ample))
            return 0.0
        return self._answer(reply, key, capacity, per_second)

    async def _answer(
        self, reply: "asyncio.Future[Any]", key: str, capacity: float, per_second: float
    ) -> float:
        try:
            async with asyncio.timeout(PATIENCE):
                answer = int(await reply)
        except (TimeoutError, StorageUnavailable):
            return self._own.take(key, capacity, per_second)
        return self._learn(key, capacity, answer)

    def _answered(self, key: str, capacity: float, ample: _Ample, reply: "asyncio.Future[Any]") -> None:
        ample.asked -= 1
        if reply.cancelled() or reply.exception() is not None:
            self._ample.pop(key, None)
        else:
            self._learn(key, capacity, int(reply.result()))

    def _learn(self, key: str, capacity: float, answer: int) -> float:
        """What Redis answered: milliseconds to wait, or tokens that are left. The wait in seconds."""
        if answer > 0:
            self._ample.pop(key, None)
            self._empty[key] = self._clock() + answer / 1000
            if len(self._empty) > EMPTY:
                del self._empty[next(iter(self._empty))]
            return answer / 1000
        left, ample = -answer, self._ample.get(key)
        if left < max(capacity / 2, AHEAD):
            self._ample.pop(key, None)
        elif ample is not None:
            ample.left = left
        else:
            self._ample[key] = _Ample(left)
            if len(self._ample) > AMPLE:
                del self._ample[next(iter(self._ample))]
        return 0.0
