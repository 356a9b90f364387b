"""Both sides of `storage.interfaces`: one process's memory, and Redis."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from storage.buckets import MemoryBuckets
from storage.interfaces import Event, Kind
from storage.memory import Memory, MemoryPresence, MemoryStreams
from storage.redis import Cluster
from tests.support.services import Redis


class Ears:
    """A receiver that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.signals: list[tuple[str, str, bytes]] = []
        self.lost = 0

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def on_volatile(self, events: Sequence[Event]) -> None:
        self.events.extend(events)

    def on_signal(self, channel: str, name: str, body: bytes) -> None:
        self.signals.append((channel, name, body))

    def on_lost(self) -> None:
        self.lost += 1


class Side:
    """One node's storage: `bus`, `log`, `streams`, `records`, `presence`, `buckets`, and its ears."""

    def __init__(self, **parts: Any) -> None:
        self.ears = Ears()
        self.__dict__.update(parts)

    async def settled(self) -> None:
        """What was published before is heard."""
        await self.bus.echo()


def in_memory(**bounds: Any) -> Side:
    limits = {"window": 60.0, "log_size": 100, "log_bytes": 1 << 20} | bounds
    memory = Memory(time.time, **limits)
    return Side(
        bus=memory,
        log=memory,
        streams=MemoryStreams(memory, time.time),
        records=memory,
        presence=MemoryPresence(time.monotonic, kept=60.0),
        buckets=MemoryBuckets(time.monotonic),
        close=memory.close,
        memory=memory,
    )


def in_redis(redis: Redis, node: str = "n1", **bounds: Any) -> Side:
    limits = {"window": 60.0, "log_size": 100, "log_bytes": 1 << 20, "node_lease": 2.0, "timeout": 2.0}
    limits |= {"key": b"k" * 32, "now": time.time, "prefix": "test"}
    cluster = Cluster(redis.url, node, time.monotonic, **(limits | bounds))
    return Side(
        bus=cluster.bus,
        log=cluster.log,
        streams=cluster.streams,
        records=cluster.records,
        presence=cluster.presence,
        buckets=cluster.buckets,
        close=cluster.close,
        cluster=cluster,
    )


@pytest.fixture(params=["memory", "redis"])
async def new_side(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Any]]:
    """`await new_side(**bounds)`: a connected side of the kind under test; `rooms` are subscribed."""
    made: list[Side] = []

    async def make(rooms: tuple[str, ...] = ("A",), **bounds: Any) -> Side:
        if request.param == "memory":
            side = in_memory(**bounds)
        else:
            side = in_redis(request.getfixturevalue("redis"), **bounds)
        made.append(side)
        await side.bus.connect(side.ears)
        await side.bus.subscribe([f"session:{room}" for room in rooms])
        return side

    yield make
    for side in made:
        await side.close()


@pytest.fixture
async def side(new_side: Callable[..., Any]) -> Side:
    found: Side = await new_side()
    return found


@pytest.fixture
async def new_node(redis: Redis) -> AsyncIterator[Callable[..., Any]]:
    """`await new_node("n2")`: one more node on the same Redis."""
    made: list[Side] = []

    async def make(node: str, **bounds: Any) -> Side:
        side = in_redis(redis, node, **bounds)
        made.append(side)
        await side.bus.connect(side.ears)
        await side.bus.subscribe(["session:A"])
        return side

    yield make
    for side in made:
        await side.close()


def durable(rev: int, room: str = "A", **more: Any) -> Event:
    more = {"seq": rev, "data": b'{"rev":%d}' % rev} | more
    return Event(room, "message", kind=Kind.DURABLE, rev=rev, **more)


def logged(id: str = "", room: str = "A") -> Event:
    return Event(room, "read", b'{"id":"%s"}' % id.encode(), Kind.LOGGED, id=id)


def chunk(stream: str, index: int, *pieces: str, room: str = "A", part: str = "") -> Event:
    sizes = tuple(map(len, pieces))
    data = b'{"content":"%s"}' % "".join(pieces).encode()
    return Event(room, "stream_chunk", data, Kind.LOGGED, stream=stream, index=index, sizes=sizes, part=part)


async def answer(found: Any) -> Any:
    """Memory answers at once, Redis later."""
    return await found if hasattr(found, "__await__") else found
