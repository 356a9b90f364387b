"""Who is typing and who is here, through every door that can say so."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.doors import KINDS, LIVE, enter, new_session
from tests.support.server import Server
from tests.support.sioclient import SioWebSocket

every_door = pytest.mark.parametrize("kind", KINDS)
live_door = pytest.mark.parametrize("kind", LIVE)


@pytest.fixture(scope="module")
def lasting(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Where typing ends by itself long after a test does."""
    folder = tmp_path_factory.mktemp("doors-lasting")
    with Server.on_sqlite(sqlite_template, folder, TYPING_TTL="60") as node:
        yield node


@live_door
async def test_typing_is_told_to_the_others(parley: Server, kind: str) -> None:
    session = await new_session(parley, members=("bob",))
    async with (
        enter(kind, parley, "alice", session) as alice,
        enter("socketio", parley, "alice", session) as tab,
        enter("rest", parley, "bob", session) as bob,
    ):
        assert (await alice.call("typing", is_typing=True))["ok"]
        began = await bob.wait_event("typing")
        assert (began["user_id"], began["is_typing"], began["session_id"]) == ("alice", True, session)
        await tab.wait_event("typing", lambda t: t["is_typing"])
        # A refresh is not told again; a stop is.
        assert (await alice.call("typing", is_typing=True))["ok"]
        assert (await alice.call("typing", is_typing=False))["ok"]
        await bob.wait_event("typing", lambda t: not t["is_typing"])
        assert [t["is_typing"] for t in bob.named("typing")] == [True, False]
        assert alice.named("typing") == []


@live_door
async def test_typing_ends_with_the_message(parley: Server, kind: str) -> None:
    session = await new_session(parley, members=("bob",))
    async with enter(kind, parley, "alice", session) as alice, enter("rest", parley, "bob", session) as bob:
        await alice.call("typing", is_typing=True)
        await bob.wait_event("typing", lambda t: t["is_typing"])
        await alice.message("there")
        await bob.wait_event("typing", lambda t: not t["is_typing"])


@live_door
async def test_typing_ends_by_itself(parley: Server, kind: str) -> None:
    session = await new_session(parley, members=("bob",))
    async with enter(kind, parley, "alice", session) as alice, enter("rest", parley, "bob", session) as bob:
        await alice.call("typing", is_typing=True)
        await bob.wait_event("typing", lambda t: t["is_typing"])
        # TYPING_TTL without a refresh.
        await bob.wait_event("typing", lambda t: not t["is_typing"])


@live_door
async def test_typing_ends_with_the_connection(parley: Server, kind: str) -> None:
    session = await new_session(parley, members=("bob",))
    async with enter("rest", parley, "bob", session) as bob:
        async with enter(kind, parley, "alice", session) as alice:
            await alice.call("typing", is_typing=True)
            await bob.wait_event("typing", lambda t: t["is_typing"])
        await bob.wait_event("typing", lambda t: not t["is_typing"])


@pytest.mark.parametrize("how", ["connection", "leave"])
async def test_typing_of_one_who_has_not_joined_ends_in_the_same_way(lasting: Server, how: str) -> None:
    """Whoever may write in a session may say there that he types."""
    session = await new_session(lasting, members=("bob",))
    async with enter("websocket", lasting, "bob", session) as bob:
        for _ in range(2):  # and the next time is told as well
            async with SioWebSocket(lasting.ws_url) as alice:
                await alice.connect(lasting.token("alice"))
                mark = bob.mark()
                assert (await alice.emit("typing", {"session_id": session, "is_typing": True}))["ok"]
                await bob.wait_event("typing", lambda t: t["is_typing"], since=mark)
                if how == "leave":
                    assert (await alice.emit("leave", {"session_id": session}))["ok"]
                    await bob.wait_event("typing", lambda t: not t["is_typing"], since=mark)
            await bob.wait_event("typing", lambda t: not t["is_typing"], since=mark)


