"""How many connections a node takes, and which it trusts: servers without room, addresses that move."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import asyncpg  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa

from storage.database import Database
from storage.errors import StorageUnavailable
from storage.fairness import ASKING
from storage.statement import Statement
from tests.storage.conftest import StillClock, Store
from tests.support.proxy import Proxy
from tests.support.services import Postgres

SLOW = Statement(sa.text("SELECT pg_sleep(0.05)").columns(sa.column("slept", sa.Text)))
#: With superuser_reserved_connections = 3: 97 for everybody, of which a tenth is left for others.
SHARED = 88


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server as it comes: 100 connections; and roles that are not the superuser."""
    with Postgres({"max_connections": "100"}) as cluster:
        cluster.sql("CREATE ROLE chat LOGIN")
        cluster.sql("CREATE ROLE few LOGIN CONNECTION LIMIT 5")
        yield cluster


@pytest.fixture
def narrow(server: Postgres) -> Postgres:
    """Nobody is connected to it, whatever the test before left."""
    ours = "usename IN ('chat', 'few')"
    until(lambda: server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}") == "")
    return server


def url_of(cluster: Postgres, role: str, port: int | None = None) -> str:
    return f"postgresql://{role}@127.0.0.1:{port or cluster.port}/postgres"


@asynccontextmanager
async def connected(url: str, count: int, **given: int) -> AsyncIterator[list[Database]]:
    """Patient ones: a busy machine takes its time for a hundred connections. Closed however it ends."""
    made = [Database(url, limit=60, **given) for _ in range(count)]
    async with AsyncExitStack() as stack:
        for db in made:
            stack.push_async_callback(db.disconnect)
            await db.connect()
        yield made


