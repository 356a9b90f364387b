"""What people are called, and their pictures: kept from their tokens, and told to whom they are mentioned."""

import asyncio
from typing import Any

import pytest

from tests.support.doors import KINDS, Door, enter, new_session
from tests.support.server import Server

ANN = {"name": "Ann Lee", "avatar_url": "https://example.com/ann.png"}
BEN = {"name": "Ben", "avatar_url": None}


async def known(server: Server, sub: str, **claims: Any) -> None:
    """A token of theirs has been seen."""
    async with server.api(sub, **claims) as api:
        assert (await api.get("/api/chat/sessions")).status_code == 200


async def introductions(door: Door, reader: Door) -> list[Any]:
    """What messages say of their sender until they say no more of it: a new name is written down first."""
    told: list[Any] = []
    async with asyncio.timeout(10):
        while not told or told[-1] is not None:
            seq = (await door.message("hello"))["seq"]
            message = await reader.wait_event("message", lambda m, seq=seq: m["seq"] == seq)
            told.append(message.get("user"))
            await asyncio.sleep(0.05)
    return told[:-1]


@pytest.mark.parametrize("kind", KINDS)
async def test_whoever_joins_is_told_of_all_whom_the_session_has(parley: Server, kind: str) -> None:
    owner, writer, viewer = f"ann {kind}", f"ben {kind}", f"cho {kind}"
    session_id = await new_session(parley, owner, members=(writer,), viewers=(viewer,), agent_id=1)
    async with enter(kind, parley, owner, session_id, claims=ANN):
        async with enter(kind, parley, writer, session_id, claims={"name": "Ben"}) as ben:
            echo = {"name": "Echo", "avatar_url": None}
            assert ben.joined["users"] == {owner: ANN, writer: BEN, "agent:1": echo}
            await ben.message("hello", reply=False)
            assert (await ben.call("history"))["users"] == {writer: BEN}
        async with parley.api(viewer) as api:
            path = f"/api/chat/sessions/{session_id}"
            assert (await api.get(path)).json()["users"] == {owner: ANN, writer: BEN, "agent:1": echo}
            online = (await api.get(f"{path}/presence")).json()
            assert online["users"][owner] == ANN


async def test_nobody_is_named_where_nobody_has_a_name(either: Server) -> None:
    """Nothing is said of it then, anywhere."""
    session_id = await new_session(either, "dan", members=("eve",))
    async with enter("websocket", either, "dan", session_id) as dan:
        assert "users" not in dan.joined
        async with enter("socketio", either, "eve", session_id) as eve:
            assert "user" not in await dan.wait_event("system")
            await eve.message("hello")
            assert "user" not in await dan.wait_event("message")
        assert "users" not in await dan.call("history")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_sender_is_introduced_once(parley: Server, kind: str) -> None:
    """With the first message that its readers may not know it from; again where its name is another one."""
    owner, fay = f"gus {kind}", f"fay {kind}"
    await known(parley, fay, name="Fay")
    session_id = await new_session(parley, owner)
    async with enter(kind, parley, owner, session_id) as gus, parley.api(owner) as api:
        assert "users" not in gus.joined
        await api.put(f"/api/chat/sessions/{session_id}/participants/{fay}", json={"role": "member"})
        added = await gus.wait_event("session")
        assert (added["event"], added["user_id"], added["user"]["name"]) == ("updated", fay, "Fay")
        for name in ("Fay", "Fay Ray"):
            async with enter(kind, parley, fay, session_id, claims={"name": name}) as door:
                told = await introductions(door, gus)
                assert told
                assert told == [{"name": name, "avatar_url": None}] * len(told)
        # Those who join know it: they are told no more.
        async with (
            enter(kind, parley, owner, session_id) as again,
            enter(kind, parley, fay, session_id, claims={"name": "Fay Ray"}) as door,
        ):
            assert again.joined["users"] == {fay: {"name": "Fay Ray", "avatar_url": None}}
            assert await introductions(door, again) == []


