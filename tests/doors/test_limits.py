"""What is too much, or not understood, at every door."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from events.held import MOST
from tests.engine import kit
from tests.engine.kit import Raw, masked
from tests.support.doors import KINDS, LIVE, enter, new_session
from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.sioclient import HandshakeRefused, SioPolling, SioWebSocket

every_door = pytest.mark.parametrize("kind", KINDS)
live_door = pytest.mark.parametrize("kind", LIVE)


def error(reply: dict[str, Any], code: str) -> dict[str, Any]:
    assert not reply["ok"], reply
    found: dict[str, Any] = reply["error"]
    assert found["code"] == code, reply
    return found


@live_door
async def test_unknown_commands(parley: Server, kind: str) -> None:
    session = await new_session(parley)
    async with enter(kind, parley, "alice", session) as alice:
        for name in ("shout", "", "Message", "message ", "__proto__", "chat:message"):
            error(await alice.call(name), "UNKNOWN_COMMAND")
        assert (await alice.message("fine"))["seq"] == 1


@live_door
@pytest.mark.parametrize("name", ["connect", "disconnect", "connect_error", "disconnecting", "newListener"])
async def test_reserved_names_run_nothing(parley: Server, kind: str, name: str) -> None:
    session = await new_session(parley, members=("bob",))
    async with enter("rest", parley, "bob", session) as bob, enter(kind, parley, "alice", session) as alice:
        reply = await alice.call(name, reason="because")
        assert not reply["ok"], reply
        await alice.message("still connected, still in the room")
        await bob.wait_event("message")
        await alice.wait_event("message")


@every_door
async def test_a_bad_payload_names_the_field(parley: Server, kind: str) -> None:
    session = await new_session(parley)
    async with enter(kind, parley, "alice", session) as alice:
        for payload, field in (
            ({}, "content"),
            ({"content": ""}, "content"),
            ({"content": 5}, "content"),
            ({"content": None}, "content"),
            ({"content": "x", "metadata": "y"}, "metadata"),
            ({"content": "x", "client_message_id": ""}, "client_message_id"),
        ):
            found = error(await alice.call("message", **payload), "VALIDATION_ERROR")
            assert found["retryable"] is False
            assert field in json.dumps(found["details"]), found
        # A client's own fields and timestamps are its business.
        for timestamp in ("yesterday", 5, None, {"x": 1}):
            await alice.message("fine", timestamp=timestamp, unknown="field", seq=99, sender_id="mallory")
        history = await alice.history(order="asc")
        assert [(m["seq"], m["sender_id"]) for m in history] == [(n, "alice") for n in range(1, 5)]


@every_door
async def test_the_largest_message_and_one_more(parley: Server, kind: str) -> None:
    session = await new_session(parley)
    async with enter(kind, parley, "alice", session) as alice:
        await alice.message("x" * 260_000)
        for size in (263_000, 900_000):
            refused = error(await alice.call("message", content="x" * size), "PAYLOAD_TOO_LARGE")
            assert refused["details"]["limit"] == 262_144
            assert size < refused["details"]["size"] < size + 200
        # The connection stays, and what follows is served.
        await alice.message("after")
        assert [m["content"][:5] for m in await alice.history(order="asc")] == ["xxxxx", "after"]


@every_door
async def test_beyond_what_a_connection_bears(parley: Server, kind: str) -> None:
    """It ends, after an answer; nobody has to guess, and no client sends that for ever."""
    session = await new_session(parley)
    async with enter(kind, parley, "alice", session) as alice:
        log_mark = len(parley.log_text())
        if kind == "websocket":
            await alice.client.send_object({"type": "message", "content": "x" * 1_200_000})
            assert await alice.client.closed() == 1009
            (told,) = alice.named("error")
            assert (told["code"], told["details"]["limit"]) == ("PAYLOAD_TOO_LARGE", 1_048_576)
        elif kind == "rest":
            refused = error(await alice.call("message", content="x" * 1_200_000), "PAYLOAD_TOO_LARGE")
            assert refused["details"]["size"] > 1_200_000
            return
        else:
            payload = {"session_id": session, "content": "x" * 1_200_000}
            answer = (
                await alice.client.start_raw(json.dumps(["message", payload]))
                if kind == "socketio"
                else (await polled(alice.client, json.dumps(["message", payload])))
            )
            refused = error(await asyncio.wait_for(answer, 10), "PAYLOAD_TOO_LARGE")
            assert refused["details"]["size"] > 1_200_000
            if kind == "socketio":
                assert await alice.client.closed() == 1009
        assert "ends its" in parley.log_text()[log_mark:]
    async with enter(kind, parley, "alice", session) as alice:
        assert await alice.history() == []


async def polled(client: Any, text: str) -> asyncio.Future[Any]:
    """As `start_raw`, with the answer that a request beyond the limit gets."""
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    client._acks[1_000] = answer
    assert (await client.post(f"421000{text}")).status_code == 413
    return answer


async def test_who_has_shown_no_token_may_say_little(parley: Server) -> None:
    async with SioWebSocket(parley.ws_url) as socket:
        await socket.write("40" + json.dumps({"token": "x" * 20_000}))
        assert await socket.closed() == 1009
    async with SioPolling(parley.url) as polling:
        assert (await polling.post("40" + json.dumps({"token": "x" * 20_000}))).status_code == 413
    # One with a long name is not held up.
    async with SioWebSocket(parley.ws_url) as socket:
        assert "sid" in await socket.connect(parley.token("alice", name="n" * 8000))


@every_door
async def test_messages_per_minute(sqlite_url: str, new_server: Callable[..., Server], kind: str) -> None:
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MESSAGES_PER_MINUTE="5")
    session = await new_session(node, agent_id=1)
    async with (
        enter(kind, node, "alice", session) as alice,
        enter("websocket", node, "alice", session) as tab,
    ):
        # One bucket for the user, whatever the door.
        for _ in range(3):
            await alice.message("a", reply=False)
        for _ in range(2):
            await tab.message("b", reply=False)
        found = error(await alice.call("message", content="c", reply=False), "RATE_LIMIT")
        assert found["retryable"] is True
        assert 0 < found["retry_after"] <= 60_000
        error(await tab.call("message", content="c", reply=False), "RATE_LIMIT")
        # Reading goes on, and agents and services are not counted.
        assert len(await alice.history()) == 5
    for sub, role in (("1", "agent"), ("billing", "service")):
        async with enter(kind, node, sub, session, role=role) as other:
            for _ in range(7):
                await other.message("d")
    async with node.api("alice") as api:
        refused = await api.post(f"/api/chat/sessions/{session}/messages", json={"content": "e"})
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60


async def test_one_that_does_not_stop_is_closed(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true", RATE_LIMIT_MESSAGES_PER_MINUTE="1")
    session = await new_session(node)
    async with enter("websocket", node, "alice", session) as alice:
        await alice.message("first")
        for _ in range(200):
            try:
                alice.client.send_nowait("message", content="more")
            except ConnectionError:
                break
        assert await alice.client.closed() == 4008


async def test_typing_per_minute(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true")
    session = await new_session(node)
    async with enter("socketio", node, "alice", session) as alice:
        for n in range(120):
            assert (await alice.call("typing", is_typing=n % 2 == 0))["ok"], n
        error(await alice.call("typing", is_typing=True), "RATE_LIMIT")
        # Another bucket.
        await alice.message("hello")


async def test_failed_tokens_per_minute(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="true")
    async with node.api(None) as api:
        bad = {"Authorization": "Bearer guess"}
        answers = [(await api.get("/api/chat/sessions", headers=bad)).status_code for _ in range(35)]
        assert answers == [401] * 30 + [429] * 5
    async with node.api("alice") as api:
        # A good token is not held up by others' bad ones.
        assert (await api.get("/api/chat/sessions")).status_code == 200


async def test_rooms_per_connection(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, MAX_ROOMS_PER_CONNECTION="2")
    rooms = [await new_session(node) for _ in range(3)]
    async with enter("socketio", node, "alice", rooms[0]) as alice:
        assert (await alice.call("join", session_id=rooms[1]))["ok"]
        refused = await alice.call("join", session_id=rooms[2])
        assert not refused["ok"]
        assert refused["error"]["code"] != "INTERNAL"
        assert (await alice.call("leave", session_id=rooms[1]))["ok"]
        assert (await alice.call("join", session_id=rooms[2]))["ok"]


async def test_a_full_server_says_so(sqlite_url: str, new_server: Callable[..., Server]) -> None:
    node = new_server(sqlite_url, WS_MAX_CONNECTIONS="2")
    session = await new_session(node)
    async with enter("websocket", node, "alice", session), enter("socketio", node, "alice", session):
        async with RawClient(node.ws_url, session, node.token("alice")) as third:
            assert await third.closed() == 1013
        async with node.api("alice") as api:
            polling = await api.get("/socket.io/?EIO=4&transport=polling")
        assert (polling.status_code, polling.headers["retry-after"]) == (503, "1")
        assert polling.json()["error"]["code"] == "SERVER_FULL"
        with pytest.raises(HandshakeRefused, match=r"503.*SERVER_FULL"):
            async with SioWebSocket(node.ws_url):
                pass


async def test_a_silent_connection_in_no_room_is_closed(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url, WS_CONNECTION_TIMEOUT="0.5")
    async with SioWebSocket(node.ws_url) as socket:
        assert "sid" in await socket.connect(node.token("alice"))
        await socket.closed(5)


async def test_a_slow_reader_is_cut_and_nobody_waits(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(sqlite_url, OUTBOX_LIMIT="262144")
    session = await new_session(node, members=("bob",))
    async with (
        enter("websocket", node, "alice", session) as alice,
        enter("websocket", node, "bob", session) as bob,
    ):
        bob.client.connection.transport.pause_reading()
        text = "x" * 50_000
        for _ in range(200):
            await alice.message(text)
        bob.client.connection.transport.resume_reading()
        assert await bob.client.closed() in (4013, 1006)
        assert (await alice.message("on it goes"))["seq"] == 201
    async with enter("websocket", node, "bob", session) as bob:
        assert bob.joined["last_seq"] == 201


async def test_messages_that_do_not_end_take_nobody_elses_room(
    sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    """Of either door, half a frame or fragments; the one who is slow in earnest is heard to the end."""
    node = new_server(sqlite_url, RATE_LIMIT_ENABLED="false")
    session = await new_session(node, members=("bob",))
    path = f"/ws/{session}?token="
    piece = bytes(250_000)
    unended = masked(kit.TEXT, b"{", fin=False) + masked(kit.CONTINUATION, piece, fin=False) * 4
    half = masked(kit.TEXT, bytes(1_000_000))[:-100_000]
    async with AsyncExitStack() as stack:
        bob = await stack.enter_async_context(await Raw.websocket(node.port, path + node.token("bob")))
        assert json.loads(await bob.next_text())["type"] == "welcome"
        text = json.dumps({"type": "message", "content": "x" * 200_000, "ref": 7}).encode()
        message = masked(kit.TEXT, text)
        bob.send(message[:150_000])
        token = node.token("alice")
        raws: list[Raw] = []
        for number in range(MOST // 900_000 + 20):
            if number % 2:
                raw = await Raw.websocket(node.port, path + token)
                assert json.loads(await raw.next_text())["type"] == "welcome"
            else:
                raw, _ = await kit.socketio(node.port, {"token": token})
            raws.append(await stack.enter_async_context(raw))
            raw.send(half if number % 4 < 2 else unended)
            await raw.writer.drain()
        errors = []
        for number, raw in enumerate(raws[:20]):
            while (frame := await raw.receive())[0] != kit.CLOSE:
                if number % 2 and (told := json.loads(frame[1]))["type"] == "error":
                    errors.append(told["code"])
            assert int.from_bytes(frame[1][:2], "big") == 1013
        assert errors
        assert set(errors) == {"UNAVAILABLE"}
        bob.send(message[150_000:])
        while (answer := json.loads(await bob.next_text())).get("ref") != 7:
            pass
        assert answer["ok"], answer
