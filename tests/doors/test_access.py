"""Who may do what in a session, and how membership ends, through every door."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.doors import KINDS, LIVE, Door, enter, new_session
from tests.support.refusals import Refusal, refusal
from tests.support.server import Server

every_door = pytest.mark.parametrize("kind", KINDS)
live_door = pytest.mark.parametrize("kind", LIVE)


def code(reply: dict[str, Any]) -> str:
    assert not reply["ok"], reply
    found: str = reply["error"]["code"]
    return found


def assert_refused(found: Refusal, code: str, closed: int, http: int) -> None:
    assert found.closed in (None, closed), found
    assert found.http in (None, http), found
    assert found.code in ((None, code) if found.closed else (code,)), found


@every_door
async def test_a_viewer_reads_and_no_more(either: Server, kind: str) -> None:
    session = await new_session(either, "alice", viewers=("eve",))
    async with enter(kind, either, "alice", session) as alice, enter(kind, either, "eve", session) as eve:
        sent = await alice.message("look")
        await eve.wait_event("message")
        assert [m["content"] for m in await eve.history()] == ["look"]
        assert (await eve.call("read", seq=1))["ok"]
        assert code(await eve.call("message", content="me too")) == "FORBIDDEN"
        assert code(await eve.call("edit", message_id=sent["message_id"], content="x")) == "FORBIDDEN"
        assert code(await eve.call("delete", message_id=sent["message_id"])) == "FORBIDDEN"
        if eve.speaks("typing"):
            assert code(await eve.call("typing", is_typing=True)) == "FORBIDDEN"
            assert code(await eve.call("stream_start")) == "FORBIDDEN"


@every_door
async def test_to_strangers_a_session_does_not_exist(either: Server, kind: str) -> None:
    session = await new_session(either, "alice")
    for stranger, role in (("mallory", None), ("1", "agent"), ("2", "agent")):
        found = await refusal(kind, either, either.token(stranger, role), session)
        assert_refused(found, "SESSION_NOT_FOUND", 4004, 404)
    assert_refused(
        await refusal(kind, either, either.token("alice"), "sess_none"), "SESSION_NOT_FOUND", 4004, 404
    )


@every_door
async def test_an_agent_is_a_member_of_its_sessions(either: Server, kind: str) -> None:
    session = await new_session(either, "alice", agent_id=1)
    async with (
        enter(kind, either, "1", session, role="agent") as agent,
        enter("socketio", either, "alice", session) as alice,
    ):
        await agent.message("at your service")
        message = await alice.wait_event("message")
        assert (message["sender_type"], message["sender_id"]) == ("agent", "1")
    async with either.api("1", "agent") as api:
        assert (await api.post("/api/chat/sessions", json={})).status_code == 403
        assert (await api.patch(f"/api/chat/sessions/{session}", json={"title": "x"})).status_code == 403
    # User 1 is not agent 1.
    assert_refused(await refusal(kind, either, either.token("1"), session), "SESSION_NOT_FOUND", 4004, 404)


@every_door
async def test_a_service_may_everything(either: Server, kind: str) -> None:
    session = await new_session(either, "alice")
    async with (
        enter(kind, either, "billing", session, role="service") as service,
        enter("socketio", either, "alice", session) as alice,
    ):
        await service.message("paid")
        message = await alice.wait_event("message")
        assert (message["sender_type"], message["sender_id"]) == ("system", "billing")
        sent = await alice.message("mine")
        assert (await service.call("delete", message_id=sent["message_id"]))["ok"]


@every_door
async def test_a_share_link_opens_its_sessions_alone(either: Server, kind: str) -> None:
    session, other = await new_session(either, "alice"), await new_session(either, "alice")
    link = {"sessions": [session]}
    async with enter(kind, either, "guest", session, claims=link) as guest:
        assert code(await guest.call("message", content="hi")) == "FORBIDDEN"
        assert await guest.history() == []
    async with enter(kind, either, "guest", session, claims={**link, "session_role": "member"}) as guest:
        await guest.message("hi")
    for sub in ("guest", "alice"):
        found = await refusal(kind, either, either.token(sub, sessions=[session]), other)
        assert_refused(found, "SESSION_NOT_FOUND", 4004, 404)
    # It makes no sessions either.
    async with either.api("guest", sessions=[session]) as api:
        assert (await api.post("/api/chat/sessions", json={})).status_code == 403
    # A removal outranks the token's claim.
    async with either.api("alice") as api:
        path = f"/api/chat/sessions/{session}/participants/guest"
        await api.put(path, json={"role": "viewer"})
        assert (await api.delete(path)).status_code == 200
    found = await refusal(kind, either, either.token("guest", **link), session)
    assert_refused(found, "SESSION_NOT_FOUND", 4004, 404)


async def ended(door: Door, event: str) -> None:
    """The membership ends: the room says so, and the raw WebSocket closes."""
    told = await door.wait_event("session", lambda s: s["event"] == event)
    assert told["session_id"] == door.session_id
    if door.kind == "websocket":
        assert await door.client.closed() == 4004


@every_door
async def test_a_removed_participant_is_out_at_once(either: Server, kind: str) -> None:
    session = await new_session(either, "alice", members=("bob",))
    async with (
        enter(kind, either, "bob", session) as bob,
        enter("socketio", either, "alice", session) as alice,
    ):
        async with either.api("alice") as api:
            removed = await api.delete(f"/api/chat/sessions/{session}/participants/bob")
            assert removed.status_code == 200
            assert removed.json()["participants"] == ["alice"]
        await ended(bob, "removed")
        await alice.message("without bob")
        if kind != "websocket":
            assert code(await bob.call("message", content="still me?")) == "SESSION_NOT_FOUND"
            assert bob.named("message") == []
    assert_refused(await refusal(kind, either, either.token("bob"), session), "SESSION_NOT_FOUND", 4004, 404)


@every_door
async def test_an_archived_session_is_readable_and_closed(either: Server, kind: str) -> None:
    session = await new_session(either, "alice")
    path = f"/api/chat/sessions/{session}"
    async with enter(kind, either, "alice", session) as alice, either.api("alice") as api:
        sent = await alice.message("before")
        assert (await api.delete(path)).status_code == 200
        await ended(alice, "archived")
        if kind != "websocket":
            assert code(await alice.call("message", content="after")) == "SESSION_ARCHIVED"
            edit = await alice.call("edit", message_id=sent["message_id"], content="after")
            assert code(edit) == "SESSION_ARCHIVED"
        assert_refused(
            await refusal(kind, either, either.token("alice"), session), "SESSION_ARCHIVED", 4004, 409
        )
        assert len((await api.get(f"{path}/messages")).json()["messages"]) == 1
        assert (await api.get(path)).json()["status"] == "archived"
        restored = await api.patch(path, json={"status": "active"})
        assert restored.status_code == 200, restored.text
    async with enter(kind, either, "alice", session) as alice:
        assert (await alice.message("again"))["seq"] == 2


@every_door
async def test_an_expired_session_is_readable_and_closed(either: Server, kind: str) -> None:
    # A second and a half of life.
    session = await new_session(either, "alice", ttl_hours=1.5 / 3600)
    path = f"/api/chat/sessions/{session}"
    async with enter(kind, either, "alice", session) as alice:
        await alice.message("before")
        await ended(alice, "expired")
        if kind != "websocket":
            assert code(await alice.call("message", content="after")) == "SESSION_EXPIRED"
    assert_refused(await refusal(kind, either, either.token("alice"), session), "SESSION_EXPIRED", 4004, 410)
    async with either.api("alice") as api:
        assert len((await api.get(f"{path}/messages")).json()["messages"]) == 1
        assert (await api.get(path)).json()["status"] == "expired"


@live_door
async def test_participants_hear_of_rooms_they_are_not_in(either: Server, kind: str) -> None:
    here = await new_session(either, "bob")
    elsewhere = await new_session(either, "alice", members=("bob",))
    async with (
        enter(kind, either, "bob", here) as bob,
        enter("socketio", either, "alice", elsewhere) as alice,
    ):
        await alice.message("psst")
        activity = await bob.wait_event(  # an earlier test's session of his may still be told of
            "session", lambda s: s["event"] == "activity" and s["session_id"] == elsewhere
        )
        assert activity["last_message"] == "psst"
        assert activity["last_seq"] == 1
        assert bob.named("message") == []


async def test_an_unused_id_becomes_the_callers_session(
    database_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(database_url, WS_CREATE_SESSIONS="true")
    name = "my:room_1.x-Y"
    async with enter("websocket", node, "alice", name) as alice:
        await alice.message("mine")
        assert alice.joined["session"]["user_id"] == "alice"
    # From then on it is like any session, at every door.
    for kind in KINDS:
        async with enter(kind, node, "alice", name) as alice:
            assert [m["content"] for m in await alice.history()] == ["mine"]
        assert_refused(await refusal(kind, node, node.token("bob"), name), "SESSION_NOT_FOUND", 4004, 404)
    # Ids that begin like ours are nobody's to make up: an erased session's links lead to no other one.
    for bad in ("a b", "x" * 101, "ünï", "sess_" + "0" * 32):
        for kind in KINDS:
            found = await refusal(kind, node, node.token("alice"), bad)
            assert found.code in (None, "SESSION_NOT_FOUND", "VALIDATION_ERROR"), (kind, found)


async def test_a_socket_joins_many_rooms(either: Server) -> None:
    rooms = [await new_session(either, "alice", members=("bob",)) for _ in range(3)]
    async with (
        enter("socketio", either, "alice", rooms[0]) as alice,
        enter("socketio", either, "bob", rooms[0]) as bob,
    ):
        for room in rooms[1:]:
            assert (await alice.call("join", session_id=room))["ok"]
            assert (await bob.call("join", session_id=room))["ok"]
        for room in rooms:
            await bob.message(f"in {room}", session_id=room)
        for room in rooms:
            message = await alice.wait_event("message", lambda m, room=room: m["session_id"] == room)
            assert message["content"] == f"in {room}"


async def test_a_raw_socket_stays_in_its_session(either: Server) -> None:
    session, other = await new_session(either), await new_session(either)
    async with enter("websocket", either, "alice", session) as alice:
        assert code(await alice.call("message", content="x", session_id=other)) == "VALIDATION_ERROR"
        assert (await alice.call("message", content="x", session_id=session))["ok"]
