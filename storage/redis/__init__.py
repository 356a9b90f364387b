"""The cluster's side of every interface in `storage.interfaces`, on one Redis."""

from collections.abc import Callable, Collection, Sequence

from storage.interfaces import Clock, Vouch, longest_absence
from storage.nodekey import NodeKey
from storage.redis.buckets import RedisBuckets
from storage.redis.bus import RedisBus
from storage.redis.client import RedisClient
from storage.redis.log import RedisLog
from storage.redis.presence import BEAT, RedisPresence
from storage.redis.records import RedisRecords
from storage.redis.streams import RedisStreams

__all__ = ["BEAT", "Cluster"]


async def _nobody(nodes: Sequence[str]) -> Collection[str]:
    """Nodes live as long as Redis knows of them."""
    return ()


class Cluster:
    """All of them for one node, over one command connection and one subscriber's. Durations in seconds. By
    `key` and `now`, the same on all nodes, what they say to each other is told from what others write."""

    def __init__(
        self,
        url: str,
        node: str,
        clock: Clock,
        *,
        key: bytes,
        now: Clock,
        prefix: str,
        timeout: float,
        window: float,
        log_size: int,
        log_bytes: int,
        node_lease: float,
        address: str = "",
        vouch: Vouch = _nobody,
        on_emit: Callable[[bytes], None] = lambda message: None,
    ) -> None:
        self.client = client = RedisClient(url, prefix=prefix, timeout=timeout)
        self.key = NodeKey(key, now)
        self.bus = RedisBus(client, node, self.key, on_emit)
        self.log = RedisLog(client, window=window, log_size=log_size, log_bytes=log_bytes)
        self.streams = RedisStreams(client, self.log)
        self.records = RedisRecords(client, self.bus, window=window)
        self.presence = RedisPresence(
            client,
            node,
            self.key,
            lease=node_lease,
            kept=longest_absence(window),
            address=address,
            vouch=vouch,
        )
        self.buckets = RedisBuckets(client, clock)

    async def close(self) -> None:
        await self.records.close()
        await self.bus.close()
        await self.client.close()
