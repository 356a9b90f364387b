"""Messages through every door: sending, repeating, editing, deleting, reading, paging, order."""

import asyncio
from typing import Any

import pytest

from tests.support.doors import KINDS, LIVE, Door, enter, new_session
from tests.support.server import Server

every_door = pytest.mark.parametrize("kind", KINDS)
live_door = pytest.mark.parametrize("kind", LIVE)


def code(reply: dict[str, Any]) -> str:
    assert not reply["ok"], reply
    error = reply["error"]
    assert isinstance(error["message"], str)
    assert isinstance(error["retryable"], bool)
    found: str = error["code"]
    return found


@every_door
async def test_a_message_reaches_everyone_in_the_room(either: Server, kind: str) -> None:
    session = await new_session(either, "alice", members=("bob", "carol", "dave"))
    async with (
        enter(kind, either, "alice", session) as alice,
        enter("socketio", either, "bob", session) as bob,
        enter("websocket", either, "carol", session) as carol,
        enter("rest", either, "dave", session) as dave,
    ):
        ack = await alice.message("hello", metadata={"mood": "good"}, client_message_id="m-1")
        assert ack["seq"] == 1
        assert "duplicate" not in ack
        # The sender's own connection is told too, with the very same message.
        told = [await door.wait_event("message") for door in (alice, bob, carol, dave)]
        for message in told:
            assert message["message_id"] == ack["message_id"]
            assert message["session_id"] == session
            assert (message["seq"], message["revision"]) == (1, 1)
            assert (message["sender_type"], message["sender_id"]) == ("user", "alice")
            assert (message["message_type"], message["status"]) == ("text", "complete")
            assert (message["content"], message["metadata"]) == ("hello", {"mood": "good"})
            assert message["client_message_id"] == "m-1"
            assert message["is_edited"] is False
            assert message["created_at"] == ack["created_at"]
            assert "timestamp" in message
        (stored,) = await alice.history()
        # `position` and `timestamp` are the event's.
        assert {**told[0], **stored, "timestamp": None} == {**told[0], "timestamp": None}


@every_door
async def test_a_repeat_is_told_as_one_and_seen_by_nobody(either: Server, kind: str) -> None:
    session = await new_session(either, members=("bob",))
    async with (
        enter(kind, either, "alice", session) as alice,
        enter("socketio", either, "bob", session) as bob,
    ):
        first = await alice.message("once", client_message_id="key")
        again = await alice.message("once more", client_message_id="key")
        assert again["duplicate"] is True
        assert (again["message_id"], again["seq"]) == (first["message_id"], first["seq"])
        # Keys belong to their sender.
        theirs = await bob.message("mine", client_message_id="key")
        assert theirs["seq"] == 2
        await bob.wait_event("message", lambda m: m["seq"] == 2)
        assert [m["content"] for m in bob.named("message")] == ["once", "mine"]
        assert [m["content"] for m in await alice.history(order="asc")] == ["once", "mine"]


@every_door
async def test_editing_and_deleting(either: Server, kind: str) -> None:
    session = await new_session(either, members=("bob",))
    async with (
        enter(kind, either, "alice", session) as alice,
        enter("socketio", either, "bob", session) as bob,
    ):
        sent = await alice.message("frist", metadata={"keep": 1})
        edited = await alice.call("edit", message_id=sent["message_id"], content="first")
        assert edited["ok"], edited
        assert edited["revision"] == 2
        update = await bob.wait_event("message_updated")
        assert (update["content"], update["is_edited"], update["seq"]) == ("first", True, 1)
        assert update["revision"] == 2
        assert update["edited_at"]
        assert update["metadata"] == {"keep": 1}

        deleted = await alice.call("delete", message_id=sent["message_id"])
        assert deleted["ok"], deleted
        assert deleted["revision"] == 3
        gone = await bob.wait_event("message_deleted")
        assert (gone["message_id"], gone["seq"], gone["revision"]) == (sent["message_id"], 1, 3)
        (tombstone,) = await alice.history()
        assert tombstone["deleted_at"]
        assert not tombstone["content"]
        assert tombstone["seq"] == 1
        assert "first" not in str(tombstone)
        # A tombstone does not come to life again.
        assert (
            code(await alice.call("edit", message_id=sent["message_id"], content="x")) == "MESSAGE_NOT_FOUND"
        )
        assert (await alice.message("second"))["seq"] == 2