async def test_typing_said_by_a_request_ends_with_the_last_connection(lasting: Server) -> None:
    session = await new_session(lasting, members=("bob",))
    async with enter("websocket", lasting, "bob", session) as bob, lasting.api("alice") as api:
        async with (
            enter("socketio", lasting, "alice", session),
            enter("websocket", lasting, "alice", session),
        ):
            mark = bob.mark()
            said = await api.post(f"/api/chat/sessions/{session}/typing", json={"is_typing": True})
            assert said.status_code == 200
            await bob.wait_event("typing", lambda t: t["is_typing"], since=mark)
        await bob.wait_event("typing", lambda t: not t["is_typing"], since=mark)


async def test_typing_goes_on_where_another_connection_says_so(lasting: Server) -> None:
    session = await new_session(lasting, members=("bob",))
    async with (
        enter("websocket", lasting, "bob", session) as bob,
        enter("socketio", lasting, "alice", session) as alice,
        lasting.api("bob") as api,
    ):
        async with enter("websocket", lasting, "alice", session) as tab:
            assert (await tab.call("typing", is_typing=True))["ok"]
            assert (await alice.call("typing", is_typing=True))["ok"]
        async with asyncio.timeout(10):
            while True:
                shown = (await api.get(f"/api/chat/sessions/{session}/presence")).json()["online"]
                if [o["connections"] for o in shown if o["user_id"] == "alice"] == [1]:
                    break
                await asyncio.sleep(0.01)
        assert (await alice.call("typing", is_typing=True))["ok"]
        assert (await alice.call("typing", is_typing=False))["ok"]
        await bob.wait_event("typing", lambda t: not t["is_typing"])
        assert [t["is_typing"] for t in bob.named("typing")] == [True, False]


async def test_many_who_come_and_go_at_once_are_each_told_in_order(parley: Server) -> None:
    names = [f"user{n}" for n in range(5)]
    session = await new_session(parley, members=tuple(names))
    async with enter("socketio", parley, "alice", session) as alice:
        async with AsyncExitStack() as stack:
            for name in names:
                await stack.enter_async_context(enter("websocket", parley, name, session))
            await alice.wait_event("presence", lambda p: p["user_id"] == names[-1])
            joined = [s["user_id"] for s in alice.named("system") if s["event"] == "user_joined"]
            assert [name for name in joined if name != "alice"] == names
            online = [p["user_id"] for p in alice.named("presence") if p["status"] == "online"]
            assert [name for name in online if name != "alice"] == names
        for name in names:
            gone = {"user_id": name, "status": "offline"}
            await alice.wait_event("presence", lambda p, gone=gone: gone.items() <= p.items())


@every_door
async def test_presence_counts_connections(parley: Server, kind: str) -> None:
    session = await new_session(parley, members=("bob",))
    async with enter("socketio", parley, "bob", session) as bob:
        mark = bob.mark()
        async with enter(kind, parley, "alice", session):
            came = await bob.wait_event("presence", lambda p: p["user_id"] == "alice", since=mark)
            assert came["status"] == "online"
            joined = await bob.wait_event("system", lambda s: s["user_id"] == "alice", since=mark)
            assert joined["event"] == "user_joined"
            # A second tab, at another door, changes nothing, and neither does its end.
            async with enter("websocket", parley, "alice", session) as tab:
                online = {entry["user_id"]: entry for entry in tab.joined["online"]}
                assert online["alice"]["connections"] == 2
        went = await bob.wait_event("presence", lambda p: p["status"] == "offline", since=mark)
        assert went["user_id"] == "alice"
        left = await bob.wait_event("system", lambda s: s["event"] == "user_left", since=mark)
        assert left["user_id"] == "alice"
        assert [p["status"] for p in bob.named("presence", mark)] == ["online", "offline"]


@every_door
async def test_a_quick_return_is_not_seen(patient: Server, kind: str) -> None:
    session = await new_session(patient, members=("bob",))
    async with enter("socketio", patient, "bob", session) as bob:
        async with enter(kind, patient, "alice", session):
            await bob.wait_event("presence", lambda p: p["user_id"] == "alice")
            mark = bob.mark()
        async with enter(kind, patient, "alice", session) as alice:
            await alice.call("typing", is_typing=True)
            # Time passes for certain: what ends by itself is longer than the grace.
            await bob.wait_event("typing", lambda t: not t["is_typing"], since=mark)
            assert bob.named("presence", mark) == []


