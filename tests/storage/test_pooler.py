"""Behind PgBouncer: in session mode as it is, in transaction mode by one setting, and never by accident."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from migrations.run import current, downgrade, upgrade
from storage.database import Database
from storage.errors import StorageError, StorageUnavailable
from storage.failures import translate
from storage.statement import Statement
from tests.storage.conftest import StillClock, Store
from tests.support.server import Server
from tests.support.services import PgBouncer, Postgres

SETTINGS = Statement(
    sa.text(
        "SELECT current_setting('transaction_isolation'), current_setting('jit'),"
        " current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')"
    ).columns(*(sa.column(name, sa.Text) for name in "abcd"))
)
OURS = ("read committed", "off", "2500ms", "15s")


@pytest.fixture(scope="module")
def by_transaction(postgres: Postgres) -> Iterator[PgBouncer]:
    with PgBouncer(postgres, "transaction") as pooler:
        yield pooler


@pytest.fixture(scope="module")
def by_session(postgres: Postgres) -> Iterator[PgBouncer]:
    with PgBouncer(postgres, "session") as pooler:
        yield pooler


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


async def test_transaction_mode_under_load(
    by_transaction: PgBouncer, postgres: Postgres, postgres_url: str, clock: StillClock
) -> None:
    """Two nodes share five connections of the server's."""
    name = name_of(postgres_url)
    url = f"{by_transaction.url(name)}?pgbouncer=true"
    stores = []
    for _ in range(2):
        db = Database(url)
        await db.connect()
        stores.append(Store(db, clock))
    await stores[0].session()

    async def talk(store: Store, sender: str) -> None:
        for n in range(15):
            key = f"{sender}-{n}"
            said = await store.say(key, sender_id=sender, client_message_id=key, message_id=f"id-{key}")
            await store.participants.put("s", sender, "member", clock.now)
            await store.participants.mark_read("s", sender, said.record.seq)
            assert tuple((await store.db.fetch_all(SETTINGS))[0]) == OURS

    await asyncio.gather(*(talk(s, f"{i}-{j}") for i, s in enumerate(stores) for j in range(8)))
    stored, _ = await stores[0].messages.page("s", order="asc", limit=1000, max_bytes=1 << 24)
    assert [record.seq for record in stored] == list(range(1, 241))
    for store in stores:
        await store.close()
    # Nothing of it stays with the server's connections: who is next behind the pooler finds the defaults.
    command = [postgres.program("psql"), "-XAt", "-c", "SHOW lock_timeout", by_transaction.url(name)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


async def test_transaction_mode_is_not_taken_for_session_mode(
    by_transaction: PgBouncer, postgres_url: str
) -> None:
    db = Database(by_transaction.url(name_of(postgres_url)))
    with pytest.raises(StorageError, match="DATABASE_POOL_MODE=transaction"):
        await db.connect()


async def test_session_mode(by_session: PgBouncer, postgres_url: str, clock: StillClock) -> None:
    store = Store(Database(by_session.url(name_of(postgres_url)), pool_size=4, max_overflow=0), clock)
    await store.db.connect()
    await store.session()
    await asyncio.gather(*(store.say(str(n)) for n in range(50)))
    assert tuple((await store.db.fetch_all(SETTINGS))[0]) == OURS
    slow = Statement(sa.text("SELECT pg_sleep(2.5)").columns(sa.column("slept", sa.Text)))
    assert len(await store.db.fetch_all(slow)) == 1, "it is not taken for a silent one"
    await store.close()


def test_migrations_through_it(by_transaction: PgBouncer, by_session: PgBouncer, postgres: Postgres) -> None:
    for pooler, query in ((by_transaction, "?pgbouncer=true"), (by_session, "")):
        name = postgres.create_database()
        url = pooler.url(name) + query
        for _ in range(2):
            upgrade(url)
            assert current(url) is not None
            downgrade(url)
        postgres.drop_database(name)


async def test_a_server_behind_it(
    by_transaction: PgBouncer, postgres_url: str, new_server: Callable[..., Server]
) -> None:
    node = new_server(by_transaction.url(name_of(postgres_url)), DATABASE_POOL_MODE="transaction")
    async with node.api() as client:
        created = await client.post("/api/chat/sessions", json={"title": "x"})
        session_id = created.json()["session_id"]
        path = f"/api/chat/sessions/{session_id}/messages"
        sent = await asyncio.gather(*(client.post(path, json={"content": str(n)}) for n in range(60)))
        assert {answer.status_code for answer in sent} == {201}
        assert (await client.get("/readyz")).json()["checks"]["database"] == "ok"


def test_lost_statements_are_named_for_what_they_are() -> None:
    import asyncpg  # type: ignore[import-untyped]

    for kind in (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError):
        told = translate(kind("prepared statement"))
        assert isinstance(told, StorageUnavailable)
        assert "DATABASE_POOL_MODE=transaction" in str(told)
