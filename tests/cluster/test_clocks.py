"""A node whose wall clock is wrong, or jumps: it says so, and nothing else happens."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cluster.conftest import SHORT, Nodes
from tests.support.doors import Door, enter, new_session
from tests.support.server import Server
from tests.support.services import Redis, library

NewCluster = Callable[..., Nodes]


class WallClock:
    """What libfaketime adds to a process's wall clock, changed while it runs."""

    def __init__(self, folder: Path, offset: str = "+0") -> None:
        self._file = folder / "offset"
        self.set(offset)
        self.settings = {
            "STREAM_LEASE": "60",  # a producer may be silent for as long as a test is slow
            "LD_PRELOAD": str(library("libfaketime.so.1", "faketime")),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset: str) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(offset + "\n")
        new.rename(self._file)


async def clock_of(node: Server, begins: str) -> str:
    """What `/readyz` says of the clock, once it begins so; always with 200."""
    async with node.api() as api, asyncio.timeout(15):
        while True:
            answer = await api.get("/readyz")
            assert answer.status_code == 200, answer.text
            state: str = answer.json()["checks"]["clock"]
            if state.startswith(begins):
                return state
            await asyncio.sleep(0.1)


async def skew(node: Server, against: str) -> float:
    async with node.api() as api:
        lines = (await api.get("/metrics")).text.splitlines()
    (line,) = [each for each in lines if each.startswith(f'parley_clock_skew_seconds{{against="{against}"}}')]
    return float(line.split()[1])


@asynccontextmanager
async def talking(node: Server, other: Server, kind: str) -> AsyncIterator[tuple[Door, Door, str]]:
    """Alice on a node, bob on another one, in a session of six minutes with a stream that alice writes."""
    session = await new_session(other, "alice", members=("bob",), ttl_hours=0.1)
    async with enter(kind, node, "alice", session) as alice, enter("websocket", other, "bob", session) as bob:
        begun = await alice.call("stream_start")
        assert begun["ok"], begun
        stream = begun["message_id"]
        assert (await alice.call("stream_chunk", message_id=stream, index=0, content="a"))["ok"]
        await bob.wait_event("stream_chunk")
        yield alice, bob, stream


async def all_is_well(alice: Door, bob: Door, stream: str) -> None:
    """The stream lives, the session is open, typing ends, and times go the way of the numbers."""
    mark = bob.mark()
    await alice.call("typing", is_typing=True)
    await bob.wait_event("typing", lambda t: t["is_typing"], since=mark)
    await bob.wait_event(
        "typing", lambda t: not t["is_typing"], since=mark, timeout=float(SHORT["TYPING_TTL"]) + 3
    )
    for n in range(4):
        await (alice, bob)[n % 2].message(f"{n}", reply=False)
    chunk = {"message_id": stream, "content": "b"}
    took = await alice.call("stream_chunk", **chunk)
    assert took["ok"], took
    assert not [e for e in bob.named("session") if e["event"] == "expired"]
    times = [m["created_at"] for m in sorted(await bob.history(), key=lambda m: m["seq"])]
    assert times == sorted(times)


@pytest.mark.parametrize("kind", ["socketio", "websocket"])
async def test_the_wall_clock_of_a_running_node_jumps(
    new_cluster: NewCluster, redis: Redis, tmp_path: Path, kind: str
) -> None:
    wall = WallClock(tmp_path)
    node = new_cluster(redis.url, 1, **wall.settings)[0]
    right = new_cluster(redis.url, 1)[0]
    async with talking(node, right, kind) as (alice, bob, stream):
        wall.set("+1h")
        state = await clock_of(node, "+3")
        assert "database" in state and 3590 < await skew(node, "database") < 3610
        assert 3590 < await skew(node, "redis") < 3610
        await all_is_well(alice, bob, stream)
        wall.set("-1h")
        await clock_of(node, "-3")
        await all_is_well(alice, bob, stream)
        wall.set("+0")
        assert await clock_of(node, "ok") == "ok" == await clock_of(right, "ok")
        await alice.call("stream_end", message_id=stream)
        await bob.wait_event("stream_end", lambda e: e["status"] == "complete")
    assert "this machine's clock is off by +3600" in node.log_text()


async def test_a_node_that_is_ten_minutes_ahead(
    new_cluster: NewCluster, redis: Redis, tmp_path: Path
) -> None:
    wall = WallClock(tmp_path, "+10m")
    node = new_cluster(redis.url, 1, **wall.settings)[0]
    right = new_cluster(redis.url, 1)[0]
    async with talking(node, right, "socketio") as (alice, bob, stream):
        await clock_of(node, "+600")
        await all_is_well(alice, bob, stream)
        # What it wrote is ended for it as for any other.
        node.kill9()
        end = await bob.wait_event("stream_end", lambda e: e["message_id"] == stream, timeout=25)
        assert end["status"] == "interrupted"


async def test_a_node_alone_on_sqlite(
    new_server: Callable[..., Server], sqlite_url: str, tmp_path: Path
) -> None:
    """Its wall clock is all there is: it is followed slowly, but for tokens, which others sign by theirs."""
    wall = WallClock(tmp_path)
    node = new_server(sqlite_url, TYPING_TTL=SHORT["TYPING_TTL"], **wall.settings)
    async with talking(node, node, "socketio") as (alice, bob, stream):
        for offset, begins in (("+30m", "+1"), ("-30m", "-1")):
            wall.set(offset)
            await clock_of(node, begins)
            await all_is_well(alice, bob, stream)
