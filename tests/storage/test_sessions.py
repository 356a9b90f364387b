"""Sessions: their life, their lists, and who takes part."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from storage.database import Database
from storage.errors import AlreadyExists, SessionMissing, StorageError
from storage.ops import DeleteMessage
from storage.participants import Participants
from storage.records import SessionState
from storage.sessions import _GET_FOR
from storage.snapshot import SnapshotReader
from tests.storage.conftest import StillClock, Store, file_parts


async def test_a_session_is_stored_as_given(store: Store) -> None:
    record = await store.session(
        agent_id=1,
        title="Ünïcode \U0001f600",
        metadata={"a": {"b": [1, 2.5, None, True]}},
        created_via="rest",
        ip_address="::1",
        user_agent="x" * 500,
    )
    assert await store.sessions.get("s") == record
    assert await store.sessions.get("other") is None


async def test_ids_are_taken_once(store: Store) -> None:
    await store.session()
    with pytest.raises(AlreadyExists):
        await store.session(trace_id="another")
    with pytest.raises(AlreadyExists):
        await store.session("t", trace_id="trace-s")
    with pytest.raises(StorageError):
        await store.session("t", agent_id=99)


async def test_update_changes_what_is_given(store: Store, clock: StillClock) -> None:
    begun = await store.session(title="old", metadata={"a": 1})
    now = clock.advance(hours=1)
    changed = await store.sessions.update("s", title="new", now=now)
    assert changed is not None
    assert (changed.title, changed.metadata, changed.updated_at) == ("new", {"a": 1}, now)
    changed = await store.sessions.update("s", metadata={}, now=now)
    assert changed is not None
    assert (changed.title, changed.metadata) == ("new", {})
    archived = await store.sessions.update("s", status="archived", ended_at=now, now=now)
    assert archived is not None
    assert (archived.status, archived.ended_at) == ("archived", now)
    restored = await store.sessions.update("s", status="active", now=now)
    assert restored is not None
    assert (restored.status, restored.ended_at) == ("active", None)
    assert restored.expires_at == begun.expires_at
    assert await store.sessions.update("other", title="x", now=now) is None
    assert await store.sessions.get("s") == restored


async def test_deleted_sessions_are_not_there(store: Store, clock: StillClock) -> None:
    await store.session()
    await store.sessions.update("s", status="deleted", ended_at=clock.now, now=clock.now)
    assert await store.sessions.get("s") is None
    assert await store.sessions.update("s", title="x", now=clock.now) is None
    assert await store.sessions.purgeable(clock.now - timedelta(days=9), 10) == ["s"]


async def test_touching_many_at_once(store: Store, clock: StillClock) -> None:
    for name, given in {
        "live": {},
        "archived": {"status": "archived"},
        "expired": {"expires_at": clock.now + timedelta(minutes=1)},
        "ended": {"ended_at": clock.now},
    }.items():
        await store.session(name, **given)
    before = {name: await store.sessions.get(name) for name in ("archived", "expired", "ended")}
    at = clock.advance(hours=2)
    await store.sessions.touch(
        {name: (3, at) for name in ("live", "archived", "expired", "ended", "missing")}
    )
    live = await store.sessions.get("live")
    assert live is not None
    assert (live.request_count, live.last_activity) == (3, at)
    assert live.expires_at == at + timedelta(hours=24)
    for name, was in before.items():
        now = await store.sessions.get(name)
        assert now is not None
        assert was is not None
        assert (now.request_count, now.last_activity, now.expires_at) == (
            3,
            was.last_activity,
            was.expires_at,
        )
    await store.sessions.touch({"live": (1, at - timedelta(hours=1))})
    again = await store.sessions.get("live")
    assert again is not None
    assert (again.request_count, again.last_activity, again.expires_at) == (4, at, live.expires_at)
    await store.sessions.touch({})


async def test_a_touch_from_before_the_end_counts(store: Store, clock: StillClock) -> None:
    """Written up to a minute late: what counts is when the command came."""
    await store.session(ttl_hours=1)
    at = clock.advance(minutes=59)
    clock.advance(minutes=2)
    await store.sessions.touch({"s": (1, at)})
    session = await store.sessions.get("s")
    assert session is not None
    assert session.expires_at == at + timedelta(hours=1)


async def test_ending_what_expired(store: Store, clock: StillClock) -> None:
    for n in range(5):
        await store.session(f"s{n}", ttl_hours=n + 1)
    await store.session("archived", status="archived", ttl_hours=1)
    assert await store.sessions.count_active(clock.now) == 5
    now = clock.advance(hours=3)
    assert await store.sessions.count_active(now) == 2
    first = await store.sessions.end_expired(now, 2)
    rest = await store.sessions.end_expired(now, 2)
    assert sorted(first + rest) == ["s0", "s1", "s2"]
    assert await store.sessions.end_expired(now, 2) == []
    ended = await store.sessions.get("s0")
    assert ended is not None
    assert (ended.status, ended.ended_at) == ("active", now)
    back = await store.sessions.extend("s0", 5, now)
    assert back is not None
    assert (back.ended_at, back.expires_at) == (None, now + timedelta(hours=5))
    assert await store.sessions.extend("archived", 5, now) is None
    assert await store.sessions.extend("missing", None, now) is None
    own = await store.sessions.extend("s1", None, now)
    assert own is not None
    assert own.expires_at == now + timedelta(hours=2)


async def test_purging(store: Store, clock: StillClock) -> None:
    for name in ("old", "archived", "kept"):
        await store.session(name, ttl_hours=1 if name == "old" else 24 * 30)
    await store.sessions.update("archived", status="archived", ended_at=clock.now, now=clock.now)
    for name in ("old", "kept"):
        await store.say(session_id=name)
        await store.files.add(store.file(f"f-{name}", name))
        await store.participants.put(name, "bob", "member", clock.now)
    await store.say(session_id="old", message_type="file", parts=file_parts("f-old"))
    now = clock.advance(days=3)
    assert sorted(await store.sessions.purgeable(now - timedelta(days=1), 10)) == ["archived", "old"]
    removed = await store.sessions.purge(["old", "archived"])
    assert [f.file_id for f in removed] == ["f-old"]
    assert await store.sessions.get("old") is None
    assert await store.messages.page("old", limit=10, max_bytes=1 << 20) == ([], False)
    assert await store.files.get("f-old") is None
    assert await store.participants.get("old", "bob") is None
    assert await store.sessions.get("kept") is not None
    assert await store.files.get("f-kept") is not None


async def test_what_a_node_asks_of_its_rooms(store: Store, clock: StillClock) -> None:
    first = await store.session()
    await store.session("t", status="archived")
    await store.say()
    since = clock.advance(seconds=1)
    await store.participants.remove("s", "bob", clock.advance(seconds=1))
    states, removed = await store.sessions.poll(["s", "t", "missing"], since)
    assert states["s"] == SessionState(1, "active", first.expires_at)
    assert states["t"].status == "archived"
    assert "missing" not in states
    assert removed == [("s", "bob")]
    assert (await store.sessions.poll(["s"], clock.advance(seconds=1)))[1] == []
    assert await store.sessions.poll([], since) == ({}, [])


async def names(store: Store, caller: str = "alice", **given: Any) -> list[str]:
    options: dict[str, Any] = {"status": None, "agent_id": None, "limit": 50, "offset": 0}
    rows, total, _ = await store.sessions.list_for(caller, now=store.clock.now, **(options | given))
    assert total >= len(rows)
    return [row.session.session_id for row in rows]


async def test_whose_sessions_are_listed(store: Store, clock: StillClock) -> None:
    for n, (name, given) in enumerate(
        {
            "mine": {},
            "mine-too": {"agent_id": 1},
            "theirs": {"user_id": "bob"},
            "joined": {"user_id": "bob"},
            "left": {"user_id": "bob", "agent_id": 1},
            "gone": {"status": "deleted"},
        }.items()
    ):
        await store.session(name, **({"last_activity": clock.now + timedelta(seconds=n)} | given))
    await store.participants.put("joined", "alice", "viewer", clock.now)
    await store.participants.put("left", "alice", "member", clock.now)
    await store.participants.remove("left", "alice", clock.now)
    await store.participants.mark_read("theirs", "alice", 0)
    assert await names(store) == ["joined", "mine-too", "mine"]
    assert await names(store, "bob") == ["left", "joined", "theirs"]
    assert await names(store, agent_id=1) == ["mine-too"]
    assert await names(store, "agent:1", as_agent=1) == ["left", "mine-too"]
    assert await names(store, "service:x", everything=True) == [
        "left",
        "joined",
        "theirs",
        "mine-too",
        "mine",
    ]
    assert await names(store, session_ids=["theirs", "left", "nowhere"]) == ["theirs"]
    assert await names(store, limit=1, offset=1) == ["mine-too"]
    rows, total, _ = await store.sessions.list_for(
        "alice", status=None, agent_id=None, limit=1, offset=5, now=clock.now
    )
    assert (rows, total) == ([], 3)


async def test_listing_by_status(store: Store, clock: StillClock) -> None:
    await store.session("active")
    await store.session("archived", status="archived")
    await store.session("expired", expires_at=clock.now)
    assert await names(store, status="active") == ["active"]
    assert await names(store, status="archived") == ["archived"]
    assert await names(store, status="expired") == ["expired"]
    assert len(await names(store)) == 3


async def test_a_line_of_the_list(store: Store, clock: StillClock) -> None:
    await store.session(agent_id=1)
    await store.session("empty", last_activity=clock.now - timedelta(hours=1))
    await store.say("from me")
    await store.say("from bob", sender_id="bob")
    clock.advance(seconds=5)
    said = await store.say("from the agent", sender_type="agent", sender_id="alice")
    gone = await store.say("gone", sender_id="bob")
    await store.writer.submit(DeleteMessage("s", gone.record.message_id))
    rows, _, _ = await store.sessions.list_for(
        "alice", status=None, agent_id=None, limit=9, offset=0, now=clock.now
    )
    line, empty = rows
    assert line.agent_name == "Echo"
    assert (line.last_message, line.last_message_at) == ("from the agent", said.record.created_at)
    assert line.unread_count == 2
    assert line.session == await store.sessions.get("s")
    assert (empty.agent_name, empty.last_message, empty.last_message_at) == (None, None, None)
    await store.participants.mark_read("s", "alice", 2)
    rows, _, _ = await store.sessions.list_for(
        "alice", status=None, agent_id=None, limit=1, offset=0, now=clock.now
    )
    assert rows[0].unread_count == 1


async def test_each_line_has_its_own_unread_count(store: Store, clock: StillClock) -> None:
    for n in range(4):
        await store.session(f"s{n}")
        for _ in range(3):
            await store.say(session_id=f"s{n}", sender_id="bob")
        await store.participants.put(f"s{n}", "carol", "member", clock.now)
        await store.participants.mark_read(f"s{n}", "alice", n)
    await store.participants.mark_read("s0", "carol", 2)
    for caller, unread in {"alice": [3, 2, 1, 0], "carol": [1, 3, 3, 3]}.items():
        rows, total, _ = await store.sessions.list_for(
            caller, status=None, agent_id=None, limit=9, offset=0, now=clock.now
        )
        assert [row.unread_count for row in rows] == unread
        assert total == 4


async def test_participants_come_and_go(store: Store, clock: StillClock) -> None:
    await store.session()
    people = store.participants
    await people.put("s", "bob", "viewer", clock.now)
    await people.put("s", "carol", "member", clock.advance(seconds=1))
    await people.put("s", "bob", "member", clock.advance(seconds=1))
    assert [(p.user_id, p.role) for p in await people.list("s")] == [("bob", "member"), ("carol", "member")]
    left = clock.advance(seconds=1)
    await people.remove("s", "bob", left)
    await people.remove("s", "bob", clock.advance(seconds=1))
    bob = await people.get("s", "bob")
    assert bob is not None
    assert bob.removed_at == left
    assert [p.user_id for p in await people.list("s")] == ["carol"]
    back = clock.advance(seconds=1)
    await people.put("s", "bob", "viewer", back)
    bob = await people.get("s", "bob")
    assert bob is not None
    assert (bob.removed_at, bob.joined_at, bob.role) == (None, back, "viewer")
    await people.remove("s", "stranger", clock.now)
    stranger = await people.get("s", "stranger")
    assert stranger is not None
    assert stranger.removed_at == clock.now
    for call in (people.put("x", "bob", "member", clock.now), people.remove("x", "bob", clock.now)):
        with pytest.raises(SessionMissing):
            await call


async def test_everybody_in_several_sessions(store: Store, clock: StillClock) -> None:
    await store.session()
    await store.session("t", user_id="bob")
    await store.participants.put("s", "bob", "member", clock.now)
    await store.participants.put("s", "carol", "member", clock.now)
    await store.participants.remove("s", "carol", clock.now)
    await store.participants.mark_read("t", "visitor", 0)
    assert await store.participants.of_sessions(["s", "t", "missing"]) == {
        "s": {"alice", "bob"},
        "t": {"bob"},
    }


async def test_a_session_with_one_who_asks(store: Store, clock: StillClock) -> None:
    record = await store.session(agent_id=1)
    await store.session("gone", status="deleted")
    await store.participants.put("s", "bob", "member", clock.now)
    await store.participants.put("s", "carol", "viewer", clock.now)
    await store.participants.remove("s", "carol", clock.advance(seconds=1))
    await store.participants.mark_read("s", "visitor", 0)
    for user in ("bob", "carol", "visitor", "nobody"):
        expected = await store.participants.get("s", user)
        assert await store.sessions.get_for("s", user) == (record, expected)
    assert expected is None
    assert await store.sessions.get_for("gone", "bob") == (None, None)
    assert await store.sessions.get_for("missing", "bob") == (None, None)


async def test_who_asks_is_found_by_index(db: Database) -> None:
    if db.dialect == "postgresql":
        return  # chooses by what is in the table
    compiled = _GET_FOR.on("sqlite")
    arguments = compiled.arguments({"ids": ["s"], "user_ids": ["u"]})
    async with db.connection() as connection:
        plan = await connection.raw.execute_fetchall(f"EXPLAIN QUERY PLAN {compiled.sql}", arguments)
    steps = [row[3] for row in plan]
    assert not [step for step in steps if step.startswith("SCAN chat")], steps
    assert any("(session_id=? AND user_id=?)" in step for step in steps), steps


async def test_sessions_with_those_who_ask_at_the_same_time(store: Store, clock: StillClock) -> None:
    for name in ("s", "t"):
        await store.session(name)
    await store.participants.put("s", "bob", "member", clock.now)
    await store.participants.put("t", "bob", "viewer", clock.now)
    await store.participants.put("t", "carol", "member", clock.now)
    asked = [(session, user) for session in ("s", "t", "missing") for user in ("bob", "carol", "dave")]
    found = await asyncio.gather(*[store.sessions.get_for(*pair) for pair in asked + asked])
    for (session, user), answer in zip(asked + asked, found, strict=True):
        record = await store.sessions.get(session)
        assert answer == (record, await store.participants.get(session, user))


async def read_marks(store: Store) -> dict[str, int]:
    snapshot = await SnapshotReader(store.db).read("s", None, 1, 1 << 20)
    assert snapshot is not None
    return snapshot.read_marks


async def mark(people: Participants, session: str, user: str, seq: int) -> tuple[int, int]:
    """What was marked, and how many are unread."""
    read_seq = await people.mark_read(session, user, seq)
    return read_seq, await people.unread(session, user, read_seq)


async def test_read_marks(store: Store, clock: StillClock) -> None:
    await store.session(agent_id=1)
    people = store.participants
    await people.put("s", "bob", "member", clock.now)
    for sender in ("alice", "bob", "bob", "carol"):
        await store.say(sender_id=sender)
    await store.say(sender_type="agent", sender_id="1")
    assert await mark(people, "s", "bob", 1) == (1, 2)
    assert await mark(people, "s", "bob", 4) == (4, 1)
    assert await mark(people, "s", "bob", 2) == (4, 1), "never back"
    assert await mark(people, "s", "bob", 10**30) == (5, 0), "never past the last message"
    assert await mark(people, "s", "alice", 0) == (0, 4)
    assert await mark(people, "s", "agent:1", 1) == (1, 3)
    assert await mark(people, "s", "1", 1) == (1, 4), "user 1 is not agent 1"
    assert await mark(people, "s", "visitor", 3) == (3, 2)
    assert await read_marks(store) == {"bob": 5, "agent:1": 1, "1": 1, "visitor": 3}
    owner = await people.get("s", "alice")
    assert owner is not None
    assert owner.role == "owner"
    assert await people.get("s", "visitor") is None, "a read mark grants nothing"
    assert [p.user_id for p in await people.list("s")] == ["alice", "bob"]
    await people.put("s", "visitor", "member", clock.now)
    assert (await read_marks(store))["visitor"] == 3
    await people.remove("s", "bob", clock.now)
    assert "bob" not in await read_marks(store)
    with pytest.raises(SessionMissing):
        await people.mark_read("missing", "bob", 1)
