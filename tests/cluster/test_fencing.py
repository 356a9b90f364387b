"""What a node that stood still has in hand for clients that others have taken over is not done any more."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from tests.cluster.conftest import Nodes
from tests.support.doors import enter, new_session
from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.services import Redis
from tests.support.sioclient import SioWebSocket

NewCluster = Callable[..., Nodes]


@asynccontextmanager
async def standing_still(node: Server, seconds: float) -> AsyncIterator[None]:
    """A node that is stopped while the block runs, and for so long at least: the fault itself."""
    node.pause()
    try:
        await asyncio.sleep(seconds)
        yield
    finally:
        node.resume()


async def awake(node: Server) -> None:
    """It has done what it had in hand: it noticed, and what is asked after is answered."""
    async with asyncio.timeout(10):
        while "stood still for" not in node.log_text():
            await asyncio.sleep(0.02)
    async with node.api("alice") as api:
        for _ in range(3):
            assert (await api.get("/api/chat/sessions")).status_code == 200
    await asyncio.sleep(0.5)  # nothing is to happen: there is no event to wait for


@pytest.mark.parametrize("kind", ["socketio", "websocket", "rest"])
async def test_an_edit_outlives_no_successor(new_cluster: NewCluster, redis: Redis, kind: str) -> None:
    nodes = new_cluster(redis.url, 2)
    session = await new_session(nodes[0], "alice", members=("bob",))
    async with AsyncExitStack() as stack:
        bob = await stack.enter_async_context(enter("websocket", nodes[1], "bob", session))
        one = (await bob.message("bob's", reply=False))["message_id"]
        async with enter("websocket", nodes[1], "alice", session) as alice:
            message = (await alice.message("v1", reply=False))["message_id"]
            doomed = (await alice.message("stays", reply=False))["message_id"]
        edit = {"session_id": session, "message_id": message, "content": "v2"}
        typing = {"session_id": session, "is_typing": True}
        sent = {"session_id": session, "content": "without a key", "reply": False}
        delete = {"session_id": session, "message_id": doomed}
        old = await _open(stack, kind, nodes[0], session)
        mark = bob.mark()
        async with standing_still(nodes[0], 2.5):
            await old.say(("edit", edit), ("typing", typing), ("message", sent), ("delete", delete))
            await old.goes_to(stack, nodes[1])
            assert (await bob.call("edit", message_id=one, content="B"))["ok"]
            assert (await old.does("edit", {**edit, "content": "v3"}))["ok"]
        await awake(nodes[0])
        history = {m["message_id"]: m["content"] for m in await bob.history()}
        assert history == {one: "B", message: "v3", doomed: "stays"}
        assert bob.named("typing", mark) == []
        # The node serves whoever comes.
        async with enter("websocket", nodes[0], "alice", session) as again:
            await again.message("again", reply=False)


async def test_who_stayed_goes_on(new_cluster: NewCluster, redis: Redis) -> None:
    """A node that stood still does what was said to it by those whom nobody took over."""
    nodes = new_cluster(redis.url, 2)
    session = await new_session(nodes[0], "alice", members=("bob",))
    async with (
        enter("socketio", nodes[0], "alice", session) as alice,
        enter("websocket", nodes[0], "bob", session) as bob,
    ):
        async with standing_still(nodes[0], 2.5):
            said = [
                asyncio.create_task(door.call("message", content=door.kind, reply=False))
                for door in (alice, bob)
            ]
            await asyncio.sleep(0.2)  # on its way to a process that reads nothing
        for task in said:
            assert (await task)["ok"]
        assert {m["content"] for m in await bob.history()} == {"socketio", "websocket"}


class Alice:
    """A client that speaks to a node that stands still, and goes to another."""

    def __init__(self, node: Server, session: str) -> None:
        self.node, self.session = node, session

    async def say(self, *commands: tuple[str, dict[str, object]]) -> None:
        raise NotImplementedError

    async def goes_to(self, stack: AsyncExitStack, node: Server) -> None:
        raise NotImplementedError

    async def does(self, name: str, payload: dict[str, object]) -> dict[str, object]:
        raise NotImplementedError


class SocketIo(Alice):
    """It does not even close: its network is another one now, its server's record tells who it is."""

    async def open(self, stack: AsyncExitStack) -> None:
        self.client = await stack.enter_async_context(SioWebSocket(self.node.ws_url))
        await self.client.connect(self.node.token("alice"))
        assert (await self.client.emit("join", {"session_id": self.session}))["ok"]

    async def say(self, *commands: tuple[str, dict[str, object]]) -> None:
        self._asked = [asyncio.create_task(self.client.emit(name, payload)) for name, payload in commands]
        await asyncio.sleep(0.2)  # on their way to a process that reads nothing

    async def goes_to(self, stack: AsyncExitStack, node: Server) -> None:
        pid = self.client.pid
        self.client = await stack.enter_async_context(SioWebSocket(node.ws_url))
        answer = await self.client.connect(node.token("alice"), pid=pid)
        assert answer["pid"] == pid  # recovered
        for task in self._asked:
            task.cancel()

    async def does(self, name: str, payload: dict[str, object]) -> dict[str, object]:
        reply: dict[str, object] = await self.client.emit(name, payload)
        return reply


