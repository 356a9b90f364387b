"""Redis goes back within one process under running nodes: no wrong `recovered: true`, nothing lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.cluster.conftest import Nodes
from tests.support.doors import Door, enter, new_session
from tests.support.past import Past, follow, go_back_to
from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.services import Redis
from tests.support.sioclient import SioWebSocket
from tests.support.sseclient import SseClient

NewCluster = Callable[..., Nodes]


class Away:
    """One user on each of the doors that can recover, gone for a while, with what each had."""

    def __init__(self, node: Server, session: str, user: str) -> None:
        self.node, self.session, self.token = node, session, node.token(user)
        self.pid: str | None = None
        self.offset: str | None = None
        self.position = ""

    async def go(self, door: Door, until: str) -> None:
        """Join by Socket.IO and raw WebSocket, see a last message, and go."""
        async with (
            SioWebSocket(self.node.ws_url) as sio,
            RawClient(self.node.ws_url, self.session, self.token) as raw,
        ):
            await sio.connect(self.token)
            assert (await sio.emit("join", {"session_id": self.session}))["ok"]
            await raw.welcome()
            await door.message(until)
            await sio.wait_event("message", lambda m: m["content"] == until)
            last = await raw.wait_received("message", lambda m: m["content"] == until)
            self.pid, self.offset = sio.pid, sio.offset
            self.position = last.data.get("position") or last.position or ""
            assert self.offset and self.position
            sio.abort()

    async def recovered(self, node: Server) -> list[bool]:
        """Whether each door says that nothing was missed."""
        async with SioWebSocket(node.ws_url) as sio:
            answer = await sio.connect(self.token, pid=self.pid, offset=self.offset)
            by_sio = answer.get("pid") == self.pid
        async with RawClient(node.ws_url, self.session, self.token, after=self.position) as raw:
            by_raw = (await raw.welcome())["recovered"]
        url = f"{node.url}/api/chat/sessions/{self.session}/events"
        async with SseClient(url, self.token, last_event_id=self.position) as sse:
            by_sse = (await sse.wait_event("welcome"))["recovered"]
        return [by_sio, by_raw, by_sse]


@asynccontextmanager
async def put_back(redis: Redis, how: str) -> AsyncIterator[Callable[[], Any]]:
    """What Redis has now; the call brings it back to that, in the same process."""
    if how == "dump":
        past = Past(redis)
        try:
            yield past.put_back
        finally:
            past.close()
    else:
        with Redis() as replica:
            await asyncio.to_thread(follow, replica, redis)
            yield lambda: go_back_to(replica, redis)


async def test_without_it_they_recover(new_cluster: NewCluster, own_redis: Redis) -> None:
    nodes = new_cluster(own_redis.url, 2)
    session = await new_session(nodes[0], "alice", members=("bob",))
    async with enter("socketio", nodes[0], "alice", session) as alice:
        away = Away(nodes[1], session, "bob")
        await away.go(alice, "seen")
        await alice.call("read", seq=1)
        assert await away.recovered(nodes[1]) == [True, True, True]


@pytest.mark.parametrize("how", ["dump", "replica"])
@pytest.mark.parametrize("grown", [False, True])
async def test_no_wrong_true(new_cluster: NewCluster, own_redis: Redis, how: str, grown: bool) -> None:
    """What was logged in the lost stretch, a read mark, is nowhere else: whoever missed it is told so."""
    nodes = new_cluster(own_redis.url, 2)
    session = await new_session(nodes[0], "alice", members=("bob", "carol"))
    other = await new_session(nodes[1], "alice", members=("bob",))
    async with (
        enter("socketio", nodes[0], "alice", session) as alice,
        enter("socketio", nodes[1], "alice", other) as elsewhere,
    ):
        away = Away(nodes[1], session, "bob")
        await away.go(alice, "seen")
        async with put_back(own_redis, how) as go_back:
            for number in range(2, 5):
                await alice.message(f"lost {number}")
                await alice.call("read", seq=number)
            await asyncio.to_thread(go_back)
            if grown:
                await asyncio.gather(*[elsewhere.message(f"more {n}") for n in range(20)])
            assert await away.recovered(nodes[1]) == [False, False, False]
        await alice.message("after")
        await alice.wait_event("message", lambda m: m["content"] == "after")


@pytest.mark.parametrize("members", [1, 200])
async def test_live_members_lose_nothing(new_cluster: NewCluster, own_redis: Redis, members: int) -> None:
    """A stream is being written, messages flow; Redis goes back twice."""
    nodes = new_cluster(own_redis.url, 2)
    users = [f"u{n}" for n in range(members)]
    session = await new_session(nodes[0], "alice", members=tuple(users))
    async with enter("socketio", nodes[0], "alice", session) as alice:
        readers = [
            RawClient(nodes[n % 2].ws_url, session, nodes[0].token(user)) for n, user in enumerate(users)
        ]
        for start in range(0, len(readers), 20):
            await asyncio.gather(*[reader.open() for reader in readers[start : start + 20]])
        try:
            await asyncio.gather(*[reader.welcome() for reader in readers])
            stream = (await alice.call("stream_start"))["message_id"]
            text: list[str] = []

            async def write(count: int) -> None:
                for _ in range(count):
                    piece = f"[{len(text)}]"
                    reply = await alice.call(
                        "stream_chunk", message_id=stream, index=len(text), content=piece
                    )
                    assert reply["ok"], reply
                    text.append(piece)

            sent: list[str] = []

            async def say(count: int) -> None:
                for _ in range(count):
                    sent.append(f"m{len(sent)}")
                    await alice.message(sent[-1])

            await write(10)
            await say(5)
            past = Past(own_redis)
            for _ in range(2):
                await write(10)
                await say(5)
                await asyncio.to_thread(past.put_back)
                await write(10)
                await say(5)
            past.close()
            assert (await alice.call("stream_end", message_id=stream))["ok"]
            for reader in readers:
                await reader.wait_event("stream_end", timeout=20)
                await reader.wait_event("message", lambda m: m["content"] == sent[-1], timeout=20)
                assert [m["content"] for m in reader.named("message")] == sent
                pieces = "".join(c["content"] for c in reader.named("stream_chunk"))
                end = reader.named("stream_end")[0]
                assert pieces == "".join(text) or end.get("content") == "".join(text)
                assert "".join(text).startswith(pieces)
        finally:
            await asyncio.gather(*[reader.close() for reader in readers])


async def test_a_streams_key_is_evicted(new_cluster: NewCluster, own_redis: Redis) -> None:
    """In mid-stream; whoever comes back does not get a piece of it twice."""
    nodes = new_cluster(own_redis.url, 1)
    session = await new_session(nodes[0], "alice", members=("bob",))
    async with enter("socketio", nodes[0], "alice", session) as alice:
        stream = (await alice.call("stream_start"))["message_id"]
        async with RawClient(nodes[0].ws_url, session, nodes[0].token("bob")) as bob:
            await bob.welcome()
            for index in range(30):
                await alice.call("stream_chunk", message_id=stream, index=index, content=f"[{index}]")
            last = await bob.wait_received("stream_chunk", lambda c: c["index"] + c["count"] == 30)
            position = last.data.get("position") or last.position
        own_redis.cli("DEL", f"chat:stream:{stream}")
        for index in range(30, 40):
            await alice.call("stream_chunk", message_id=stream, index=index, content=f"[{index}]")
        async with RawClient(nodes[0].ws_url, session, nodes[0].token("bob"), after=position) as bob:
            welcome = await bob.welcome()
            assert not welcome["recovered"]
            (open_stream,) = welcome["streams"]
            assert open_stream["content"] == "".join(f"[{n}]" for n in range(40))
