"""The database itself: transactions, time limits, and servers that go away and come back."""

import asyncio
import logging
import os
import signal
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage.database import Database
from storage.errors import AlreadyExists, StorageError, StorageUnavailable
from storage.records import SessionRecord
from storage.statement import Statement, among, octets
from storage.tables import agents, sessions
from storage.url import dialect_of, plain, sqlite_file
from tests.storage.conftest import StillClock, Store
from tests.support.services import Postgres

ADD = Statement(
    agents.insert().values(id=sa.bindparam("which"), name="x", kind="echo", config=sa.bindparam("config"))
)
IDS = Statement(sa.select(agents.c.id).order_by(agents.c.id))


async def ids(db: Database) -> list[int]:
    return [row[0] for row in await db.fetch_all(IDS)]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p%40@h:1/d?ssl=true", "postgresql://u:p%40@h:1/d?ssl=true"),
        ("postgres://h/d", "postgresql://h/d"),
        ("postgresql+asyncpg://h/d", "postgresql://h/d"),
        ("postgresql+psycopg://h/d", "postgresql://h/d"),
        ("sqlite+aiosqlite:///data/x.db", "sqlite:///data/x.db"),
        ("sqlite:////abs/x.db", "sqlite:////abs/x.db"),
    ],
)
def test_spellings_of_an_address(url: str, expected: str) -> None:
    assert plain(url) == expected
    assert dialect_of(url) == expected.partition(":")[0]


def test_addresses_that_lead_nowhere() -> None:
    for url in ("mysql://h/d", "postgresql", "", "sqlite"):
        with pytest.raises(ValueError, match="understood"):
            dialect_of(url)
    for url in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ValueError, match="memory"):
            sqlite_file(url)
    assert sqlite_file("sqlite:///data/x.db") == Path("data/x.db")
    assert sqlite_file("sqlite:////data/x.db") == Path("/data/x.db")


async def test_a_transaction_is_all_or_nothing(db: Database) -> None:
    async with db.transaction() as connection:
        await connection.execute(ADD, which=10, config={})
    with pytest.raises(AlreadyExists):
        async with db.transaction() as connection:
            await connection.execute(ADD, which=11, config={})
            await connection.execute(ADD, which=10, config={})
    with pytest.raises(KeyError):
        async with db.transaction() as connection:
            await connection.execute(ADD, which=12, config={})
            raise KeyError
    assert await ids(db) == [1, 10]