@every_door
async def test_who_may_edit_and_delete(either: Server, kind: str) -> None:
    session = await new_session(either, "owner", members=("alice", "bob"))
    async with (
        enter(kind, either, "alice", session) as alice,
        enter("socketio", either, "bob", session) as bob,
        enter("socketio", either, "owner", session) as owner,
    ):
        of_bob = (await bob.message("bob's"))["message_id"]
        of_alice = (await alice.message("alice's"))["message_id"]
        assert code(await alice.call("edit", message_id=of_bob, content="x")) == "FORBIDDEN"
        assert code(await alice.call("delete", message_id=of_bob)) == "FORBIDDEN"
        # The owner deletes, but puts no words into anybody's mouth.
        assert code(await owner.call("edit", message_id=of_alice, content="x")) == "FORBIDDEN"
        assert (await owner.call("delete", message_id=of_alice))["ok"]
        assert code(await alice.call("delete", message_id="msg_none")) == "MESSAGE_NOT_FOUND"
        assert code(await alice.call("edit", message_id="msg_none", content="x")) == "MESSAGE_NOT_FOUND"


@every_door
async def test_an_answer_names_what_it_answers(either: Server, kind: str) -> None:
    session, other = await new_session(either), await new_session(either)
    async with (
        enter(kind, either, "alice", session) as alice,
        enter(kind, either, "alice", other) as elsewhere,
    ):
        question = await alice.message("?")
        await alice.message("!", reply_to=question["message_id"])
        assert (await alice.history(order="asc"))[1]["reply_to"] == question["message_id"]
        foreign = await elsewhere.message("of another session")
        for target in ("msg_none", foreign["message_id"]):
            refused = await alice.call("message", content="!", reply_to=target)
            assert code(refused) == "MESSAGE_NOT_FOUND"
        # What was refused left no hole.
        assert (await alice.message("next"))["seq"] == 3


@every_door
async def test_read_marks_and_unread_counts(either: Server, kind: str) -> None:
    session = await new_session(either, "alice", members=("bob",))
    async with (
        enter(kind, either, "alice", session) as alice,
        enter("socketio", either, "bob", session) as bob,
    ):
        for n in range(4):
            await bob.message(f"bob {n}")
        await alice.message("alice's own do not count")
        deleted = await bob.message("deleted ones neither")
        await bob.call("delete", message_id=deleted["message_id"])
        assert await unread(either, "alice", session) == 4

        reply = await alice.call("read", seq=3)
        assert (reply["ok"], reply["unread_count"]) == (True, 1)
        mark = await bob.wait_event("read")
        assert (mark["user_id"], mark["seq"], mark["session_id"]) == ("alice", 3, session)
        assert await unread(either, "alice", session) == 1
        # A mark never goes back, nor past what there is.
        assert (await alice.call("read", seq=1))["unread_count"] == 1
        assert (await alice.call("read", seq=10**9))["unread_count"] == 0
        async with enter("websocket", either, "bob", session) as late:
            assert late.joined["read_marks"]["alice"] == 6


async def unread(either: Server, sub: str, session: str) -> int:
    async with either.api(sub) as api:
        listed = (await api.get("/api/chat/sessions?limit=100")).json()["sessions"]
    count: int = next(entry["unread_count"] for entry in listed if entry["session_id"] == session)
    return count


@every_door
async def test_history_by_sequence_time_and_revision(either: Server, kind: str) -> None:
    session = await new_session(either)
    async with enter(kind, either, "alice", session) as alice:
        sent = [await alice.message(f"message {n}") for n in range(1, 11)]
        await alice.call("edit", message_id=sent[2]["message_id"], content="three")

        async def page(**query: Any) -> dict[str, Any]:
            reply = await alice.call("history", **query)
            assert reply["ok"], reply
            return reply

        def seqs(reply: dict[str, Any]) -> list[int]:
            return [m["seq"] for m in reply["messages"]]

        newest = await page(limit=3)
        assert sorted(seqs(newest)) == [8, 9, 10]
        assert newest["has_more"] is True
        assert (newest["total"], newest["last_seq"], newest["last_revision"]) == (10, 10, 11)
        assert sorted(seqs(await page(limit=3, before_seq=8))) == [5, 6, 7]
        assert seqs(await page(limit=3, after_seq=5, order="asc")) == [6, 7, 8]
        assert seqs(await page(limit=500, order="asc")) == list(range(1, 11))
        assert seqs(await page(limit=500, order="desc")) == list(range(10, 0, -1))
        assert (await page(limit=500))["has_more"] is False
        changed = await page(after_revision=8)
        assert {(m["seq"], m["revision"]) for m in changed["messages"]} == {(9, 9), (10, 10), (3, 11)}

        seventh = sent[6]["created_at"]
        earlier = seqs(await page(before=seventh, order="asc"))
        later = seqs(await page(after=seventh, order="asc"))
        assert 7 not in earlier
        assert earlier == list(range(1, len(earlier) + 1))
        assert 7 not in later
        assert later == list(range(11 - len(later), 11))
        assert code(await alice.call("history", before="yesterday")) == "VALIDATION_ERROR"