@live_door
async def test_away_and_back(parley: Server, kind: str) -> None:
    session = await new_session(parley, members=("bob",))
    async with (
        enter("rest", parley, "bob", session) as bob,
        enter(kind, parley, "alice", session) as alice,
        enter("socketio", parley, "alice", session) as tab,
    ):
        await bob.wait_event("presence", lambda p: p["user_id"] == "alice")
        mark = bob.mark()
        # Any connection that is online wins.
        assert (await alice.call("presence", status="away"))["ok"]
        assert (await tab.call("presence", status="away"))["ok"]
        away = await bob.wait_event("presence", since=mark)
        assert (away["user_id"], away["status"]) == ("alice", "away")
        assert (await tab.call("presence", status="online"))["ok"]
        await bob.wait_event("presence", lambda p: p["status"] == "online", since=mark)
        assert [p["status"] for p in bob.named("presence", mark)] == ["away", "online"]
        async with parley.api("bob") as api:
            shown = (await api.get(f"/api/chat/sessions/{session}/presence")).json()["online"]
        assert {entry["user_id"]: entry["status"] for entry in shown} == {"alice": "online", "bob": "online"}


@live_door
async def test_leaving(parley: Server, kind: str) -> None:
    session = await new_session(parley, members=("bob",))
    async with (
        enter("socketio", parley, "bob", session) as bob,
        enter(kind, parley, "alice", session) as alice,
    ):
        await bob.wait_event("presence", lambda p: p["user_id"] == "alice")
        assert (await alice.call("leave"))["ok"]
        await bob.wait_event("presence", lambda p: p["status"] == "offline")
        await bob.message("to nobody")
        await bob.wait_event("message")
        # Another command's reply comes after whatever would have been sent before it.
        if kind != "websocket":
            await alice.call("history")
            assert alice.named("message") == []


async def test_a_large_room_is_told_by_count(sqlite_url: str, new_server: type[Server]) -> None:
    node = new_server(sqlite_url, PRESENCE_EVENTS_MAX="2", PRESENCE_GRACE="0.2")
    session = await new_session(node, members=("b", "c", "d", "e"))
    async with enter("socketio", node, "alice", session) as alice:
        async with (
            enter("websocket", node, "b", session),
            enter("websocket", node, "c", session),
            enter("websocket", node, "d", session),
            enter("websocket", node, "e", session),
        ):
            await alice.wait_event("presence", lambda p: p.get("online") == 5)
        await alice.wait_event("presence", lambda p: p.get("online", 5) <= 2 or p.get("status") == "offline")


async def test_a_return_within_the_grace_keeps_or_tells_the_status(patient: Server) -> None:
    session = await new_session(patient, members=("bob",))
    async with enter("websocket", patient, "bob", session) as bob:
        async with SioWebSocket(patient.ws_url) as first:
            await first.connect(patient.token("alice"))
            await first.emit("join", {"session_id": session})
            assert (await first.emit("presence", {"status": "away"}))["ok"]
            await bob.wait_event("presence", lambda p: p["status"] == "away")
            mark = bob.mark()
            first.abort()
            async with SioWebSocket(patient.ws_url) as recovered:
                # Recovered: still away, and nobody has heard of it.
                answer = await recovered.connect(patient.token("alice"), pid=first.pid)
                assert answer["pid"] == first.pid
                async with patient.api("bob") as api:
                    online = (await api.get(f"/api/chat/sessions/{session}/presence")).json()["online"]
                assert [o["status"] for o in online if o["user_id"] == "alice"] == ["away"]
                assert bob.named("presence", mark) == []
        async with SioWebSocket(patient.ws_url) as anew:
            # A new connection is online, and that is told, although nobody saw her go.
            await anew.connect(patient.token("alice"))
            await anew.emit("join", {"session_id": session})
            told = await bob.wait_event("presence", since=mark)
            assert (told["user_id"], told["status"]) == ("alice", "online")
            assert bob.named("system", mark) == []
