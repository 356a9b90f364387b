"""What is unread in long sessions: counted by blocks, the same as one by one."""

import asyncio
import random
from collections.abc import Iterable

import pytest
from msgspec import structs

from bench.turns.world import store_rows
from storage.database import Database
from storage.ops import DeleteMessage, EditMessage, Op
from storage.records import MessageRecord
from storage.tables import messages, sessions
from storage.tallies import COARSE, EACH, FINE, Tallies
from tests.storage.conftest import Store

#: A coarse block, some fine ones, and a part of one.
MANY = COARSE + 3 * FINE + 100
SENDERS = ("user", "alice"), ("user", "bob"), ("agent", "1")
USERS = ("alice", "bob", "agent:1", "reader")


class Model:
    """Who sent what is there, by number."""

    def __init__(self) -> None:
        self.live: dict[int, tuple[str, str]] = {}

    def unread(self, user: str, mark: int) -> int:
        own = ("agent", "1") if user == "agent:1" else ("user", user)
        return sum(seq > mark and sender != own for seq, sender in self.live.items())


async def loaded(store: Store, count: int) -> Model:
    """A session with so many messages, as an import leaves it."""
    began = await store.session()
    model = Model()
    said = (await store.say("first", sender_id="bob")).record
    model.live[1] = ("user", "bob")
    rows: list[MessageRecord] = []
    for seq in range(2, count + 1):
        sender_type, sender_id = model.live[seq] = SENDERS[seq * 7 % 11 % 3]
        rows.append(
            structs.replace(
                said,
                message_id=f"old{seq}",
                seq=seq,
                revision=seq,
                sender_type=sender_type,
                sender_id=sender_id,
            )
        )
    async with store.db.transaction(limit=60) as connection:
        await store_rows(connection, messages, MessageRecord, rows)
        await connection.command(
            f"UPDATE {sessions.name} SET last_seq = {count}, last_revision = {count} "
            f"WHERE session_id = '{began.session_id}'"
        )
    return model


async def filled(tallies: Tallies, session_id: str = "s") -> int:
    """In how many steps."""
    steps = 1
    while await tallies.fill(session_id):
        steps += 1
    return steps


async def counts(store: Store, user: str, marks: Iterable[int]) -> list[int]:
    return [await store.participants.unread("s", user, mark) for mark in marks]


async def test_counts_equal_a_recount_whatever_is_done(store: Store, other_store: Store) -> None:
    """Sends, edits, other versions, deletions and erasures by two nodes, while a third counts blocks."""
    chance = random.Random(20261130)
    model = await loaded(store, MANY)
    edges = [0, 1, FINE - 1, FINE, FINE + 1, COARSE - 1, COARSE, COARSE + 1, MANY - FINE, MANY]

    async def check() -> None:
        marks = [*edges, *(chance.randrange(MANY) for _ in range(5))]
        for user in USERS:
            assert await counts(store, user, marks) == [model.unread(user, mark) for mark in marks], user

    await check()  # nothing is counted yet
    assert (await filled(Tallies(store.db)), await filled(Tallies(store.db))) == (2, 1)
    await check()
    for _ in range(2):
        ops: list[Op] = []
        for seq in chance.sample(sorted(model.live), 60):
            message_id = f"old{seq}"
            kind = chance.choice(("delete", "erase", "edit"))
            if seq > MANY or seq == 1:
                continue
            if kind == "edit":
                sender_type, sender_id = model.live[seq]
                ops.append(EditMessage("s", message_id, "otherwise", sender_type, sender_id))
            else:
                ops.append(DeleteMessage("s", message_id, erase=kind == "erase"))
                del model.live[seq]
        ops += [store.new(sender_id="alice") for _ in range(FINE // 2)]
        ops.append(store.new("a version", sender_id="bob", beside="m1"))
        halves = ops[::2], ops[1::2]
        nodes = store, other_store
        done = await asyncio.gather(
            *(node.writer.submit(op) for node, half in zip(nodes, halves, strict=True) for op in half),
            filled(Tallies(store.db)),
            filled(Tallies(other_store.db)),
        )
        for each in done[:-2]:
            if each.record.seq > MANY:
                model.live[each.record.seq] = (each.record.sender_type, each.record.sender_id)
        await check()
    await filled(Tallies(store.db))
    await check()


async def test_a_list_says_the_same(store: Store) -> None:
    model = await loaded(store, 4 * FINE)
    await store.session("short")
    await store.say(session_id="short", sender_id="bob")
    tallies = Tallies(store.db)
    for mark in (0, FINE + 3, 3 * FINE):
        await store.participants.mark_read("s", "alice", mark)
        rows, _, _ = await store.sessions.list_for(
            "alice", status=None, agent_id=None, limit=9, offset=0, now=store.clock.now
        )
        found = {row.session.session_id: row.unread_count for row in rows}
        assert found == {"s": model.unread("alice", mark), "short": 1}
        await filled(tallies)


async def test_who_meets_uncounted_blocks_has_them_counted(store: Store, db: Database) -> None:
    model = await loaded(store, 3 * FINE)
    tallies = Tallies(db)
    async with db.connection() as connection:
        for _ in range(2):
            assert await tallies.unread(connection, "bob", [("s", 0)]) == [model.unread("bob", 0)]
    assert list(tallies.waiting) == ["s"]
    await filled(tallies)
    tallies.waiting.clear()
    async with db.connection() as connection:
        await tallies.unread(connection, "bob", [("s", 0)])
    assert not tallies.waiting


async def test_a_count_looks_at_few_rows(store: Store) -> None:
    """However long the session is: at the messages of two blocks, and at each block once."""
    await loaded(store, MANY)
    await filled(Tallies(store.db))
    async with store.db.transaction() as connection:
        # Had it looked at them, these would count.
        low, high = FINE, COARSE
        await connection.command(f"DELETE FROM chat_messages WHERE seq > {low} AND seq <= {high}")
    model = await counts(store, "reader", [1])
    assert model == [MANY - 1]


@pytest.mark.parametrize("blocks", [1, EACH])
async def test_tallies_go_with_their_session(store: Store, blocks: int) -> None:
    await loaded(store, blocks * FINE)
    await filled(Tallies(store.db))
    async with store.db.connection() as connection:
        question = "SELECT count(*), sum(live) FROM chat_tallies WHERE sender = ''"
        for live in (blocks * FINE * (2 if blocks == EACH else 1), None):
            if store.db.dialect == "postgresql":
                row = tuple(await connection.raw.fetchrow(question))
            else:
                row = tuple((await connection.raw.execute_fetchall(question))[0])
            assert row[1] == live
            await store.sessions.purge(["s"])