def until(holds: Callable[[], bool]) -> None:
    """A backend whose connection was closed takes a while to end."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def held(cluster: Postgres, role: str) -> int:
    return int(cluster.sql(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'"))


async def holds_at_most(most: int, cluster: Postgres, role: str) -> None:
    await asyncio.to_thread(until, lambda: held(cluster, role) <= most)


async def test_three_nodes_share_a_server(narrow: Postgres, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(url_of(narrow, "chat"), 3) as nodes:
        assert any("the server has room for" in record.getMessage() for record in caplog.records)
        for _ in range(2):
            # Refuses none, though the pools together would be 180.
            await asyncio.gather(*(db.fetch_all(SLOW) for db in nodes for _ in range(200)))
            await holds_at_most(SHARED, narrow, "chat")
        other = await asyncpg.connect(url_of(narrow, "chat"))
        await other.close()
        used = [sum(db.usage().values()) for db in nodes]
        assert min(used) > SHARED // 3 - 5, used


async def test_a_node_that_comes_later_has_its_share(narrow: Postgres) -> None:
    async with connected(url_of(narrow, "chat"), 1) as (first,):
        await asyncio.gather(*(first.fetch_all(SLOW) for _ in range(200)))
        assert sum(first.usage().values()) == 60
        async with connected(url_of(narrow, "chat"), 1) as (second,):
            await asyncio.gather(*(db.fetch_all(SLOW) for db in (first, second) for _ in range(300)))
            await holds_at_most(97, narrow, "chat")


async def test_a_role_with_few_connections(narrow: Postgres) -> None:
    async with connected(url_of(narrow, "few"), 2) as nodes:
        await asyncio.gather(*(db.fetch_all(SLOW) for db in nodes for _ in range(50)))
        await holds_at_most(5, narrow, "few")


async def test_others_have_taken_the_room(narrow: Postgres, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(url_of(narrow, "chat"), 1) as (db,):
        others = []
        with pytest.raises(asyncpg.TooManyConnectionsError):
            while True:
                others.append(await asyncpg.connect(url_of(narrow, "chat")))
        with caplog.at_level(logging.WARNING):
            await asyncio.gather(*(db.fetch_all(SLOW) for _ in range(30)))
        told = [record for record in caplog.records if "takes no more connections" in record.getMessage()]
        assert len(told) == 1
        assert await db.check() == "ok", "it has one, which is enough to go on"
        taken = len(others)
        async with asyncio.timeout(10):
            while len(others) == taken:  # a backend that is told to end takes its time, and the pool is quick
                for pid in narrow.sql(
                    "SELECT pid FROM pg_stat_activity WHERE application_name = 'parley'"
                ).split():
                    narrow.sql(f"SELECT pg_terminate_backend({pid})")
                with suppress(asyncpg.TooManyConnectionsError):
                    others.append(await asyncpg.connect(url_of(narrow, "chat")))
        db.limit = 1.0
        assert await db.check() == "exhausted"
        for other in others:
            await other.close()
        async with asyncio.timeout(10):
            while await db.check() != "ok":
                await asyncio.sleep(0.05)
        await asyncio.gather(*(db.fetch_all(SLOW) for _ in range(60)))
        assert sum(db.usage().values()) > 10, "it grows again"


# Connections that fell silent.


async def test_an_address_that_moves(postgres: Postgres, postgres_url: str, clock: StillClock) -> None:
    """What was open is silent from now on, and open; new connections are served."""
    async with Proxy(postgres.port) as relay:
        store = Store(Database(postgres_url.replace(str(postgres.port), str(relay.port))), clock)
        await store.db.connect()
        await store.session()
        await asyncio.gather(*(store.db.fetch_all(SLOW) for _ in range(60)))
        assert sum(store.db.usage().values()) > 20
        relay.silence()
        begun = time.monotonic()
        answered = await asyncio.gather(*(eventually(store, n) for n in range(18)))
        assert max(answered) < 5, answered
        # All that was opened before is gone, not only what somebody waited for.
        await asyncio.gather(*(store.db.fetch_all(SLOW) for _ in range(100)))
        assert time.monotonic() - begun < 8
        await store.close()


async def eventually(store: Store, number: int) -> float:
    """Seconds until a message was stored: its sender repeats it as the contract has it."""
    begun = time.monotonic()
    while True:
        try:
            await store.say(str(number), client_message_id=f"key-{number}", sender_id=f"user-{number}")
        except StorageUnavailable:
            continue
        return time.monotonic() - begun


async def test_an_address_that_moves_to_another_server(narrow: Postgres, postgres: Postgres) -> None:
    async with Proxy(postgres.port) as relay:
        db = Database(url_of(postgres, "postgres", relay.port))
        await db.connect()
        await asyncio.gather(*(db.fetch_all(SLOW) for _ in range(40)))
        relay.target = narrow.port
        relay.silence()
        begun = time.monotonic()
        async with asyncio.timeout(5):
            while True:
                try:
                    await db.ping()
                    break
                except StorageUnavailable:
                    continue
        await asyncio.gather(*(db.ping() for _ in range(60)))
        assert time.monotonic() - begun < 5
        await db.disconnect()


async def test_one_that_breaks_puts_the_others_in_doubt(postgres_url: str, postgres: Postgres) -> None:
    db = Database(postgres_url)
    await db.connect()
    await asyncio.gather(*(db.fetch_all(SLOW) for _ in range(40)))
    assert db.usage()["idle"] > 10
    with pytest.raises(StorageUnavailable):
        async with db.connection() as connection:
            pid = connection.raw.get_server_pid()
            await asyncio.to_thread(postgres.sql, f"SELECT pg_terminate_backend({pid})")
            await connection.fetch_all(SLOW)
    assert db.usage()["idle"] == 0
    await db.ping()
    await db.disconnect()


async def test_a_slow_query_is_not_taken_for_a_silent_connection(postgres_url: str) -> None:
    db = Database(postgres_url)
    await db.connect()
    slow = Statement(sa.text("SELECT pg_sleep(3)").columns(sa.column("slept", sa.Text)))
    assert len(await db.fetch_all(slow)) == 1
    await db.disconnect()


async def test_who_waits_longest_is_next(postgres_url: str) -> None:
    """Also while others come all the time: nobody's turn is taken."""
    db = Database(postgres_url, pool_size=2, max_overflow=0)
    await db.connect()
    order: list[int] = []

    async def ask(number: int) -> None:
        await db.fetch_all(SLOW)
        order.append(number)

    asked = []
    for number in range(30):
        asked.append(asyncio.ensure_future(ask(number)))
        await asyncio.sleep(0)  # it has asked
    await asyncio.gather(*asked)
    assert all(abs(place - number) <= 2 for place, number in enumerate(order)), order
    await db.disconnect()


# Who goes first.


async def test_the_writer_keeps_its_connection(postgres_url: str) -> None:
    async with connected(postgres_url, 1, pool_size=6, max_overflow=0) as (db,):

        async def backend() -> int:
            return int(await db.use(lambda c: c.raw.fetchval("SELECT pg_backend_pid()"), lane=0))

        own = await backend()
        flood = [asyncio.create_task(db.fetch_all(SLOW)) for _ in range(60)]
        await flood[0]
        assert await backend() == own
        assert sum(task.done() for task in flood) < 30
        await asyncio.gather(*flood)
        # One that broke is replaced.
        with pytest.raises(StorageUnavailable):
            await db.use(lambda c: c.raw.execute("SELECT pg_terminate_backend(pg_backend_pid())"), lane=0)
        assert await backend() != own


async def test_the_questions_of_one_user_wait_behind_themselves(postgres_url: str) -> None:
    async with connected(postgres_url, 1) as (db,):

        async def asks(who: str) -> None:
            ASKING.set(who)
            await db.fetch_all(SLOW)

        flood = [asyncio.create_task(asks("mallory")) for _ in range(40)]
        await flood[0]
        await asyncio.create_task(asks("alice"))
        assert sum(task.done() for task in flood) <= 10
        await db.fetch_all(SLOW)  # the node's own work waits for nobody
        assert sum(task.done() for task in flood) <= 15
        await asyncio.gather(*flood)