async def test_who_comes_is_named(parley: Server) -> None:
    session_id = await new_session(parley, "hal", members=("ivy",))
    async with (
        enter("websocket", parley, "hal", session_id) as hal,
        enter("socketio", parley, "ivy", session_id, claims=ANN),
    ):
        came = await hal.wait_event("system", lambda event: event["user_id"] == "ivy")
        assert (came["event"], came["user"]) == ("user_joined", ANN)


@pytest.mark.parametrize(
    "claims",
    [
        {"name": "J\0", "avatar_url": "javascript:alert(1)"},
        {"name": 7, "avatar_url": {"url": "https://example.com"}},
        {"name": "   ", "avatar_url": "https://example.com/" + "a" * 1000},
        {"name": ["Jon"], "avatar_url": "https://exa mple.com/a"},
        {"name": None, "avatar_url": "//example.com/a.png"},
        {"name": "", "avatar_url": "data:image/png;base64,AAAA"},
    ],
)
async def test_what_cannot_be_shown_is_no_name(parley: Server, claims: dict[str, Any]) -> None:
    """Its user comes in all the same."""
    session_id = await new_session(parley, "jon", members=("kim",))
    async with enter("websocket", parley, "jon", session_id, claims=claims) as jon:
        assert "users" not in jon.joined
        async with enter("socketio", parley, "kim", session_id, claims={"name": "K" * 300}) as kim:
            assert kim.joined["users"] == {"kim": {"name": "K" * 255, "avatar_url": None}}
            await jon.message("hello")
            assert "user" not in await kim.wait_event("message")
    async with parley.api("backend", "service") as backend:
        assert (await backend.delete("/api/server/users/kim")).status_code == 200
    async with enter("websocket", parley, "jon", session_id) as jon:
        assert "users" not in jon.joined  # erased with the user


async def test_a_share_link_names_nobody(either: Server) -> None:
    await known(either, "liv", name="Liv")
    session_id = await new_session(either, "max", members=("liv",))
    link = {"sessions": [session_id], "session_role": "member", "name": "Mallory"}
    async with enter("websocket", either, "max", session_id) as max_:
        assert max_.joined["users"] == {"liv": {"name": "Liv", "avatar_url": None}}
        for sub in ("liv", "guest"):
            async with enter("rest", either, sub, session_id, claims=link) as door:
                assert "guest" not in door.joined["users"]
                await door.message(f"from {sub}")
        for sub in ("liv", "guest"):
            message = await max_.wait_event("message", lambda m, sub=sub: m["sender_id"] == sub)
            assert "user" not in message
            came = await max_.wait_event("system", lambda e, sub=sub: e["user_id"] == sub)
            assert "user" not in came
        assert (await max_.call("history"))["users"] == {"liv": {"name": "Liv", "avatar_url": None}}


async def told_elsewhere(door: Door, session_id: str, count: int) -> list[str]:
    told = await door.inbox.wait_count("session", count, lambda event: event["session_id"] == session_id)
    return [event["event"] for event in told]


async def test_who_is_removed_is_told_wherever_one_is(either: Server) -> None:
    """Once each: in the room as its end, elsewhere by name. Nobody who took no part hears of it."""
    home = await new_session(either, "pia")
    session_id = await new_session(either, "ned", title="Lunch")
    path = f"/api/chat/sessions/{session_id}/participants"
    async with (
        enter("socketio", either, "pia", home) as outside,
        either.api("ned") as ned,
    ):
        assert (await ned.delete(f"{path}/pia")).status_code == 200  # before she ever took part
        await ned.put(f"{path}/pia", json={"role": "member"})
        assert await told_elsewhere(outside, session_id, 1) == ["added"]
        async with enter("websocket", either, "pia", session_id) as inside:
            assert (await ned.delete(f"{path}/pia")).status_code == 200
            ended = await inside.wait_event("session", lambda event: event["event"] == "removed")
            assert ended["user_id"] == "pia"
        assert await told_elsewhere(outside, session_id, 2) == ["added", "removed"]
        await ned.put(f"{path}/pia", json={"role": "member"})
        assert await told_elsewhere(outside, session_id, 3) == ["added", "removed", "added"]
        assert len([e for e in inside.named("session") if e["event"] == "removed"]) == 1