class WebSocket(Alice):
    """It closes the old connection, which nobody sees."""

    async def open(self, stack: AsyncExitStack) -> None:
        self.client = await stack.enter_async_context(
            RawClient(self.node.ws_url, self.session, self.node.token("alice"))
        )
        await self.client.welcome()

    async def say(self, *commands: tuple[str, dict[str, object]]) -> None:
        self._asked = [asyncio.create_task(self.client.send(name, **payload)) for name, payload in commands]
        await asyncio.sleep(0.2)  # on their way to a process that reads nothing

    async def goes_to(self, stack: AsyncExitStack, node: Server) -> None:
        for task in self._asked:
            task.cancel()
        self.client.connection.transport.abort()
        self.client = await stack.enter_async_context(
            RawClient(node.ws_url, self.session, node.token("alice"))
        )
        await self.client.welcome()

    async def does(self, name: str, payload: dict[str, object]) -> dict[str, object]:
        reply: dict[str, object] = await self.client.send(name, **payload)
        return reply


class Rest(Alice):
    """Its request is given up, as a proxy does."""

    async def open(self, stack: AsyncExitStack) -> None:
        self._asked: list[asyncio.Task[httpx.Response]] = []
        self.http = await stack.enter_async_context(self.node.api("alice"))

    def _request(self, name: str, payload: dict[str, object]) -> tuple[str, str, dict[str, object]]:
        base, body = (
            f"/api/chat/sessions/{self.session}",
            {k: v for k, v in payload.items() if k != "session_id"},
        )
        message = body.pop("message_id", "")
        return {
            "edit": ("PATCH", f"{base}/messages/{message}", body),
            "delete": ("DELETE", f"{base}/messages/{message}", {}),
            "message": ("POST", f"{base}/messages", body),
            "typing": ("POST", f"{base}/typing", body),
        }[name]

    async def say(self, *commands: tuple[str, dict[str, object]]) -> None:
        for name, payload in commands:
            method, url, body = self._request(name, payload)
            self._asked.append(asyncio.create_task(self.http.request(method, url, json=body)))
        await asyncio.sleep(0.2)  # on their way to a process that reads nothing

    async def goes_to(self, stack: AsyncExitStack, node: Server) -> None:
        for task in self._asked:
            task.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)
        self.http = await stack.enter_async_context(node.api("alice"))

    async def does(self, name: str, payload: dict[str, object]) -> dict[str, object]:
        method, url, body = self._request(name, payload)
        answer = await self.http.request(method, url, json=body)
        return {"ok": answer.status_code == 200}


async def _open(stack: AsyncExitStack, kind: str, node: Server, session: str) -> Alice:
    client = {"socketio": SocketIo, "websocket": WebSocket, "rest": Rest}[kind](node, session)
    await client.open(stack)
    return client
