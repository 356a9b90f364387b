"""Connections' recovery records in Redis, by secret pid. Knows nothing of what is in them."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from storage.errors import StorageUnavailable
from storage.interfaces import RecordAnswer
from storage.redis.bus import RedisBus
from storage.redis.client import RedisClient

_ANSWERS: Mapping[bytes, RecordAnswer] = {b"ok": "ok", b"taken": "taken", b"late": "late"}


class RedisRecords:
    """`storage.interfaces.Records`. A record whose connection lives is kept alive from here, so that one
    whose node died goes `window` (seconds) to twice that later."""

    shared = True

    def __init__(self, client: RedisClient, bus: RedisBus, *, window: float) -> None:
        self._client, self._bus = client, bus
        self._window = window
        self._ttl = max(2, round(window * 2))
        self._live: set[str] = set()
        self._put = client.script("put")
        self._take = client.script("take")
        self._keeper: asyncio.Task[None] | None = None

    def _key(self, pid: str) -> str:
        return f"{self._client.prefix}:record:{pid}"

    async def put(self, pid: str, epoch: str, generation: int, version: int, record: bytes) -> RecordAnswer:
        """Raises StorageUnavailable."""
        answer, stamp, pos = await self._client.run_script(
            self._put, (self._key(pid),), epoch, generation, version, record, self._ttl
        )
        self._client.saw(stamp, pos)
        if answer == b"ok":
            self._keep(pid)
        return _ANSWERS[answer]

    async def take(self, pid: str, owner: bytes) -> tuple[str, int, bytes] | None:
        """Raises StorageUnavailable."""
        found = await self._client.run_script(self._take, (self._key(pid),), self._ttl, owner)
        if found is None:
            return None
        self._keep(pid)
        epoch, generation, record, stamp, pos = found
        self._client.saw(stamp, pos)
        # Not from the script: Redis has no key to prove it with.
        self._bus.signal("all", "takeover", msgspec.json.encode([pid, generation]))
        return epoch.decode(), generation, record

    async def generations(self, pids: Sequence[str]) -> Mapping[str, int]:
        """Raises StorageUnavailable."""
        found: dict[str, int] = {}
        for start in range(0, len(pids), 500):
            some = pids[start : start + 500]
            calls = [self._client.call("HGET", self._key(pid), "generation") for pid in some]
            for pid, call in zip(some, calls, strict=True):
                generation = await call
                if generation is not None:
                    found[pid] = int(generation)
        return found

    async def expire(self, pids: Sequence[str], seconds: float) -> None:
        """Raises StorageUnavailable."""
        self._live.difference_update(pids)
        if not pids:
            return
        if seconds <= 0:
            await self._client.call("DEL", *map(self._key, pids))
        else:
            calls = [self._client.call("PEXPIRE", self._key(pid), round(seconds * 1000)) for pid in pids]
            await calls[-1]

    # --- keeping

    def _keep(self, pid: str) -> None:
        self._live.add(pid)
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep_alive())

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self._window / 2)
            pids = list(self._live)
            for start in range(0, len(pids), 500):
                calls = [
                    self._client.call("EXPIRE", self._key(p), self._ttl) for p in pids[start : start + 500]
                ]
                try:
                    await calls[-1]
                except StorageUnavailable:
                    break

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
