"""Those who are there are told the truth, whatever became of Redis, of a key in it, of a node, or of both:
through every door, within NODE_LEASE (typing: TYPING_TTL)."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from tests.cluster.conftest import SHORT, Nodes
from tests.support.doors import Door, enter, new_session
from tests.support.proxy import Proxy
from tests.support.server import Server
from tests.support.services import Redis

NewCluster = Callable[..., Nodes]
LEASE, TYPING = float(SHORT["NODE_LEASE"]), float(SHORT["TYPING_TTL"])
#: Beyond a bound for a machine that is busy with other tests.
SLACK = 2.0
DOORS = ("socketio", "websocket", "rest")


@asynccontextmanager
async def watching(node: Server, session: str) -> AsyncIterator[list[Door]]:
    """One member at each door of a node."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(enter(kind, node, f"w-{kind}", session)) for kind in DOORS]


def members(*more: str) -> tuple[str, ...]:
    return (*(f"w-{kind}" for kind in DOORS), *more)


async def told(door: Door, user: str, status: str, within: float, since: int = 0) -> None:
    """The last that the door was told of the user is `status`, and soon."""

    def last() -> str | None:
        found = [p["status"] for p in door.named("presence") if p.get("user_id") == user]
        return found[-1] if found else None

    began = time.monotonic()
    while last() != status:
        left = within - (time.monotonic() - began)
        await door.wait_event("presence", lambda p: p.get("user_id") == user, since=since, timeout=left)
        since = door.mark() if last() != status else since


async def online(node: Server, session: str) -> set[str]:
    async with node.api("alice") as api:
        found = (await api.get(f"/api/chat/sessions/{session}/presence")).json()["online"]
    return {user["user_id"] for user in found}


async def until_online(node: Server, session: str, users: set[str], within: float) -> None:
    async with asyncio.timeout(within):
        while await online(node, session) != users:
            await asyncio.sleep(0.05)


async def test_who_came_and_who_went_while_redis_hung(new_cluster: NewCluster, own_redis: Redis) -> None:
    nodes = new_cluster(own_redis.url, 2)
    session = await new_session(nodes[0], "alice", members=members("bob", "dave"))
    async with watching(nodes[0], session) as doors, AsyncExitStack() as stack:
        bob = await stack.enter_async_context(enter("websocket", nodes[1], "bob", session))
        for door in doors:
            await told(door, "bob", "online", 5)
        own_redis.pause()
        await bob.close()
        await stack.enter_async_context(enter("websocket", nodes[1], "dave", session))
        await asyncio.sleep(LEASE + 1)  # so long that all leases have lapsed: the fault itself
        own_redis.resume()
        for door in doors:
            await told(door, "bob", "offline", LEASE + SLACK)
            await told(door, "dave", "online", LEASE + SLACK)
        everybody = {*members("dave")}
        for node in nodes:
            await until_online(node, session, everybody, LEASE + SLACK)
        for door in doors:  # once, and nobody who is there was said to have gone
            came = [(e["event"], e["user_id"]) for e in door.named("system")]
            assert came.count(("user_left", "bob")) == 1 and came.count(("user_joined", "dave")) == 1
            assert {user for event, user in came if event == "user_left"} == {"bob"}


async def test_redis_comes_back_with_an_older_snapshot(new_cluster: NewCluster, own_redis: Redis) -> None:
    nodes = new_cluster(own_redis.url, 2)
    session = await new_session(nodes[0], "alice", members=members("bob", "dave"))
    other = await new_session(nodes[0], "alice", members=("bob",))
    async with watching(nodes[0], session) as doors, AsyncExitStack() as stack:
        bob = await stack.enter_async_context(enter("websocket", nodes[1], "bob", session))
        elsewhere = await stack.enter_async_context(enter("websocket", nodes[1], "bob", other))
        for door in doors:
            await told(door, "bob", "online", 5)
        async with nodes[0].api("alice") as api:  # a room that bob's node has no member in any more
            assert (await api.get(f"/api/chat/sessions/{other}/presence")).json()["online"]
        own_redis.cli("SAVE")
        await elsewhere.close()
        await until_online(nodes[0], other, set(), 5)
        await bob.close()
        for door in doors:
            await told(door, "bob", "offline", 5)
        dave = await stack.enter_async_context(enter("socketio", nodes[1], "dave", session))
        for door in doors:
            await told(door, "dave", "online", 5)
        # Typing is told, and neither its end nor its refresh can be.
        await dave.call("typing", is_typing=True)
        for door in doors:
            await door.wait_event("typing", lambda t: t["is_typing"])
        own_redis.kill9()
        killed = time.monotonic()
        for door in doors:
            await door.wait_event("typing", lambda t: not t["is_typing"], timeout=TYPING + SLACK)
        assert time.monotonic() - killed < TYPING + SLACK
        own_redis.start()
        for node in nodes:
            await until_online(node, session, {*members("dave")}, LEASE + SLACK)
            await until_online(node, other, set(), LEASE + SLACK)
        for door in doors:
            await told(door, "bob", "offline", LEASE + SLACK)
            await told(door, "dave", "online", LEASE + SLACK)
        # A key that is lost (evicted) is there again before anybody is told that its users had gone.
        marks = [door.mark() for door in doors]
        own_redis.cli("DEL", f"chat:presence:{session}")
        for node in nodes:
            await until_online(node, session, {*members("dave")}, LEASE + SLACK)
        await dave.close()
        for door, mark in zip(doors, marks, strict=True):
            await told(door, "dave", "offline", LEASE + SLACK, mark)
            left = [e["user_id"] for e in door.named("system", mark) if e["event"] == "user_left"]
            assert left == ["dave"]


