"""What a join is told, in one reading: the same as everything read by itself."""

import sqlalchemy as sa

from storage.batched_select import BatchedSelect
from storage.database import Database
from storage.messages import OPEN_IN
from storage.ops import EditMessage, EndStream
from storage.snapshot import SessionSnapshot, SnapshotReader
from storage.statement import Statement
from storage.tables import sessions
from tests.storage.conftest import StillClock, Store

PAGE = 256 * 1024


async def snapshot(
    store: Store, session_id: str = "s", after: int | None = None, limit: int = 50, max_bytes: int = PAGE
) -> SessionSnapshot:
    found = await SnapshotReader(store.db).read(session_id, after, limit, max_bytes)
    assert found is not None
    return found


async def test_everything_as_read_by_itself(store: Store, clock: StillClock) -> None:
    await store.session(
        agent_id=1,
        title='Ünïcode \U0001f600 "\\',
        metadata={"a": {"b": [1, 2.5, None, True]}},
        ttl_hours=0.5,
        created_via="rest",
    )
    await store.session("t")
    people = store.participants
    for user, role in (("bob", "member"), ("carol", "viewer"), ("dave", "member")):
        await people.put("s", user, role, clock.advance(seconds=1))
    await people.put("t", "erin", "member", clock.now)
    await people.remove("s", "carol", clock.now)
    await store.say('one\n"\x01\u2028', metadata={"k": "ü"}, client_message_id="c1")
    await store.say("in the other", "t")
    for name in ("a", "b", "c"):
        await store.say("", message_id=name, message_type="stream", status="streaming")
    await store.writer.submit(EditMessage("s", "m1", "edited", "user", "alice"))
    await store.writer.submit(EndStream("s", "b", "failed", "so far", error={"code": "X", "message": "y"}))
    await people.mark_read("s", "bob", 2)
    await people.mark_read("s", "carol", 1)
    await people.mark_read("s", "visitor", 3)

    found = await snapshot(store)
    assert found.session == await store.sessions.get("s")
    assert type(found.session.ttl_hours) is float
    assert found.agent == await store.agents.get(1)
    assert found.standings == {"bob": "member", "carol": "removed", "dave": "member"}
    assert found.read_marks == {"bob": 2, "visitor": 3}
    assert (found.messages, found.has_more) == await store.messages.page("s", limit=50, max_bytes=PAGE)
    assert [m.seq for m in found.messages] == [1, 2, 3, 4]
    assert found.open_streams == await store.messages.open_streams("s")
    assert [m.message_id for m in found.open_streams] == ["a", "c"]
    assert (await snapshot(store, "t")).open_streams == []


async def test_bare_and_missing(store: Store) -> None:
    record = await store.session()
    await store.session("gone", status="deleted")
    assert await snapshot(store) == SessionSnapshot(record, None, {}, {}, [], False, [], [], {}, [])
    for session_id in ("gone", "missing"):
        assert await SnapshotReader(store.db).read(session_id, None, 50, PAGE) is None


async def test_its_page(store: Store) -> None:
    await store.session()
    for n in range(12):
        await store.say(f"{n} " + "x" * 1000)
    await store.writer.submit(EditMessage("s", "m2", "edited", "user", "alice"))

    async def page(*given: int | None) -> tuple[list[int], bool]:
        found = await snapshot(store, "s", *given)
        return [m.revision for m in found.messages], found.has_more

    assert await page(None, 3) == ([10, 11, 12], True)
    assert await page(None, 12) == ([1, 13, *range(3, 13)], False)
    assert await page(None, 12, 4000) == ([11, 12], True)
    assert await page(None, 12, 1) == ([12], True), "at least one"
    assert await page(9, 50) == ([10, 11, 12, 13], False)
    assert await page(9, 2) == ([10, 11], True)
    assert await page(13, 50) == ([], False)
    assert await page(10**30, 50) == ([], False)


async def test_rows_keep_their_order(store: Store) -> None:
    for n in (3, 1, 2):
        await store.session(f"s{n}", user_id="odd" if n % 2 else "even")
    ids = sa.select(sessions.c.session_id).where(sessions.c.user_id == sa.bindparam("user"))
    both = BatchedSelect(
        ids.order_by(sessions.c.session_id.desc()), ids.order_by(sessions.c.session_id), each="user"
    )
    assert await both.fetch(store.db, ["even", "nobody", "odd"]) == {
        "even": [[["s2"]], [["s2"]]],
        "nobody": [[], []],
        "odd": [[["s3"], ["s1"]], [["s1"], ["s3"]]],
    }


async def test_many_as_each_by_itself(store: Store, clock: StillClock) -> None:
    names = [f"s{n}" for n in range(5)]
    for n, name in enumerate(names):
        await store.session(name, agent_id=1 if n % 2 else None)
        await store.participants.put(name, f"user{n}", "member", clock.now)
        for i in range(n):
            await store.say(f"{n}.{i}", name)
        await store.say("", name, message_id=f"open{n}", message_type="stream", status="streaming")
    await store.session("gone", status="deleted")
    reader = SnapshotReader(store.db)
    for after, limit, size in ((None, 50, PAGE), (None, 2, PAGE), (1, 2, PAGE), (None, 50, 600)):
        found = await reader.read_all([*names, "gone", "missing"], after, limit, size)
        assert found == {name: await reader.read(name, after, limit, size) for name in names}
    assert [len(found[name].messages) for name in names] == [1, 1, 1, 1, 1]


async def test_open_streams_have_an_index(db: Database) -> None:
    if db.dialect == "postgresql":
        return  # chooses by what is in the table
    compiled = Statement(OPEN_IN).on("sqlite")
    many = BatchedSelect(OPEN_IN, each="session_id").statement.on("sqlite")
    async with db.connection() as connection:
        for sql, arguments in (
            (compiled.sql, compiled.arguments({"session_id": "s"})),
            (many.sql, many.arguments({"session_id": ["s"]})),
        ):
            plan = await connection.raw.execute_fetchall(f"EXPLAIN QUERY PLAN {sql}", arguments)
            assert "chat_messages_streaming_idx" in str([tuple(row) for row in plan])
