"""python-socketio as a client: its handlers get the event's object and nothing else."""

import asyncio
from typing import Any

import pytest
import socketio

from tests.support.doors import enter, new_session
from tests.support.jsclient import JsClients
from tests.support.server import Server
from tests.support.sioclient import SioWebSocket

#: A logged event and three durable ones.
NAMES = ("message", "message_updated", "stream_start", "stream_chunk", "stream_end", "read")
TRANSPORTS = (["websocket"], ["polling"], ["polling", "websocket"])


async def say(node: Server, session: str) -> None:
    async with enter("websocket", node, "alice", session) as alice:
        sent = await alice.message("hello")
        await alice.call("edit", message_id=sent["message_id"], content="hello again")
        stream = await alice.call("stream_start")
        await alice.call("stream_chunk", message_id=stream["message_id"], content="a piece")
        await alice.call("stream_end", message_id=stream["message_id"])
        await alice.call("read", seq=sent["seq"])


class Heard:
    """What handlers with one parameter got."""

    def __init__(self, client: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.got: dict[str, dict[str, Any]] = {}
        self.all = asyncio.Event()
        for name in NAMES:
            client.on(name, self._handler(name))

    def _handler(self, name: str) -> Any:
        def handler(event: dict[str, Any]) -> None:
            self.loop.call_soon_threadsafe(self._add, name, event)

        return handler

    def _add(self, name: str, event: dict[str, Any]) -> None:
        self.got[name] = event
        if len(self.got) == len(NAMES):
            self.all.set()


@pytest.mark.parametrize("transports", TRANSPORTS, ids=".".join)
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_handlers_with_one_parameter(parley: Server, kind: str, transports: list[str]) -> None:
    session = await new_session(parley, "alice", members=("bob",))
    given: dict[str, Any] = {"auth": {"token": parley.token("bob")}, "transports": transports}
    if kind == "async":
        client: Any = socketio.AsyncClient()
        heard = Heard(client)
        await client.connect(parley.url, **given)
        assert (await client.call("join", {"session_id": session}))["ok"]
    else:
        client = socketio.Client()
        heard = Heard(client)
        await asyncio.to_thread(client.connect, parley.url, **given)
        assert (await asyncio.to_thread(client.call, "join", {"session_id": session}))["ok"]
    try:
        await say(parley, session)
        async with asyncio.timeout(10):
            await heard.all.wait()
        assert heard.got["message"]["content"] == "hello"
    finally:
        leaving = client.disconnect() if kind == "async" else asyncio.to_thread(client.disconnect)
        await leaving


async def test_a_client_says_whether_it_takes_positions(parley: Server) -> None:
    """By `auth`, or by a parameter of the address, whatever it looks like."""
    session = await new_session(parley, "alice", members=("bob",))
    token = parley.token("bob")
    async with (
        SioWebSocket(parley.ws_url) as usual,
        SioWebSocket(parley.ws_url) as by_auth,
        SioWebSocket(parley.ws_url, query={"recovery": "0"}) as by_query,
    ):
        answers = [
            await usual.connect(token),
            await by_auth.connect(token, recovery=False),
            await by_query.connect(token),
        ]
        assert ["pid" in answer for answer in answers] == [True, False, False]
        for socket in (usual, by_auth, by_query):
            assert (await socket.emit("join", {"session_id": session}))["ok"]
        await say(parley, session)
        for socket, positions in ((usual, True), (by_auth, False), (by_query, False)):
            for name in NAMES:
                assert bool((await socket.wait_received(name)).extra) == positions
        # What a back end emits to the room reaches them all the same.
        async with parley.api("billing", "service") as service:
            event = {"session_id": session, "event": "invoice", "data": {"n": 1}}
            assert (await service.post("/api/server/publish", json=event)).status_code == 200
        for socket in (usual, by_auth, by_query):
            assert (await socket.wait_event("invoice"))["n"] == 1
    python = socketio.AsyncClient()
    got: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
    python.on("message", lambda *args: got.put_nowait(args))
    await python.connect(parley.url, auth={"token": token, "recovery": True})
    assert (await python.call("join", {"session_id": session}))["ok"]
    await say(parley, session)
    async with asyncio.timeout(10):
        _, position = await got.get()
    assert isinstance(position, str)
    await python.disconnect()


async def test_the_official_client_gets_them_as_ever(parley: Server, js: JsClients) -> None:
    session = await new_session(parley, "alice", members=("bob",))
    for transports in TRANSPORTS:
        socket = await js.open(parley.url, parley.token("bob"), transports=transports)
        assert (await socket.emit("join", {"session_id": session}))["ok"]
        mark = socket.mark()
        await say(parley, session)
        assert (await socket.wait_received("message", since=mark)).position
        assert (await socket.state())["pid"]