async def test_a_node_and_redis_die_together(new_cluster: NewCluster, own_redis: Redis) -> None:
    nodes = new_cluster(own_redis.url, 2)
    session = await new_session(nodes[0], "alice", members=members("bob"))
    async with watching(nodes[0], session) as doors, AsyncExitStack() as stack:
        await stack.enter_async_context(enter("websocket", nodes[1], "bob", session))
        for door in doors:
            await told(door, "bob", "online", 5)
        nodes[1].kill9()
        own_redis.kill9()
        own_redis.start()
        for door in doors:
            await told(door, "bob", "offline", LEASE + SLACK)
        assert await online(nodes[0], session) == {*members()}


async def bus(node: Server) -> tuple[float, float]:
    """(whether it is live, how often it was lost), as the metrics have it."""
    async with node.api() as api:
        lines = (await api.get("/metrics")).text.splitlines()
    found = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}
    return found["parley_bus_live"], found.get('parley_bus_changes_total{state="away"}', 0.0)


async def test_an_idle_node_says_that_the_bus_is_gone(new_cluster: NewCluster, own_redis: Redis) -> None:
    node = new_cluster(own_redis.url, 1)[0]
    assert await bus(node) == (1.0, 0.0)
    for lose, find in ((own_redis.kill9, own_redis.start), (own_redis.pause, own_redis.resume)):
        before = (await bus(node))[1]
        lose()
        async with asyncio.timeout(2.5 + SLACK):
            while await bus(node) != (0.0, before + 1):
                await asyncio.sleep(0.05)
        find()
        async with asyncio.timeout(5 + SLACK):
            while (await bus(node))[0] != 1.0:
                await asyncio.sleep(0.05)


async def test_read_marks_of_an_outage_reach_the_other_node(
    new_cluster: NewCluster, own_redis: Redis
) -> None:
    nodes = new_cluster(own_redis.url, 2)
    session = await new_session(nodes[0], "alice", members=members())
    async with enter("websocket", nodes[1], "alice", session) as alice, watching(nodes[0], session) as doors:
        await alice.message("one", reply=False)
        own_redis.kill9()
        async with asyncio.timeout(5):
            while (await bus(nodes[1]))[0]:
                await asyncio.sleep(0.05)
        assert (await alice.call("read", seq=1))["ok"]
        own_redis.start()
        for door in doors:
            await door.wait_event("read", lambda r: (r["user_id"], r["seq"]) == ("alice", 1))


async def test_one_node_is_cut_off_from_redis_alone(new_cluster: NewCluster, redis: Redis) -> None:
    """It reaches the database: its users are there, its stream goes on, and nobody ends either."""
    async with Proxy(redis.port) as way:
        right = new_cluster(redis.url, 1)[0]
        cut = new_cluster(redis.url.replace(str(redis.port), str(way.port)), 1)[0]
        session = await new_session(right, "alice", members=members("bob"))
        async with watching(right, session) as doors, enter("websocket", cut, "bob", session) as bob:
            stream = (await bob.call("stream_start"))["message_id"]
            await bob.call("stream_chunk", message_id=stream, index=0, content="a")
            for door in doors:
                await told(door, "bob", "online", 5)
                await door.wait_event("stream_chunk")
            await until_online(right, session, {*members("bob")}, 5)  # with a lease that can lapse
            marks = [door.mark() for door in doors]
            way.refusing = True
            way.half_open()
            began, index = time.monotonic(), 1
            while time.monotonic() - began < 3 * LEASE:  # the fault itself: longer than every lease
                await bob.call("stream_chunk", message_id=stream, index=index, content="b")
                index += 1
                for _ in range(6):  # at no moment not: between two beats, too
                    assert "bob" in await online(right, session)
                    await asyncio.sleep(0.05)
            way.refusing = False
            assert (await bob.call("stream_end", message_id=stream))["ok"]
            for door, mark in zip(doors, marks, strict=True):
                end = await door.wait_event("stream_end", since=mark, timeout=10)
                assert end["status"] == "complete"
                assert not [p for p in door.named("presence", mark) if p["user_id"] == "bob"]
            stored = {m["message_id"]: m["content"] for m in await bob.history()}
            assert stored[stream] == "a" + "b" * (index - 1)
            # Dead is dead, though the database may have held it until a moment ago.
            cut.kill9()
            for door, mark in zip(doors, marks, strict=True):
                await told(door, "bob", "offline", 2 * LEASE + SLACK, mark)