async def test_a_transaction_that_is_given_up_leaves_nothing(db: Database) -> None:
    inside = asyncio.Event()

    async def linger() -> None:
        async with db.transaction() as connection:
            await connection.execute(ADD, which=10, config={})
            inside.set()
            await asyncio.Event().wait()

    for _ in range(3):
        inside.clear()
        task = asyncio.create_task(linger())
        await asyncio.wait_for(inside.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with db.transaction() as connection:
        await connection.execute(ADD, which=11, config={})
    assert await ids(db) == [1, 11]


async def test_operations_have_a_time_limit(database_url: str) -> None:
    db = Database(database_url, limit=0.3)
    await db.connect()
    with pytest.raises(StorageUnavailable):
        async with db.transaction() as connection:
            await connection.execute(ADD, which=10, config={})
            await asyncio.Event().wait()
    assert await ids(db) == [1]
    await db.disconnect()


async def test_many_operations_at_once(db: Database) -> None:
    async def add(number: int) -> None:
        async with db.transaction() as connection:
            await connection.execute(ADD, which=number, config={"n": number})

    await asyncio.gather(*(add(n) for n in range(10, 60)), *(ids(db) for _ in range(50)))
    assert await ids(db) == [1, *range(10, 60)]


async def test_errors_are_told_apart(db: Database) -> None:
    with pytest.raises(StorageError) as wrong:
        await db.fetch_all(Statement(sa.text("SELECT * FROM no_such_table")))
    assert not isinstance(wrong.value, StorageUnavailable)
    with pytest.raises(StorageError) as violated:
        await db.execute(Statement(agents.insert().values(id=9, name="x", kind=sa.null(), config={})))
    assert type(violated.value) is StorageError


async def test_lists_and_sizes(db: Database) -> None:
    named = Statement(sa.select(agents.c.name, octets(agents.c.name)).where(among(agents.c.name, "names")))
    await db.execute(Statement(agents.insert().values(id=9, name="ü", kind="echo", config={})))
    rows = await db.fetch_all(named, names=["ü", "Echo", 'a"b'])
    assert sorted(tuple(row) for row in rows) == [("Echo", 4), ("ü", 2)]
    assert await db.fetch_all(named, names=[]) == []


async def test_transactions_show_in_the_log(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="parley.database"):
        async with db.transaction() as connection:
            await connection.execute(ADD, which=10, config={})
        with pytest.raises(KeyError):
            async with db.transaction():
                raise KeyError
        async with db.transaction():
            pass
    said = [record.getMessage().split()[0] for record in caplog.records if record.name == "parley.database"]
    assert said == ["BEGIN", "COMMIT", "BEGIN", "ROLLBACK", "BEGIN", "COMMIT"]


async def test_an_unconnected_database_is_unavailable(database_url: str) -> None:
    db = Database(database_url)
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            await db.ping()
        with pytest.raises(StorageUnavailable):
            async with db.transaction():
                pass
        await db.connect()
        await db.ping()
        await db.disconnect()


# SQLite.


async def test_sqlite_is_durable_and_strict(sqlite_url: str) -> None:
    db = Database(sqlite_url)
    await db.connect()
    for pragma, expected in {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}.items():
        async with db.transaction() as connection:
            assert list(await connection.raw.execute_fetchall(f"PRAGMA {pragma}")) == [(expected,)]
    await db.disconnect()


async def test_an_sqlite_folder_is_made(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/new/folder/x.db")
    await db.connect()
    await db.ping()
    await db.disconnect()


async def test_an_sqlite_file_that_another_process_holds(sqlite_url: str) -> None:
    db = Database(sqlite_url, limit=0.5)
    await db.connect()
    with sqlite3.connect(sqlite_file(sqlite_url), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable):
            await db.execute(ADD, which=10, config={})
        assert await ids(db) == [1], "readers do not wait"
        other.execute("ROLLBACK")
    other.close()
    async with asyncio.timeout(20):
        while True:
            try:
                await db.execute(ADD, which=11, config={})
            except StorageUnavailable:
                continue
            break
    assert await ids(db) == [1, 11]
    await db.disconnect()


# PostgreSQL.


async def test_the_pool_is_as_large_as_both_settings(postgres_url: str) -> None:
    db = Database(postgres_url, pool_size=2, max_overflow=1, limit=0.5)
    await db.connect()
    async with db.connection(limit=10), db.connection(limit=10), db.connection(limit=10):
        with pytest.raises(StorageUnavailable):
            await db.ping()
    await db.ping()
    await db.disconnect()


async def test_times_come_back_in_utc(postgres: Postgres, postgres_url: str, clock: StillClock) -> None:
    name = postgres_url.rpartition("/")[2]
    postgres.sql(f"ALTER DATABASE {name} SET timezone TO 'Asia/Tokyo'")
    db = Database(postgres_url)
    await db.connect()
    store = Store(db, clock)
    session = await store.session()
    stored = await store.sessions.get("s")
    assert stored == session
    assert stored is not None
    assert stored.created_at.utcoffset() == session.created_at.utcoffset()
    await store.close()


async def until_answered(db: Database, seconds: float) -> float:
    """How long it took until the database answered, which it must within `seconds`."""
    begun = time.monotonic()
    async with asyncio.timeout(seconds):
        while True:
            try:
                await db.ping()
            except StorageUnavailable:
                continue
            return time.monotonic() - begun


async def test_postgres_stops_and_comes_back(
    own_postgres: tuple[Postgres, str], clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One Database object, and one task that lives through it all, in the middle of a transaction."""
    monkeypatch.setattr("storage.writer.WAIT", 0.5)
    cluster, url = own_postgres
    db = Database(url)
    await db.connect()
    store = Store(db, clock)
    await store.session()
    await store.say("before")
    inside, stopped, back = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def lives_through() -> None:
        with pytest.raises(StorageUnavailable):
            async with db.transaction() as connection:
                await connection.execute(ADD, which=10, config={})
                inside.set()
                await stopped.wait()
                await connection.execute(ADD, which=11, config={})
        await back.wait()
        async with db.transaction() as connection:
            await connection.execute(ADD, which=12, config={})

    long_lived = asyncio.create_task(lives_through())
    await inside.wait()
    await asyncio.to_thread(cluster.stop)
    stopped.set()
    begun = time.monotonic()
    sent = [store.writer.submit(store.new(str(n))) for n in range(5)]
    for outcome in await asyncio.gather(*sent, return_exceptions=True):
        assert isinstance(outcome, StorageUnavailable)
    for call in (store.sessions.get("s"), store.participants.list("s"), db.ping(), store.session("t")):
        with pytest.raises(StorageUnavailable):
            await call
    assert time.monotonic() - begun < 3, "a server that is not there is noticed at once"
    cluster.start()
    await until_answered(db, 5)
    back.set()
    await asyncio.wait_for(long_lived, 10)
    assert await ids(db) == [1, 12]
    done = await asyncio.gather(*(store.say(str(n)) for n in range(100)))
    assert [c.record.seq for c in done] == list(range(2, 102))
    await store.close()


async def test_postgres_crashes_under_load(own_postgres: tuple[Postgres, str], clock: StillClock) -> None:
    cluster, url = own_postgres
    db = Database(url)
    await db.connect()
    store = Store(db, clock)
    await store.session()
    acknowledged: set[str] = set()
    stop, grown = asyncio.Event(), asyncio.Condition()

    async def send(sender: int) -> None:
        n = 0
        while not stop.is_set():
            key = f"{sender}-{n}"
            try:
                await store.say("x", sender_id=str(sender), client_message_id=key)
            except StorageUnavailable:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 0.05)
                continue  # the same key again
            acknowledged.add(key)
            n += 1
            async with grown:
                grown.notify_all()

    senders = [asyncio.create_task(send(n)) for n in range(20)]
    async with asyncio.timeout(30):
        for _ in range(2):
            for crash in (True, False):
                goal = len(acknowledged) + 100
                async with grown:
                    await grown.wait_for(lambda goal=goal: len(acknowledged) >= goal)
                if crash:
                    await asyncio.to_thread(cluster.kill9)
                    cluster.start()
    stop.set()
    await asyncio.gather(*senders)
    stored, _ = await store.messages.page("s", order="asc", limit=100_000, max_bytes=1 << 28)
    keys = [r.client_message_id for r in stored]
    assert acknowledged <= set(keys)
    assert len(keys) == len(set(keys)), "nothing twice"
    assert [r.seq for r in stored] == list(range(1, len(stored) + 1))
    assert [r.revision for r in stored] == list(range(1, len(stored) + 1))
    await store.close()


async def test_a_server_that_hangs_is_unavailable(
    own_postgres: tuple[Postgres, str], clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.writer.WAIT", 1.0)
    cluster, url = own_postgres
    db = Database(url, limit=1)
    await db.connect()
    store = Store(db, clock)
    await store.session()
    await store.say()  # the statement is prepared
    # Also the processes of open connections, not only the one that accepts new ones.
    backends = [int(pid) for pid in cluster.sql("SELECT pid FROM pg_stat_activity").split()]
    for pid in backends:
        _signal(pid, "STOP")
    cluster.pause()
    begun = time.monotonic()
    sent = [store.writer.submit(store.new(str(n))) for n in range(2000)]
    reads = [asyncio.ensure_future(store.sessions.get("s")) for _ in range(100)]
    outcomes = await asyncio.gather(*sent, *reads, return_exceptions=True)
    assert all(isinstance(o, StorageUnavailable) for o in outcomes)
    assert time.monotonic() - begun < 4
    for pid in backends:
        _signal(pid, "CONT")
    cluster.resume()
    await until_answered(db, 5)
    for pid in backends:  # what they were asked and nobody waits for any more
        await gone(db, pid)
    assert (await store.say()).record.seq == 2, "what was given up is not stored later"
    await store.close()


async def gone(db: Database, pid: int) -> None:
    """The server has ended this process of one of our connections."""
    ours = Statement(
        sa.text("SELECT 1 FROM pg_stat_activity WHERE pid = :pid AND application_name = 'parley'").columns(
            sa.column("one", sa.Integer)
        )
    )
    async with asyncio.timeout(10):
        while await db.fetch_all(ours, pid=pid):
            await asyncio.sleep(0.02)


def _signal(pid: int, name: str) -> None:
    try:
        os.kill(pid, getattr(signal, f"SIG{name}"))
    except ProcessLookupError:
        return


async def test_a_session_that_another_transaction_holds(postgres_url: str, clock: StillClock) -> None:
    """A lock that is not given back in time: StorageUnavailable, and the pool is whole afterwards."""
    db = Database(postgres_url, limit=0.5, pool_size=2, max_overflow=1)
    await db.connect()
    store = Store(db, clock)
    await store.session()
    lock = Statement(sa.select(sessions.c.id).with_for_update())
    for _ in range(5):
        async with db.transaction(limit=10) as connection:
            await connection.fetch_all(lock)
            with pytest.raises(StorageUnavailable):
                await store.say()
    assert (await store.say()).record.seq == 1
    record = await store.sessions.get("s")
    assert isinstance(record, SessionRecord)
    await store.close()
