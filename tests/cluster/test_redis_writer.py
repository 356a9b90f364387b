"""Somebody who may write to Redis and is no node: ends nobody's connection, and takes none over."""

import asyncio
import json
import struct
from typing import Any

import redis.asyncio

from events.event import to_json
from storage.interfaces import Event, Kind
from storage.redis import wire
from tests.cluster.conftest import Nodes
from tests.support.doors import new_session
from tests.support.server import Server
from tests.support.sioclient import SioWebSocket


async def alive(client: SioWebSocket, node: Server, session: str) -> None:
    """The connection is there, and in its room: it hears what is said elsewhere."""
    mark = client.mark()
    async with node.api("alice") as api:
        said = {"content": "still here", "reply": False}
        answer = await api.post(f"/api/chat/sessions/{session}/messages", json=said)
        assert answer.is_success, answer.text
    await client.wait_event("message", since=mark)


async def append(bus: Any, session: str, event: Event) -> None:
    """As the script of the log publishes it."""
    epoch = await bus.hget("chat:clock", "epoch")
    before = await bus.hget(f"chat:log:{session}", "pos")
    pos = await bus.hincrby("chat:clock", "pos", 1)
    stamp = bytes([wire.EVENT]) + epoch + b"mark" + struct.pack(">QQ", pos, int(before))
    await bus.publish(f"chat:session:{session}", stamp + wire.body(event))


async def disconnect(node: Server, user: str) -> None:
    async with node.api("backend", "service") as api:
        answer = await api.post("/api/server/disconnect", json={"user_id": user})
        assert answer.status_code == 200, answer.text


async def recorded(pubsub: Any, count: int) -> list[bytes]:
    """The next signals on the channel of all nodes."""
    found: list[bytes] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=1)
            if message is not None and message["data"][:1] in b"SN":
                found.append(message["data"])
    return found


async def test_what_ends_or_takes_over_is_believed_of_nodes_alone(steady: Nodes) -> None:
    session = await new_session(steady[0], "alice")
    order = {"user_id": "alice", "node": "node_x", "before": None}
    bus = redis.asyncio.from_url(steady[0].env["REDIS_URL"])
    async with SioWebSocket(steady[0].ws_url) as client, bus.pubsub() as pubsub:
        await client.connect(steady[0].token("alice"))
        assert (await client.emit("join", {"session_id": session}))["ok"]
        await pubsub.subscribe("chat:all")
        bodies = {
            "disconnect": [order, order | {"before": 4e9}],
            "takeover": [[client.pid, 99]],
            "access": ["alice"],
        }
        for name, contents in bodies.items():
            for content in contents:
                for kind in (b"S", b"N", b"N" + bytes(40)):
                    said = kind + name.encode() + b"\0" + json.dumps(content).encode()
                    await bus.publish("chat:all", said)
                    await bus.publish(f"chat:session:{session}", said)
        await recorded(pubsub, 12)
        for what in ("archived", "expired"):  # an event that ends memberships, in the room
            data = to_json({"session_id": session, "event": what})
            await append(bus, session, Event(session, "session", data, Kind.LOGGED))
            await client.wait_event("session", lambda data, what=what: data["event"] == what)
        await alive(client, steady[1], session)
        await disconnect(steady[1], "alice")
        await client.wait_event("@disconnect")
        (signal,) = await recorded(pubsub, 1)
    async with SioWebSocket(steady[0].ws_url) as client, bus.pubsub() as pubsub:
        await client.connect(steady[0].token("alice"))
        assert (await client.emit("join", {"session_id": session}))["ok"]
        await pubsub.subscribe("chat:all")
        await bus.publish("chat:all", signal)  # a node's own, a second time
        await recorded(pubsub, 1)
        await alive(client, steady[1], session)
    await bus.aclose()
