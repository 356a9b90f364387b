"""A conversation as people have it: official clients, a raw WebSocket and curl in one session,
on a server with the settings of `make run`, over a restart, on SQLite and on PostgreSQL.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.doors import new_session
from tests.support.jsclient import JsClients, JsSocket
from tests.support.rawclient import RawClient
from tests.support.server import Server

MAKE_RUN = {"DEBUG": "true", "WS_CREATE_SESSIONS": "true", "RATE_LIMIT_ENABLED": "true"}
USERS = ("alice", "bob", "carol", "dave")


@pytest.fixture
def house(database_url: str, new_server: Callable[..., Server]) -> Server:
    return new_server(database_url, **MAKE_RUN)


class Curl:
    """curl, for one user."""

    def __init__(self, server: Server, sub: str) -> None:
        self._server = server
        self._options = ["-sS", "-N", "-H", f"Authorization: Bearer {server.token(sub)}"]
        self.lines: list[str] = []
        self._news = asyncio.Event()

    async def __call__(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        process = await self._start(path, body)
        output, errors = await asyncio.wait_for(process.communicate(), 15)
        assert process.returncode == 0, errors
        answer: dict[str, Any] = json.loads(output)
        return answer

    @asynccontextmanager
    async def listening(self, path: str) -> AsyncIterator[None]:
        """Collect the lines of an event stream meanwhile."""
        process = await self._start(path)
        reader = asyncio.create_task(self._collect(process))
        try:
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
            await reader

    def events(self, name: str) -> list[dict[str, Any]]:
        """The data of all events of that name."""
        found = []
        for block in "\n".join(self.lines).split("\n\n"):
            lines = block.split("\n")
            if f"event: {name}" in lines:
                found += [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
        return found

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not done():
                self._news.clear()
                await self._news.wait()

    async def _start(self, path: str, body: dict[str, Any] | None = None) -> asyncio.subprocess.Process:
        options = list(self._options)
        if body is not None:
            options += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        return await asyncio.create_subprocess_exec(
            "curl",
            *options,
            self._server.url + path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def _collect(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.lines.append(line.decode().rstrip("\n"))
            self._news.set()


def told(messages: list[dict[str, Any]]) -> list[tuple[int, str, str, str]]:
    """What everybody has to agree on."""
    return [(m["seq"], m["message_id"], m["sender_id"], m["content"]) for m in messages]


async def test_four_clients_hold_a_conversation(house: Server, js: JsClients) -> None:
    session_id = await new_session(house, "alice", members=("bob", "carol", "dave"), title="Lunch")
    path = f"/api/chat/sessions/{session_id}"
    curl = Curl(house, "dave")

    alice = await js.open(house.url, house.token("alice"), transports=["websocket"], name="alice")
    bob = await js.open(house.url, house.token("bob"), name="bob")
    assert (await bob.connected())["transport"] in ("polling", "websocket")
    async with (
        RawClient(house.ws_url, session_id, house.token("carol"), name="carol") as carol,
        curl.listening(f"{path}/events"),
    ):
        for socket in (alice, bob):
            joined = await socket.emit("join", {"session_id": session_id})
            assert joined["ok"], joined
        assert (await carol.welcome())["session"]["session_id"] == session_id
        await curl.until(lambda: bool(curl.events("welcome")))
        await bob.wait_event("upgrade")

        async def alice_says(text: str) -> dict[str, Any]:
            return await alice.emit("message", {"session_id": session_id, "content": text})

        async def bob_says(text: str) -> dict[str, Any]:
            return await bob.emit("message", {"session_id": session_id, "content": text})

        async def carol_says(text: str) -> dict[str, Any]:
            return await carol.send("message", content=text)

        async def dave_says(text: str) -> dict[str, Any]:
            return {"ok": True, **await curl(f"{path}/messages", {"content": text})}

        # One after the other, then all at once.
        says = (alice_says, bob_says, carol_says, dave_says)
        for number, speak in enumerate(says):
            ack = await speak(f"hello {number}")
            assert ack["ok"], ack
            assert ack["seq"] == number + 1
        acks = await asyncio.gather(*(speak(f"crowd {n}") for n in range(5) for speak in says))
        assert sorted(ack["seq"] for ack in acks) == list(range(5, 25))

        for client in (alice, bob, carol):
            await client.wait_event("message", lambda m: m["seq"] == 24)
        await curl.until(lambda: len(curl.events("message")) == 24)
        heard = told(alice.named("message"))
        assert [seq for seq, *_ in heard] == list(range(1, 25))
        assert told(bob.named("message")) == heard
        assert told(carol.named("message")) == heard
        assert told(curl.events("message")) == heard
        assert {sender for _, _, sender, _ in heard} == set(USERS)

        await typing_comes_and_goes(session_id, alice, bob, carol, curl)
        await presence_comes_and_goes(house, session_id, alice, carol, curl)

        history = await curl(f"{path}/messages?limit=500&order=asc")
        assert told(history["messages"]) == heard

    mark = alice.mark(), bob.mark()
    await house.restart_async()
    for socket, since in zip((alice, bob), mark, strict=True):
        await socket.connected(since=since)
        joined = await socket.emit("join", {"session_id": session_id, "after_revision": 0, "limit": 500})
        assert told(joined["messages"]) == heard
    async with RawClient(house.ws_url, session_id, house.token("carol"), name="carol") as carol:
        assert told((await carol.welcome())["messages"]) == heard
        history = await curl(f"{path}/messages?limit=500&order=asc")
        assert told(history["messages"]) == heard

        after = await bob.emit("message", {"session_id": session_id, "content": "still here"})
        assert after["seq"] == 25
        for client in (alice, carol):
            await client.wait_event("message", lambda m: m["content"] == "still here")


async def typing_comes_and_goes(
    session_id: str, alice: JsSocket, bob: JsSocket, carol: RawClient, curl: Curl
) -> None:
    """By a stop, and by the message that was being typed; never to the connection itself."""
    others = bob, carol
    marks = [client.mark() for client in others]
    alice_mark = alice.mark()
    await alice.emit("typing", {"session_id": session_id, "is_typing": True})
    for client, since in zip(others, marks, strict=True):
        typing = await client.wait_event("typing", lambda t: t["is_typing"], since=since)
        assert typing["user_id"] == "alice"
    await alice.emit("typing", {"session_id": session_id, "is_typing": False})
    for client, since in zip(others, marks, strict=True):
        await client.wait_event("typing", lambda t: not t["is_typing"], since=since)
    await curl.until(lambda: [t["is_typing"] for t in curl.events("typing")] == [True, False])
    assert alice.named("typing", alice_mark) == []


async def presence_comes_and_goes(
    house: Server, session_id: str, alice: JsSocket, carol: RawClient, curl: Curl
) -> None:
    """A user who comes is seen by all, a second tab by nobody, the last one's end by all."""
    erin = "erin"
    async with house.api("alice") as api:
        added = await api.put(f"/api/chat/sessions/{session_id}/participants/{erin}", json={"role": "viewer"})
        assert added.status_code == 200
    marks = alice.mark(), carol.mark()
    async with RawClient(house.ws_url, session_id, house.token(erin)) as tab:
        await tab.welcome()
        for client, since in zip((alice, carol), marks, strict=True):
            came = await client.wait_event("presence", lambda p: p["user_id"] == erin, since=since)
            assert came["status"] == "online"
        async with RawClient(house.ws_url, session_id, house.token(erin)) as second:
            online = (await second.welcome())["online"]
            assert {entry["user_id"] for entry in online} == {*USERS, erin}
    for client, since in zip((alice, carol), marks, strict=True):
        await client.wait_event(
            "presence",
            lambda p: p["user_id"] == erin and p["status"] == "offline",
            since=since,
            timeout=15,
        )
        assert [p["status"] for p in client.named("presence", since)] == ["online", "offline"]
    await curl.until(lambda: [p["status"] for p in curl.events("presence")][-2:] == ["online", "offline"])


async def test_an_older_raw_client(house: Server) -> None:
    """It knows neither sessions nor acks: it opens a room by name and talks."""
    token = house.token("alice")
    async with RawClient(house.ws_url, "test-session-1", token, token_in="query") as client:
        await client.welcome()
        await client.send_object({"type": "message", "content": "hello", "timestamp": "2026-01-01T00:00:00"})
        await client.send_object({"type": "typing", "is_typing": True})
        message = await client.wait_event("message")
        assert message["content"] == "hello"
        assert message["sender_id"] == "alice"
        assert message["seq"] == 1
        # No ref, no ack; and what follows shows that nothing was refused.
        assert (await client.send("history"))["messages"][0]["content"] == "hello"
        assert client.named("error") == []
        assert client.named("ack") == []
