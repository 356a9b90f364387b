"""Lists of sessions by their newest activity: page after page, the same as all of them in order."""

import random
from datetime import datetime, timedelta
from typing import Any

import pytest

from storage import listing, recency
from storage.listed import Listed
from storage.listing import _filters
from storage.recency import LOOKS, PageEnd, _asking
from tests.storage.conftest import StillClock, Store

MANY = 40


async def pages(store: Store, caller: str, limit: int, **given: Any) -> list[str]:
    """All names, by cursors."""
    found: list[str] = []
    behind: PageEnd | None = None
    options = {"status": None, "agent_id": None, "now": store.clock.now} | given
    while True:
        rows, total, end = await store.sessions.list_for(caller, limit=limit, behind=behind, **options)
        found += [row.session.session_id for row in rows]
        assert (total is None) == (behind is not None)
        if end is None:
            return found
        assert len(rows) == limit
        behind = end


class Lists:
    """What each caller's list is to say."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.active: dict[str, datetime] = {}
        self.whose: dict[str, set[str]] = {}

    async def begin(self, name: str, owner: str, **given: Any) -> None:
        self.active[name] = given.setdefault("last_activity", self.store.clock.now)
        self.whose.setdefault(owner, set()).add(name)
        await self.store.session(name, user_id=owner, ttl_hours=10_000.0, **given)

    async def check(self) -> None:
        for caller, names in self.whose.items():
            wanted = sorted(sorted(names), key=lambda name: self.active[name], reverse=True)
            for limit in (7, 100):
                assert await pages(self.store, caller, limit) == wanted
        wanted = sorted(sorted(self.active), key=lambda name: self.active[name], reverse=True)
        assert await pages(self.store, "service:x", 9, everything=True) == wanted


async def test_pages_by_cursor_are_the_whole_list_in_order(store: Store, clock: StillClock) -> None:
    """Own and others' sessions, written to in any order, of all ages, listed or not yet; and times that
    several share."""
    chance = random.Random(7)
    lists, listed = Lists(store), Listed(store.db)
    begun = clock.now
    for number in range(MANY):
        clock.now = begun + timedelta(minutes=3 * chance.randrange(MANY))
        owner = chance.choice(("alice", "bob"))
        await lists.begin(f"s{number:02}", owner)
        other = "bob" if owner == "alice" else "alice"
        if chance.random() < 0.5:
            await store.participants.put(f"s{number:02}", other, "member", clock.now)
            lists.whose.setdefault(other, set()).add(f"s{number:02}")
        # A mark of one's own, as an owner has it.
        await store.participants.mark_read(f"s{number:02}", owner, 0)
    clock.now = begun + timedelta(minutes=3 * MANY)
    await lists.check()
    while await listed.fill():
        pass
    await lists.check()
    for _ in range(3):
        for name in chance.sample(sorted(lists.active), 12):
            clock.advance(minutes=chance.choice((0, 1, 4, 11)))
            await store.say(session_id=name)
            lists.active[name] = clock.now
        await store.participants.put("s01", "carol", "viewer", clock.now)
        lists.whose["carol"] = {"s01"}
        await lists.check()
        await listed.fill()
    await store.participants.remove("s01", "carol", clock.now)
    lists.whose["carol"] = set()
    await lists.check()


async def test_a_removed_and_an_erased_session_are_in_no_list_and_no_count(
    store: Store, clock: StillClock
) -> None:
    lists = Lists(store)
    for number in range(5):
        await lists.begin(f"s{number}", "alice")
        await store.participants.put(f"s{number}", "bob", "member", clock.now)
    await store.sessions.update("s1", status="deleted", now=clock.now)
    await store.participants.remove("s2", "bob", clock.now)
    for caller, count in {"alice": 4, "bob": 3}.items():
        rows, total, end = await store.sessions.list_for(
            caller, status=None, agent_id=None, limit=2, now=clock.now
        )
        assert (len(rows), total, end is not None) == (2, count, True)


async def test_a_page_reads_its_indexes_alone(store: Store) -> None:
    """Also when PostgreSQL plans for any caller, and thinks that all sessions are the caller's."""
    asked = _asking("mine", _filters(None, False), True, LOOKS[0])
    compiled = asked.on(store.db.dialect)
    names = ("caller", "after_id", "after_activity")
    async with store.db.connection() as connection:
        if store.db.dialect == "postgresql":
            await connection.command(f"PREPARE page AS {compiled.sql}")
            await connection.command("SET plan_cache_mode = force_generic_plan")
            await connection.command("SET enable_seqscan = off")
            given = ", ".join(["NULL"] * len(compiled.arguments(dict.fromkeys(names, None))))
            plan = await connection.raw.fetch(f"EXPLAIN EXECUTE page ({given})")
            steps = [row[0] for row in plan]
        else:
            values = compiled.arguments(dict.fromkeys(names, None))
            plan = await connection.raw.execute_fetchall(f"EXPLAIN QUERY PLAN {compiled.sql}", values)
            steps = [row[3] for row in plan]
    assert not [step for step in steps if "SCAN chat" in step or "Seq Scan on chat" in step], steps
    for index in ("chat_sessions_user_id_listed_at_idx", "chat_participants_shared_idx"):
        assert [step for step in steps if index in step], (index, steps)


async def test_many_that_are_active_at_once_are_all_looked_at(
    store: Store, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a look takes, within the ten minutes."""
    monkeypatch.setattr(recency, "LOOKS", (3, 6, 2**31 - 1))
    monkeypatch.setattr(recency, "SHORT", 100)
    lists = Lists(store)
    begun = clock.now
    for number in range(25):
        clock.now = begun + timedelta(seconds=number * 7 % 25)
        await lists.begin(f"s{number:02}", "alice" if number % 3 else "bob")
        if number % 3 == 0:
            await store.participants.put(f"s{number:02}", "alice", "member", clock.now)
            lists.whose.setdefault("alice", set()).add(f"s{number:02}")
    clock.now = begun + timedelta(minutes=1)
    await Listed(store.db).fill()
    await lists.check()


async def test_what_is_not_listed_yet_is_not_read_whole(store: Store, clock: StillClock) -> None:
    """After an upgrade nothing is."""
    lists = Lists(store)
    for number in range(30):
        clock.advance(minutes=1)
        await lists.begin(f"s{number:02}", "alice")
    async with store.db.connection() as connection:
        statement = _asking("mine", _filters(None, False), False, 8)
        rows = await connection.fetch_all(statement, caller="alice", now=clock.now)
    assert len(rows) == 8
    await lists.check()


async def test_a_session_that_goes_while_a_page_is_read_ends_no_list(
    store: Store, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = Lists(store)
    for number in range(9):
        clock.advance(minutes=1)
        await lists.begin(f"s{number}", "alice")
    chosen = listing.newest

    async def newest(*given: Any) -> list[PageEnd]:
        found = await chosen(*given)
        await store.sessions.update("s5", status="archived", now=clock.now)
        return found

    monkeypatch.setattr(listing, "newest", newest)
    options: dict[str, Any] = {"status": "active", "agent_id": None, "now": clock.now, "limit": 4}
    rows, total, end = await store.sessions.list_for("alice", **options)
    assert [row.session.session_id for row in rows] == ["s8", "s7", "s6"]
    assert total == 8
    rows, _, end = await store.sessions.list_for("alice", **options, behind=end)
    assert [row.session.session_id for row in rows] == ["s4", "s3", "s2", "s1"]
    rows, _, end = await store.sessions.list_for("alice", **options, behind=end)
    assert ([row.session.session_id for row in rows], end) == (["s0"], None)
