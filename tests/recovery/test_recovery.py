"""Connection state recovery as the official client speaks it (docs/recovery.md)."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from tests.recovery.cuts import cut_again_and_again
from tests.recovery.watching import Traffic, all_seen, check, three_sessions
from tests.support.inbox import Received
from tests.support.jsclient import JsClients
from tests.support.proxy import Proxy
from tests.support.rawclient import RawClient
from tests.support.server import Server
from tests.support.sioclient import SioWebSocket
from tests.support.sseclient import SseClient


async def session_of(server: Server, *members: str) -> str:
    async with server.api("alice") as api:
        session: str = (await api.post("/api/chat/sessions", json={})).json()["session_id"]
        for member in members:
            await api.put(f"/api/chat/sessions/{session}/participants/{member}", json={"role": "member"})
    return session


async def post(server: Server, session: str, content: str) -> None:
    async with server.api("alice") as api:
        response = await api.post(f"/api/chat/sessions/{session}/messages", json={"content": content})
        assert response.status_code == 201, response.text


@pytest.mark.timeout(120)
async def test_cuts_of_every_kind_over_websocket(server: Server, js: JsClients) -> None:
    counts = await cut_again_and_again(server, js, 20, transports=["websocket"])
    assert counts.total() == 20


@pytest.mark.timeout(120)
async def test_cuts_while_starting_on_polling(server: Server, js: JsClients) -> None:
    counts = await cut_again_and_again(server, js, 8, seed=3)
    assert counts.total() == 8


@pytest.mark.timeout(120)
async def test_cuts_on_polling_alone(server: Server, js: JsClients) -> None:
    counts = await cut_again_and_again(server, js, 6, transports=["polling"], seed=5)
    assert counts.total() == 6


async def test_before_any_event_had_come(shared_server: Server, js: JsClients) -> None:
    session = await session_of(shared_server, "bob")
    async with Proxy(shared_server.port) as proxy:
        bob = await js.open(proxy.url, shared_server.token("bob"), transports=["websocket"])
        assert (await bob.emit("join", {"session_id": session}))["ok"]
        proxy.refusing = True
        mark = bob.mark()
        proxy.half_open()
        await bob.wait_event("disconnect", since=mark)
        await post(shared_server, session, "while away")
        proxy.refusing = False
        assert (await bob.connected(since=mark))["recovered"]
        assert (await bob.state())["offset"] is not None
        message = await bob.wait_event("message")
        assert message["content"] == "while away"
        await post(shared_server, session, "after")
        await bob.wait_event("message", lambda m: m["content"] == "after")
        assert [m["content"] for m in bob.named("message")] == ["while away", "after"]


@pytest.mark.parametrize("heard", [False, True])
async def test_the_reply_to_a_second_join_may_have_been_lost(
    shared_server: Server, js: JsClients, heard: bool
) -> None:
    """Without it the page shows the first one still, and what lies between would be missing: only an event
    that came behind the reply shows that it had come."""
    session = await session_of(shared_server, "bob")
    async with Proxy(shared_server.port) as proxy:
        bob = await js.open(proxy.url, shared_server.token("bob"), transports=["websocket"])
        assert (await bob.emit("join", {"session_id": session}))["ok"]
        await post(shared_server, session, "between")
        await bob.wait_event("message")
        assert (await bob.emit("join", {"session_id": session}))["ok"]
        if heard:
            await post(shared_server, session, "behind")
            await bob.wait_event("message", lambda m: m["content"] == "behind")
        proxy.refusing = True
        mark = bob.mark()
        proxy.half_open()
        await bob.wait_event("disconnect", since=mark)
        proxy.refusing = False
        assert (await bob.connected(since=mark))["recovered"] is heard


async def test_takeover_of_a_half_open_socket_is_seen_by_nobody(server: Server, js: JsClients) -> None:
    session = await session_of(server, "bob")
    alice = await js.open(server.url, server.token("alice"), transports=["websocket"])
    assert (await alice.emit("join", {"session_id": session}))["ok"]
    async with Proxy(server.port) as proxy:
        bob = await js.open(proxy.url, server.token("bob"), transports=["websocket"])
        assert (await bob.emit("join", {"session_id": session}))["ok"]
        await alice.wait_event("presence", lambda p: p.get("user_id") == "bob" and p["status"] == "online")
        mark = alice.mark()
        for _ in range(3):
            since = bob.mark()
            proxy.half_open()
            assert (await bob.connected(since=since))["recovered"]
        await post(server, session, "hello")
        await bob.wait_event("message")
        await alice.wait_event("message", since=mark)
        assert not [e for e in alice.events[mark:] if e.name in ("system", "presence")]
        async with server.api("alice") as api:
            online = (await api.get(f"/api/chat/sessions/{session}/presence")).json()["online"]
        assert {o["user_id"]: o["connections"] for o in online} == {"alice": 1, "bob": 1}
        assert len(bob.named("message")) == 1


async def test_past_the_window_a_client_is_new_and_syncs_by_revision(
    new_server: Callable[..., Server], sqlite_url: str, js: JsClients
) -> None:
    server = new_server(sqlite_url, RECOVERY_WINDOW="0.5")
    session = await session_of(server, "bob")
    async with Proxy(server.port) as proxy:
        bob = await js.open(
            proxy.url,
            server.token("bob"),
            transports=["websocket"],
            reconnectionDelay=1500,
            reconnectionDelayMax=1600,
        )
        ack = await bob.emit("join", {"session_id": session})
        await post(server, session, "seen")
        seen = await bob.wait_event("message")
        mark = bob.mark()
        proxy.cut()
        await bob.wait_event("disconnect", since=mark)
        await post(server, session, "missed")
        assert not (await bob.connected(since=mark))["recovered"]
        ack = await bob.emit("join", {"session_id": session, "after_revision": seen["revision"]})
        assert [m["content"] for m in ack["messages"]] == ["missed"]


async def test_a_log_that_was_trimmed_is_no_recovery(
    new_server: Callable[..., Server], sqlite_url: str, js: JsClients
) -> None:
    server = new_server(sqlite_url, RECOVERY_LOG_SIZE="5")
    session = await session_of(server, "bob")
    async with Proxy(server.port) as proxy:
        bob = await js.open(proxy.url, server.token("bob"), transports=["websocket"])
        assert (await bob.emit("join", {"session_id": session}))["ok"]
        await post(server, session, "first")
        await bob.wait_event("message")
        mark = bob.mark()
        proxy.refusing = True
        proxy.half_open()
        await bob.wait_event("disconnect", since=mark)
        for number in range(8):
            await post(server, session, f"missed {number}")
        proxy.refusing = False
        assert not (await bob.connected(since=mark))["recovered"]


async def test_a_restarted_server_makes_clients_new(server: Server, js: JsClients) -> None:
    session = await session_of(server, "bob")
    bob = await js.open(server.url, server.token("bob"), transports=["websocket"])
    assert (await bob.emit("join", {"session_id": session}))["ok"]
    await post(server, session, "first")
    await bob.wait_event("message")
    mark = bob.mark()
    server.kill9()
    await server.start_async()
    assert not (await bob.connected(since=mark, timeout=20))["recovered"]


@pytest.mark.parametrize("how", ["removed", "archived", "expired token", "other identity"])
async def test_nobody_comes_back_in_through_recovery(server: Server, how: str) -> None:
    session = await session_of(server, "bob")
    async with SioWebSocket(server.ws_url) as first:
        opened = await first.connect(server.token("bob"))
        assert (await first.emit("join", {"session_id": session}))["ok"]
        await post(server, session, "hello")
        seen = await first.wait_received("message")
        first.abort()
    token = server.token("bob")
    async with server.api("alice") as api:
        if how == "removed":
            await api.delete(f"/api/chat/sessions/{session}/participants/bob")
        elif how == "archived":
            await api.delete(f"/api/chat/sessions/{session}")
    if how == "expired token":
        token = server.token("bob", ttl=-5)
    elif how == "other identity":
        token = server.token("eve")
    async with SioWebSocket(server.ws_url) as second:
        again = await second.connect(token, pid=opened["pid"], offset=seen.position)
        if how == "expired token":
            assert again["data"]["code"] == "TOKEN_EXPIRED"
            return
        assert again["pid"] != opened["pid"]
        assert again["sid"] != opened["sid"]
        ack = await second.emit("join", {"session_id": session})
        assert not ack["ok"]


async def test_who_knows_the_pid_of_somebody_else_ends_nothing(server: Server) -> None:
    session = await session_of(server, "bob")
    async with SioWebSocket(server.ws_url) as first, SioWebSocket(server.ws_url) as second:
        opened = await first.connect(server.token("bob"))
        assert (await first.emit("join", {"session_id": session}))["ok"]
        again = await second.connect(server.token("eve"), pid=opened["pid"])
        assert again["pid"] != opened["pid"]
        assert (await first.emit("presence", {"status": "away"}))["ok"], "its record is its own"
        await post(server, session, "hello")
        seen = await first.wait_received("message")
        first.abort()
        async with SioWebSocket(server.ws_url) as third:
            back = await third.connect(server.token("bob"), pid=opened["pid"], offset=seen.position)
            assert (back["sid"], back["pid"]) == (opened["sid"], opened["pid"])


@pytest.mark.parametrize("offset", ["nonsense", "-", "", "zzzz-000000000001", "ffffffffffff-ffffffffffff"])
async def test_an_offset_that_we_did_not_give_is_no_recovery(shared_server: Server, offset: str) -> None:
    session = await session_of(shared_server, "bob")
    async with SioWebSocket(shared_server.ws_url) as first:
        opened = await first.connect(shared_server.token("bob"))
        assert (await first.emit("join", {"session_id": session}))["ok"]
        first.abort()
    async with SioWebSocket(shared_server.ws_url) as second:
        again = await second.connect(shared_server.token("bob"), pid=opened["pid"], offset=offset)
        assert again["pid"] != opened["pid"]


async def test_two_tabs_of_one_user_recover_apart(shared_server: Server, js: JsClients) -> None:
    session = await session_of(shared_server, "bob")
    async with Proxy(shared_server.port) as proxy:
        token = shared_server.token("bob")
        one = await js.open(proxy.url, token, transports=["websocket"])
        two = await js.open(shared_server.url, token, transports=["websocket"])
        for tab in (one, two):
            assert (await tab.emit("join", {"session_id": session}))["ok"]
        mark = one.mark()
        proxy.cut()
        await post(shared_server, session, "hello")
        assert (await one.connected(since=mark))["recovered"]
        for tab in (one, two):
            await tab.wait_event("message")
            assert len(tab.named("message")) == 1
        assert len(two.named("connect")) == 1


async def test_a_room_left_is_not_restored(shared_server: Server, js: JsClients) -> None:
    stay, go = await session_of(shared_server, "bob"), await session_of(shared_server, "bob")
    async with Proxy(shared_server.port) as proxy:
        bob = await js.open(proxy.url, shared_server.token("bob"), transports=["websocket"])
        for session in (stay, go):
            assert (await bob.emit("join", {"session_id": session}))["ok"]
        assert (await bob.emit("leave", {"session_id": go}))["ok"]
        mark = bob.mark()
        proxy.cut()
        assert (await bob.connected(since=mark))["recovered"]
        await post(shared_server, go, "not for bob")
        await post(shared_server, stay, "for bob")
        assert (await bob.wait_event("message"))["content"] == "for bob"


async def test_volatile_events_are_not_replayed_and_presence_is_told_as_it_is(
    new_server: Callable[..., Server], sqlite_url: str, js: JsClients
) -> None:
    server = new_server(sqlite_url, PRESENCE_GRACE="1")
    session = await session_of(server, "bob", "carol", "dave")
    async with (
        Proxy(server.port) as proxy,
        RawClient(server.ws_url, session, server.token("alice")) as alice,
        RawClient(server.ws_url, session, server.token("carol")) as carol,
        AsyncExitStack() as stack,
    ):
        for client in (alice, carol):
            await client.welcome()
        bob = await js.open(proxy.url, server.token("bob"), transports=["websocket"])
        joined = await bob.emit("join", {"session_id": session})
        assert {each["user_id"] for each in joined["online"]} >= {"alice", "bob", "carol"}
        proxy.refusing = True
        mark = bob.mark()
        proxy.half_open()
        await bob.wait_event("disconnect", since=mark)
        assert (await alice.send("typing", is_typing=True))["ok"]
        assert (await alice.send("presence", status="away"))["ok"]
        dave = RawClient(server.ws_url, session, server.token("dave"))
        await (await stack.enter_async_context(dave)).welcome()
        await carol.close()
        await alice.wait_event("presence", lambda p: (p["user_id"], p["status"]) == ("carol", "offline"))
        await alice.send("message", content="durable")
        proxy.refusing = False
        assert (await bob.connected(since=mark))["recovered"]
        told = {}
        while told != {"alice": "away", "carol": "offline", "dave": "online"}:
            event = await bob.wait_event("presence", lambda p: p["user_id"] not in {*told, "bob"}, since=mark)
            told[event["user_id"]] = event["status"]
        await bob.wait_event("message")
        assert bob.named("typing", mark) == []
        # Once; and what changes from now on is told as ever.
        assert len([p for p in bob.named("presence", mark) if p["user_id"] != "bob"]) == 3
        assert (await alice.send("presence", status="online"))["ok"]
        await bob.wait_event(
            "presence", lambda p: (p["user_id"], p["status"]) == ("alice", "online"), since=mark
        )


@pytest.mark.timeout(120)
async def test_the_raw_websocket_goes_on_after_a_position(server: Server) -> None:
    await read_in_pieces(server, 12, "raw")


@pytest.mark.timeout(120)
async def test_event_streams_go_on_after_last_event_id(server: Server) -> None:
    await read_in_pieces(server, 12, "sse")


async def read_in_pieces(server: Server, cuts: int, door: str) -> None:
    """A reader that is cut off again and again, and goes on where it was."""
    sessions = (await three_sessions(server))[:1]
    session, token = sessions[0], server.token("bob")
    position: str | None = None
    events: list[Received] = []

    async def read_on() -> RawClient | SseClient:
        client: RawClient | SseClient
        if door == "raw":
            client = RawClient(server.ws_url, session, token, after=position)
        else:
            url = f"{server.url}/api/chat/sessions/{session}/events"
            client = SseClient(url, token, last_event_id=position)
        await client.open()
        welcome = await client.wait_received("welcome")
        assert welcome.data["recovered"] is (position is not None)
        return client

    client = await read_on()
    position = client.named("welcome")[0]["position"]
    async with Traffic(server, sessions, server.token("alice")) as traffic:
        for _ in range(cuts):
            await client.wait_count("message", 2)
            if isinstance(client, RawClient):
                client.abort()
            await client.close()
            events += [e for e in client.events if e.name != "welcome"]
            position = next((e.position for e in reversed(client.events) if e.position), position)
            client = await read_on()
        await traffic.stop()
        client.events[:0] = events
        await all_seen(client, server, sessions)
        client.events = [e for e in client.events if e.name != "welcome"]
        check(client, traffic)
        await client.close()


async def test_a_herd_of_clients_comes_back(server: Server) -> None:
    """All at once, to the limit of what a test may take; the full count is in the fault runs."""
    await herd(server, 300)


async def herd(server: Server, count: int) -> None:
    session = await session_of(server, "bob")
    token = server.token("bob")
    pids = []
    for start in range(0, count, 100):
        clients = [SioWebSocket(server.ws_url) for _ in range(min(100, count - start))]
        await asyncio.gather(*(c.__aenter__() for c in clients))
        opened = await asyncio.gather(*(c.connect(token) for c in clients))
        assert all(
            a["ok"] for a in await asyncio.gather(*(c.emit("join", {"session_id": session}) for c in clients))
        )
        pids += [o["pid"] for o in opened]
        await asyncio.gather(*(c.__aexit__(None, None, None) for c in clients))
    await post(server, session, "missed by all")

    async def back(pid: str) -> None:
        async with SioWebSocket(server.ws_url) as client:
            again = await client.connect(token, pid=pid)
            assert again["pid"] == pid
            assert (await client.wait_event("message"))["content"] == "missed by all"

    for start in range(0, count, 1000):
        await asyncio.gather(*(back(pid) for pid in pids[start : start + 1000]))
