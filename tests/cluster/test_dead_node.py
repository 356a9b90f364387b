"""kill -9 of a node: who was on it leaves, once; its streams end, others go on; its clients are served."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from tests.cluster.conftest import SHORT, Nodes
from tests.support.doors import enter, new_session
from tests.support.jsclient import JsClients
from tests.support.proxy import Proxy
from tests.support.services import Redis
from tests.support.sioclient import SioWebSocket

NewCluster = Callable[..., Nodes]
LEASE = float(SHORT["NODE_LEASE"])
#: Beyond a lease for a machine that is busy with other tests.
SLACK = 2.0


async def test_presence_typing_and_streams_of_a_dead_node(new_cluster: NewCluster, redis: Redis) -> None:
    nodes = new_cluster(redis.url)
    session = await new_session(nodes[0], "alice", members=("bob", "carol"))
    async with (
        enter("socketio", nodes[0], "alice", session) as alice,
        enter("socketio", nodes[2], "carol", session) as carol,
        SioWebSocket(nodes[1].ws_url) as bob,
        SioWebSocket(nodes[1].ws_url) as carol_too,
    ):
        for client, name in ((bob, "bob"), (carol_too, "carol")):
            await client.connect(nodes[1].token(name))
            assert (await client.emit("join", {"session_id": session}))["ok"]
        await alice.wait_event("presence", lambda e: (e["user_id"], e["status"]) == ("bob", "online"))
        await bob.emit("typing", {"session_id": session, "is_typing": True})
        await alice.wait_event("typing", lambda e: e["is_typing"])
        lost = (await bob.emit("stream_start", {"session_id": session}))["message_id"]
        chunk = {"session_id": session, "message_id": lost, "index": 0, "content": "the beginning"}
        assert (await bob.emit("stream_chunk", chunk))["ok"]
        kept = (await alice.call("stream_start"))["message_id"]
        await alice.call("stream_chunk", message_id=kept, index=0, content="on ")
        await alice.wait_event("stream_chunk", lambda c: c["message_id"] == lost)
        marks = alice.mark(), carol.mark()
        nodes[1].kill9()
        began = time.monotonic()
        for door, mark in zip((alice, carol), marks, strict=True):
            await door.wait_event("presence", lambda e: e["status"] == "offline", since=mark)
            await door.wait_event("typing", lambda e: not e["is_typing"], since=mark)
        assert time.monotonic() - began < LEASE + SLACK
        async with nodes[2].api("alice") as api:
            online = (await api.get(f"/api/chat/sessions/{session}/presence")).json()["online"]
        assert sorted(user["user_id"] for user in online) == ["alice", "carol"]
        # What it only relayed goes on; what it produced ends with what was there.
        await alice.call("stream_chunk", message_id=kept, index=1, content="and on")
        await alice.call("stream_end", message_id=kept)
        await carol.wait_event("stream_end", lambda e: (e["message_id"], e["status"]) == (kept, "complete"))
        end = await carol.wait_event("stream_end", lambda e: e["message_id"] == lost, timeout=25)
        assert end["status"] == "interrupted"
        stored = {m["message_id"]: m["content"] for m in await carol.history()}
        assert stored[lost] == "the beginning" and stored[kept] == "on and on"
        # Everybody left once, and carol, who is on another node too, not at all.
        for door, mark in zip((alice, carol), marks, strict=True):
            left = [e["user_id"] for e in door.named("system", mark) if e["event"] == "user_left"]
            assert left == ["bob"]


async def test_its_clients_are_served_again_soon(
    new_cluster: NewCluster, redis: Redis, js: JsClients
) -> None:
    """The official client, unmodified; its address leads to another node after the kill."""
    nodes = new_cluster(redis.url, 2)
    session = await new_session(nodes[0], "alice")
    async with (
        enter("socketio", nodes[1], "alice", session) as writer,
        Proxy(nodes[0].port) as address,
    ):
        client = await js.open(address.url, nodes[0].token("alice"), transports=["websocket"])
        assert (await client.emit("join", {"session_id": session}))["ok"]
        await writer.message("one", reply=False)
        await client.wait_event("message")
        mark = client.mark()
        nodes[0].kill9()
        address.target = nodes[1].port
        began = time.monotonic()
        await writer.message("two", reply=False)
        again = await client.connected(since=mark)
        assert again["recovered"] and time.monotonic() - began < 5
        await writer.message("three", reply=False)
        await client.wait_event("message", lambda m: m["content"] == "three")
        assert [m["content"] for m in client.named("message")] == ["one", "two", "three"]


async def test_what_a_dead_node_told_nobody(new_cluster: NewCluster, redis: Redis, js: JsClients) -> None:
    """It reached the database and not Redis: no log has the mark, the title and the end of the path, and no
    revision tells."""

    def has_read(mark: dict[str, Any]) -> bool:
        return (mark["user_id"], mark["seq"]) == ("bob", 1)

    def is_renamed(told: dict[str, Any]) -> bool:
        return (told["event"], told.get("title")) == ("updated", "renamed")

    def is_led_back(told: dict[str, Any]) -> bool:
        return (told["event"], told.get("head_id")) == ("head", one)

    async with Proxy(redis.port) as way:
        there = new_cluster(redis.url, 1)[0]
        alone = new_cluster(redis.url.replace(str(redis.port), str(way.port)), 1)[0]
        names = ("w-socketio", "w-websocket", "w-rest", "bob", "carol")
        session = await new_session(there, "alice", members=names)
        async with (
            AsyncExitStack() as stack,
            enter("websocket", alone, "bob", session) as bob,
            Proxy(there.port) as address,
        ):
            doors = [
                await stack.enter_async_context(enter(kind, there, f"w-{kind}", session))
                for kind in ("socketio", "websocket", "rest")
            ]
            carol = await js.open(address.url, there.token("carol"), transports=["websocket"])
            assert (await carol.emit("join", {"session_id": session}))["ok"]
            one = (await bob.message("one", reply=False))["message_id"]
            await bob.message("two", reply=False)
            await carol.wait_event("message", lambda m: m["content"] == "two")
            way.refusing = True
            way.half_open()
            address.refusing = True  # carol is away while the others are told
            mark = carol.mark()
            address.cut()
            assert (await bob.call("read", seq=1))["ok"]
            assert (await bob.call("select", message_id=one, exact=True))["ok"]
            async with alone.api("alice") as api:
                renamed = await api.patch(f"/api/chat/sessions/{session}", json={"title": "renamed"})
                assert renamed.status_code == 200
            alone.kill9()
            for door in doors:
                await door.wait_event("read", has_read, timeout=3 * LEASE + SLACK)
                await door.wait_event("session", is_renamed)
                await door.wait_event("session", is_led_back)
            address.refusing = False
            assert (await carol.connected(since=mark, timeout=15))["recovered"]
            await carol.wait_event("read", has_read, since=mark)
            await carol.wait_event("session", is_renamed, since=mark)
            await carol.wait_event("session", is_led_back, since=mark)
            async with enter("websocket", there, "bob", session) as late:
                assert [m["content"] for m in late.joined["messages"]] == ["one"]
            # What is told so has no position: where a client goes on from is as good as it was.
            mark = carol.mark()
            address.cut()
            assert (await carol.connected(since=mark, timeout=15))["recovered"]


async def test_a_node_does_not_hear_other_rooms(new_cluster: NewCluster, redis: Redis) -> None:
    nodes = new_cluster(redis.url, 2)
    session = await new_session(nodes[0], "alice")
    async with enter("websocket", nodes[0], "alice", session) as alice:
        channel = f"chat:session:{session}"

        async def listeners() -> int:
            said = await asyncio.to_thread(redis.cli, "PUBSUB", "NUMSUB", channel)
            return int(said.split()[-1])

        assert await listeners() == 1
        async with enter("websocket", nodes[1], "alice", session):
            assert await listeners() == 2
        async with asyncio.timeout(10):
            while await listeners() != 1:
                await asyncio.sleep(0.02)
        await alice.message("to myself", reply=False)
