"""Transactions that stand in each other's way: a stricter default isolation, deadlocks."""

import asyncio

import asyncpg  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa

from migrations.run import downgrade, upgrade
from storage.database import Database, SqlConnection
from storage.errors import RolledBack
from storage.repeating import PAUSES
from storage.statement import Statement
from tests.storage.conftest import StillClock, Store
from tests.support.services import Postgres

LEVEL = Statement(
    sa.text("SELECT current_setting('transaction_isolation')").columns(sa.column("level", sa.Text))
)
STRICT = ("serializable", "repeatable read")


async def nodes(url: str, clock: StillClock, count: int = 2) -> list[Store]:
    made = []
    for _ in range(count):
        db = Database(url)
        await db.connect()
        made.append(Store(db, clock))
    return made


@pytest.mark.parametrize("level", STRICT)
async def test_a_strict_default_refuses_nobody(
    postgres: Postgres, postgres_url: str, clock: StillClock, level: str
) -> None:
    name = postgres_url.rpartition("/")[2]
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_isolation TO '{level}'")
    one, other = await nodes(postgres_url, clock)
    await one.session()
    await one.participants.put("s", "bob", "member", clock.now)

    async def all_at_once(store: Store, sender: str) -> None:
        for n in range(40):
            key = f"{sender}-{n}"
            said = await store.say(f"m{key}", sender_id=sender, client_message_id=key, message_id=f"id-{key}")
            await asyncio.gather(
                store.participants.mark_read("s", "bob", said.record.seq),
                store.sessions.touch({"s": (1, clock.now)}),
                store.participants.put("s", f"user-{n}", "member", clock.now),
                store.sessions.update("s", title=key, now=clock.now),
            )

    await asyncio.gather(*(all_at_once(s, f"{i}-{j}") for i, s in enumerate((one, other)) for j in range(3)))
    stored, _ = await one.messages.page("s", order="asc", limit=1000, max_bytes=1 << 24)
    assert [record.seq for record in stored] == list(range(1, 241))
    for store in (one, other):
        assert [tuple(row) for row in await store.db.fetch_all(LEVEL)] == [("read committed",)]
        await store.close()


def test_migrations_under_a_strict_default(postgres: Postgres) -> None:
    name = postgres.create_database()
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_isolation TO 'serializable'")
    upgrade(postgres.url(name))
    downgrade(postgres.url(name))
    postgres.drop_database(name)


async def test_a_deadlock_is_repeated(postgres_url: str, clock: StillClock) -> None:
    """Somebody locks the writer's sessions in another order: the server ends the writer's transaction, which
    looks for deadlocks after a second, and never the other, which waits for ten before it looks."""
    (store,) = await nodes(postgres_url, clock, 1)
    await store.session("a")
    await store.session("b")
    other = await asyncpg.connect(postgres_url)
    await other.execute("SET deadlock_timeout = '10s'")
    await other.execute("SET lock_timeout = '10s'")
    lock = "SELECT 1 FROM chat_sessions WHERE session_id = $1 FOR UPDATE"
    async with other.transaction():
        await other.fetch(lock, "b")
        # Both in one lane's transaction: it has "a", and waits for "b".
        erased = asyncio.ensure_future(store.sessions.purge(["a", "b"]))
        async with asyncio.timeout(10):
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            while not await other.fetchval(waiting):
                await asyncio.sleep(0.01)
        assert await other.fetch(lock, "a"), "the writer's transaction gave way"
    await asyncio.wait_for(erased, 10)
    assert await store.sessions.get("a") is None
    assert await store.sessions.get("b") is None
    await other.close()
    await store.close()


async def test_repeating_has_an_end(postgres_url: str, clock: StillClock) -> None:
    (store,) = await nodes(postgres_url, clock, 1)
    tries = 0

    async def never(connection: SqlConnection) -> None:
        nonlocal tries
        tries += 1
        await connection.raw.execute("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$")

    with pytest.raises(RolledBack):
        await store.db.transact(never)
    assert tries == len(PAUSES) + 1
    await store.close()