@every_door
async def test_a_page_stops_at_256_kib(either: Server, kind: str) -> None:
    session = await new_session(either)
    big = "x" * 50_000
    async with enter(kind, either, "alice", session) as alice:
        for _ in range(8):
            await alice.message(big)
        reply = await alice.call("history", limit=500, order="asc")
        assert reply["has_more"] is True
        assert 1 <= len(reply["messages"]) <= 5
        rest = await alice.call("history", limit=500, order="asc", after_seq=reply["messages"][-1]["seq"])
        assert rest["messages"][0]["seq"] == reply["messages"][-1]["seq"] + 1


@live_door
async def test_joining_again_brings_all_that_changed(either: Server, kind: str) -> None:
    session = await new_session(either, members=("bob",))
    async with enter("socketio", either, "alice", session) as alice:
        first = await alice.message("one")
        await alice.message("two")
        async with enter(kind, either, "bob", session) as bob:
            assert bob.joined["session"]["session_id"] == session
            assert [m["content"] for m in bob.joined["messages"]] == ["one", "two"]
            assert (bob.joined["last_seq"], bob.joined["last_revision"]) == (2, 2)
            assert bob.joined["has_more"] is False
            assert "position" in bob.joined
            assert bob.joined["streams"] == []
            assert {entry["user_id"] for entry in bob.joined["online"]} == {"alice", "bob"}
        await alice.call("edit", message_id=first["message_id"], content="ONE")
        await alice.message("three")
        async with enter(kind, either, "bob", session, after_revision=2) as bob:
            missed = {(m["seq"], m["content"]) for m in bob.joined["messages"]}
            assert missed == {(1, "ONE"), (3, "three")}


@live_door
async def test_two_hundred_without_waiting_keep_their_order(either: Server, kind: str) -> None:
    session = await new_session(either)
    async with (
        enter(kind, either, "alice", session) as alice,
        enter("rest", either, "alice", session) as other,
    ):
        before = await commits(either)
        if kind == "polling":  # its requests are answered one by one
            acks = await asyncio.gather(*[await _start(alice, n) for n in range(200)])
        else:
            either.pause()  # all of them wait for the server, however slow the client is
            try:
                started = [await _start(alice, n) for n in range(200)]
            finally:
                either.resume()
            acks = await asyncio.gather(*started)
            # In order, but not one by one: what waits is committed together.
            assert await commits(either) - before < 40
        assert [ack["seq"] for ack in acks] == list(range(1, 201))
        await other.wait_event("message", lambda m: m["seq"] == 200)
        assert [m["content"] for m in other.named("message")] == [str(n) for n in range(200)]
        assert [m["content"] for m in await alice.history(order="asc")] == [str(n) for n in range(200)]


@live_door
async def test_each_of_two_who_write_at_once_gets_its_own_acks(either: Server, kind: str) -> None:
    session = await new_session(either, members=("bob",))
    async with enter(kind, either, "alice", session) as alice, enter(kind, either, "bob", session) as bob:

        async def write(door: Door, first: int) -> None:
            for n in range(first, first + 20):
                ack = await door.message(str(n))
                mine[ack["message_id"]] = str(n)

        mine: dict[str, str] = {}
        await asyncio.gather(write(alice, 0), write(bob, 100))
        assert mine == {m["message_id"]: m["content"] for m in await alice.history(limit=100)}


async def commits(either: Server) -> float:
    """How many group commits the server has made."""
    async with either.api(None) as api:
        for line in (await api.get("/metrics")).text.splitlines():
            if line.startswith("parley_commit_seconds_count"):
                return float(line.split()[-1])
    return 0.0


async def _start(door: Door, n: int) -> Any:
    """Send a message; the future of its ack."""
    if door.kind == "websocket":
        return door.client.send_nowait("message", content=str(n))
    payload = f'["message",{{"session_id":"{door.session_id}","content":"{n}"}}]'
    return await door.client.start_raw(payload)
