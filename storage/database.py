"""Connecting, transactions, time limits, and what differs between PostgreSQL and SQLite.

Knows no table. `databases` holds the pool; every operation has a connection of its own.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa
from databases import Database as Databases
from databases.core import Connection as Link

from storage import private
from storage.address import Address, parse
from storage.connecting import Connector
from storage.errors import Away, StorageError, StorageUnavailable
from storage.failures import DRIVER_ERRORS, translate
from storage.fairness import ASKING, Fair
from storage.health import Health, ReadOnly
from storage.outage import DatabaseOutage
from storage.patience import LEAST, until
from storage.pool import Pool
from storage.repeating import repeated
from storage.statement import Statement
from storage.url import dialect_of, plain, sqlite_file

LOG = logging.getLogger("parley.database")

#: Seconds after which a database that does not answer counts as away.
LIMIT = 5.0
#: SQLite's own wait for another process's lock; less than LIMIT, so that the wait ends before we give up.
BUSY_MS = 4000
#: Readers of an SQLite file. Opening a connection starts a thread, so these are kept.
READERS = 4
#: Callers' questions that PostgreSQL is asked at once by one node, and those of one user: enough for a
#: server's cores, and so few that a commit, which waits for no place, finds a core free. A question takes a
#: millisecond or two: a page that asks ten at once waits for a few of them.
QUESTIONS, QUESTIONS_EACH = 4, 2
ISOLATION = "default_transaction_isolation"
#: A node that stops in the middle of a transaction must not hold a session's row for good.
IDLE_IN_TRANSACTION = "15s"

_TIME = Statement(sa.text("SELECT extract(epoch FROM clock_timestamp())::float8"))
_READ_ONLY = "SELECT current_setting('transaction_read_only')"
_PING = {
    "postgresql": Statement(sa.select(sa.func.current_setting("transaction_read_only"))),
    "sqlite": Statement(sa.select(sa.literal(1))),
}
#: Takes a megabyte of the data's disk, and gives it back.
_PROBE = (
    "CREATE TEMPORARY TABLE parley_probe ON COMMIT DROP AS "
    "SELECT repeat(md5(n::text), 60) AS filling FROM generate_series(1, 500) AS n"
)

T = TypeVar("T")

Row = Sequence[Any]


class SqlConnection:
    """One connection, for as long as an operation takes."""

    __slots__ = ("dialect", "raw")

    def __init__(self, raw: Any, dialect: str) -> None:
        #: asyncpg's or aiosqlite's connection, for what only one of them offers.
        self.raw = raw
        self.dialect = dialect

    async def fetch_all(self, statement: Statement, **values: Any) -> list[Row]:
        compiled = statement.on(self.dialect)
        arguments = compiled.arguments(values)
        if self.dialect == "postgresql":
            rows = await self.raw.fetch(compiled.sql, *arguments)
        else:
            rows = await self.raw.execute_fetchall(compiled.sql, arguments)
        return [compiled.row(row) for row in rows]

    async def fetch_one(self, statement: Statement, **values: Any) -> Row | None:
        rows = await self.fetch_all(statement, **values)
        return rows[0] if rows else None

    async def execute(self, statement: Statement, **values: Any) -> int:
        """Returns how many rows it changed."""
        compiled = statement.on(self.dialect)
        arguments = compiled.arguments(values)
        if self.dialect == "postgresql":
            tag: str = await self.raw.execute(compiled.sql, *arguments)
            count = tag.rpartition(" ")[2]
            return int(count) if count.isdigit() else 0
        cursor = await self.raw.execute(compiled.sql, arguments)
        changed: int = cursor.rowcount
        await cursor.close()
        return changed

    async def execute_many(self, statement: Statement, rows: Iterable[dict[str, Any]]) -> None:
        compiled = statement.on(self.dialect)
        arguments = [compiled.arguments(row) for row in rows]
        if self.dialect == "postgresql":
            await self.raw.executemany(compiled.sql, arguments)
        else:
            cursor = await self.raw.executemany(compiled.sql, arguments)
            await cursor.close()

    async def command(self, sql: str) -> None:
        LOG.debug("%s", sql)
        await self.raw.execute(sql)


class Database:
    """One pool. `connect` before anything else; a `Database` outlives its server's restarts.

    Every method raises StorageUnavailable when the database cannot answer, within `limit` seconds, and
    StorageError for what repeating will not mend.
    """

    def __init__(
        self, url: str, *, pool_size: int = 20, max_overflow: int = 40, limit: float = LIMIT
    ) -> None:
        """Raises ValueError for an address that cannot be kept (`storage.url.check`)."""
        self.dialect = dialect_of(url)
        self.limit = limit
        self.health = Health(self._try_write)
        self.outage = DatabaseOutage(self._ask)
        #: Seconds for the first connection: an address may name several hosts, and a time for each.
        self._patience: float | None = limit
        self._file = None if self.dialect == "postgresql" else sqlite_file(url)
        #: Behind a pooler that hands out its connections for a transaction each.
        self._pooled = False
        self._pool: Pool
        self._databases: Databases
        if self.dialect == "postgresql":
            address = parse(url)
            connector = Connector(address, limit=limit)
            self._patience = None if connector.patience is None else max(limit, connector.patience)
            settings = _settings(address, limit)
            self._pooled = address.pooled
            self._begin = _begin(settings) if self._pooled else "BEGIN"
            self._pool = Pool(
                connector,
                ""
                if self._pooled
                else "; ".join(f"SET {name} = '{value}'" for name, value in settings.items()),
                _decode_json,
                size=pool_size + max_overflow,
                pooled=self._pooled,
            )
        else:
            self._databases = Databases(plain(url))
        self._questions = Fair(QUESTIONS, QUESTIONS_EACH)
        self._readers: asyncio.LifoQueue[Link] = asyncio.LifoQueue()
        self._writer: asyncio.Queue[Link] = asyncio.Queue()
        self._links: list[Link] = []
        self._cleanups: set[asyncio.Future[Any]] = set()

    @property
    def _opened(self) -> Pool | Databases:
        return self._pool if self.dialect == "postgresql" else self._databases

    async def connect(self) -> None:
        if self._opened.is_connected:
            return
        self.outage.start()
        with self._translated():
            if self._file is not None:
                private.database(self._file)
            async with asyncio.timeout(self._patience):
                await self._opened.connect()
                try:
                    if self.dialect == "sqlite":
                        await self._open_file()
                except BaseException:
                    await self.disconnect()
                    raise

    async def disconnect(self) -> None:
        """Waits for operations under way, for `limit` seconds at most."""
        self.health.stop()
        self.outage.stop()
        with suppress(*DRIVER_ERRORS):
            async with asyncio.timeout(self.limit):
                if self._cleanups:
                    await asyncio.wait(self._cleanups)
                for link in self._links:
                    await link.__aexit__()
                self._links.clear()
                self._readers, self._writer = asyncio.LifoQueue(), asyncio.Queue()
                await self._opened.disconnect()

    def usage(self) -> dict[str, int]:
        """Connections of the pool: "idle" and "used"."""
        if self.dialect == "postgresql":
            return self._pool.usage()
        size, idle = len(self._links), self._readers.qsize() + self._writer.qsize()
        return {"idle": idle, "used": size - idle}

    async def time(self) -> float | None:
        """The server's clock, in epoch seconds; None on SQLite, which goes by this process's. Raises
        StorageUnavailable."""
        if self.dialect != "postgresql":
            return None
        row = await self.fetch_one(_TIME)
        return None if row is None else float(row[0])

    async def ping(self) -> None:
        async with self.connection() as connection:
            row = await connection.fetch_one(_PING[self.dialect])
            if row is not None and row[0] == "on":
                raise ReadOnly("the server is read-only")

    async def _ask(self) -> None:
        """For `DatabaseOutage`: on a connection of its own, as those of the pool may be waited for."""
        if self.dialect != "postgresql":
            await self.ping()
            return
        with self._translated():
            async with asyncio.timeout(self.limit):
                raw = await self._pool.another()
                try:
                    if await raw.fetchval(_READ_ONLY) == "on":
                        raise ReadOnly("the server is read-only")
                finally:
                    raw.terminate()

    @property
    def trouble(self) -> str:
        """The known trouble: "full", "read-only", "exhausted" (of connections), "failing"; or ""."""
        exhausted = self.dialect == "postgresql" and self._pool.exhausted
        return self.health.trouble or ("exhausted" if exhausted else "")

    async def check(self) -> str:
        """For a health check: "ok", or `trouble`."""
        try:
            await self.ping()
        except ReadOnly as error:
            self.health.met(error)
        except StorageError:
            return self.trouble or "failing"
        return self.health.trouble or "ok"

    async def _try_write(self) -> None:
        await self.ping()
        async with self.transaction() as connection:
            if self.dialect == "postgresql":
                await connection.command(_PROBE)
            else:
                version = (await connection.raw.execute_fetchall("PRAGMA user_version"))[0][0]
                await connection.command(f"PRAGMA user_version = {version}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DRIVER_ERRORS as error:
            raise self._met(error) from error

    def _met(self, error: Exception) -> StorageError:
        """A driver's error as ours."""
        self.health.met(error)
        return translate(error)

    def connection(
        self, *, limit: float | None = None, lane: int | None = None
    ) -> AbstractAsyncContextManager[SqlConnection]:
        """A connection for reading: each statement sees what is committed when it begins. `lane`: the
        writer's, which has its own, or is before all who wait."""
        if self._pooled:
            return self._transaction_postgresql(limit or self.limit, lane)
        if self.dialect == "postgresql":
            return self._lease_postgresql(limit or self.limit, lane)
        return self._lease_sqlite(limit or self.limit, self._readers)

    def transaction(
        self, *, limit: float | None = None, lane: int | None = None
    ) -> AbstractAsyncContextManager[SqlConnection]:
        """BEGIN, and COMMIT at the end; ROLLBACK if the body raises. `lane` as of `connection`.

        StorageUnavailable from the COMMIT itself means that its outcome is not known.
        """
        if self.dialect == "postgresql":
            return self._transaction_postgresql(limit or self.limit, lane)
        return self._transaction_sqlite(limit or self.limit)

    async def transact(
        self,
        work: Callable[[SqlConnection], Awaitable[T]],
        *,
        limit: float | None = None,
        lane: int | None = None,
        again: bool = False,
    ) -> T:
        """`work` in a transaction; anew, with all it does, where the database rolled it back, or went away
        before the COMMIT, while somebody waits for it (`storage.patience`). `again`: also where the COMMIT's
        outcome is not known."""

        async def once(limit: float | None) -> T:
            ready = False
            try:
                async with self.transaction(limit=limit, lane=lane) as connection:
                    done = await work(connection)
                    ready = True
                return done
            except Away as error:
                error.undone = not ready
                raise

        return await self._patiently(once, limit, lane, again)

    async def use(
        self,
        work: Callable[[SqlConnection], Awaitable[T]],
        *,
        limit: float | None = None,
        lane: int | None = None,
        again: bool = True,
    ) -> T:
        """`work` with a connection; anew as in `transact`. `again`: also where it is not known whether it has
        happened, as it is for what only asks."""

        async def once(limit: float | None) -> T:
            begun = False
            try:
                async with self.connection(limit=limit, lane=lane) as connection:
                    begun = True
                    return await work(connection)
            except Away as error:
                error.undone = not begun
                raise

        return await self._patiently(once, limit, lane, again)

    async def _patiently(
        self, once: Callable[[float | None], Awaitable[T]], limit: float | None, lane: int | None, again: bool
    ) -> T:
        # A lane has its own patience: that of each operation.
        end = until() if lane is None else None
        while True:
            if end is not None:
                if self.outage.on and not self.outage.reads and not await self.outage.over(end):
                    raise Away("the database is away")
                left = max(LEAST, end - asyncio.get_running_loop().time())
                limit = min(limit or self.limit, left)
            try:
                return await repeated(partial(once, limit))
            except Away as error:
                self.outage.begins(error)
                if end is None or not (again or error.undone) or not await self.outage.over(end):
                    raise

    async def fetch_all(self, statement: Statement, **values: Any) -> list[Row]:
        return await self.use(lambda connection: connection.fetch_all(statement, **values))

    async def fetch_one(self, statement: Statement, **values: Any) -> Row | None:
        return await self.use(lambda connection: connection.fetch_one(statement, **values))

    async def execute(self, statement: Statement, *, again: bool = False, **values: Any) -> int:
        """One statement in a transaction of its own. Returns how many rows it changed. `again`: twice is as
        good as once."""
        run = self.use if self.dialect == "postgresql" else self.transact
        return await run(lambda connection: connection.execute(statement, **values), again=again)

    async def change(self, statement: Statement, *, again: bool = False, **values: Any) -> list[Row]:
        """One statement that changes rows and returns some, in a transaction of its own. `again` as above."""
        run = self.use if self.dialect == "postgresql" else self.transact
        return await run(lambda connection: connection.fetch_all(statement, **values), again=again)

    # -- PostgreSQL ---------------------------------------------------------------------------------

    @asynccontextmanager
    async def _lease_postgresql(self, limit: float, lane: int | None) -> AsyncIterator[SqlConnection]:
        try:
            async with asyncio.timeout(limit):
                if not self._pool.is_connected:
                    raise StorageUnavailable("the database is not connected")
                who = ASKING.get() if lane is None else ""
                if who:
                    await self._questions.enter(who)
                try:
                    async with self._pool.lease(lane) as raw:
                        yield SqlConnection(raw, "postgresql")
                finally:
                    if who:
                        self._questions.leave(who)
        except DRIVER_ERRORS as error:
            raise self._met(error) from error

    @asynccontextmanager
    async def _transaction_postgresql(self, limit: float, lane: int | None) -> AsyncIterator[SqlConnection]:
        async with self._lease_postgresql(limit, lane) as connection:
            await connection.command(self._begin)
            try:
                yield connection
            except asyncio.CancelledError:
                raise  # the connection goes, and with it the transaction
            except BaseException:
                with suppress(*DRIVER_ERRORS):
                    await connection.command("ROLLBACK")
                raise
            await connection.command("COMMIT")

    # -- SQLite -------------------------------------------------------------------------------------

    async def _open_file(self) -> None:
        for number in range(READERS + 1):
            link = Link(self._databases, self._databases._backend)
            await link.__aenter__()
            self._links.append(link)
            raw = link.raw_connection
            await raw.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            await raw.execute("PRAGMA journal_mode = WAL")
            # FULL: a commit is on the disk when it returns, also if the machine loses power.
            await raw.execute("PRAGMA synchronous = FULL")
            await raw.execute("PRAGMA foreign_keys = ON")
            if number:
                await raw.execute("PRAGMA query_only = ON")
                # The kernel has the file in memory once for all: 2 MiB more for each reader gain nothing.
                await raw.execute("PRAGMA cache_size = -256")
            (self._readers if number else self._writer).put_nowait(link)

    @asynccontextmanager
    async def _lease_sqlite(self, limit: float, pool: "asyncio.Queue[Link]") -> AsyncIterator[SqlConnection]:
        try:
            async with asyncio.timeout(limit):
                link = await self._take(pool)
                try:
                    yield SqlConnection(link.raw_connection, "sqlite")
                finally:
                    # A statement that was given up still runs in the connection's thread; whatever comes
                    # next waits for it there.
                    pool.put_nowait(link)
        except DRIVER_ERRORS as error:
            raise self._met(error) from error

    async def _take(self, pool: "asyncio.Queue[Link]") -> Link:
        if not self._links:
            raise StorageUnavailable("the database is not connected")
        return await pool.get()

    @asynccontextmanager
    async def _transaction_sqlite(self, limit: float) -> AsyncIterator[SqlConnection]:
        with self._translated():
            async with asyncio.timeout(limit):
                link = await self._take(self._writer)
                connection = SqlConnection(link.raw_connection, "sqlite")
                try:
                    # Takes the write lock at once: a transaction that begins by reading may find later
                    # that another process has written, and then cannot go on.
                    await connection.command("BEGIN IMMEDIATE")
                    yield connection
                    await connection.command("COMMIT")
                except BaseException:
                    # Nobody gets the connection before it is rolled back, and nobody waits for that:
                    # the disk may be what hangs.
                    cleanup = asyncio.ensure_future(self._roll_back(link))
                    self._cleanups.add(cleanup)
                    cleanup.add_done_callback(self._cleanups.discard)
                    raise
                self._writer.put_nowait(link)

    async def _roll_back(self, link: Link) -> None:
        try:
            # "No transaction is active": BEGIN had not come to pass, or COMMIT had.
            with suppress(*DRIVER_ERRORS):
                await SqlConnection(link.raw_connection, "sqlite").command("ROLLBACK")
        finally:
            self._writer.put_nowait(link)


def _settings(address: Address, limit: float) -> dict[str, str]:
    """The settings of each connection that Parley relies on, whatever the server's or the role's defaults
    are."""
    ours = {
        "jit": "off",
        # Statements wait for each other under row locks; under a stricter level they would fail instead.
        ISOLATION: "read committed",
        # The server gives up a lock before we give up the server: what waits for one is then known not to
        # have happened.
        "lock_timeout": f"{limit * 500:.0f}ms",
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION,
    }
    chosen = address.options or ""
    # What the address's `options` set is the operator's choice; but for the isolation, which is ours.
    return {name: value for name, value in ours.items() if name == ISOLATION or f"{name}=" not in chosen}


def _begin(settings: Mapping[str, str]) -> str:
    """A transaction's beginning that has all of it: what is set for longer stays with a pooler."""
    own = [f"SET LOCAL {name} = '{value}'" for name, value in settings.items() if name != ISOLATION]
    return "; ".join([f"BEGIN ISOLATION LEVEL {settings[ISOLATION]}", *own])


async def _decode_json(raw: Any) -> None:
    await raw.set_type_codec("jsonb", schema="pg_catalog", encoder=_same, decoder=orjson.loads, format="text")


def _same(value: str) -> str:
    return value
