"""PostgreSQL's connections of one node: how many there may be, and which of them are still good.

Above asyncpg's pool, through `databases`. Knows no statement of ours but those about connections.
"""

import asyncio
import logging
import secrets
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from databases import Database as Databases
from databases.core import Connection as Link

from storage.connecting import Connector
from storage.errors import StorageError, StorageUnavailable
from storage.failures import DRIVER_ERRORS, POOLER

LOG = logging.getLogger("parley.database")

#: Seconds without an answer after which a connection is doubted: longer than a commit on a slow disk takes.
DOUBT = 1.5
#: Seconds between two looks for connections without an answer.
LOOK = 0.5
#: Seconds for which what the server said of its room is believed, by connections that are opened at once.
FRESH = 0.05
#: Seconds after which it is asked again: a node that came has its share by then.
RECOUNT = 5.0
#: Seconds until a server without room is asked again by a node that has no connection of its own.
AGAIN = 0.25
#: Seconds after which an unused connection is given back: other nodes may need it.
IDLE = 60.0
#: Connections that a node takes in any case: one for each lane of its writer.
LEAST = 2
#: With no more connections than these besides the lanes' own, the writer's lanes keep none: on a crowded
#: server connections are for operations under way.
BESIDE = 4
#: Names our advisory locks ("Parl"): each connection holds one in its node's number, so nodes can be counted.
NODES = 0x5061726C
#: The pool's own arguments of a connection; the others are in the URL.
_GIVEN = ("loop", "connection_class", "record_class")

_ROOM = """
SELECT least(
        current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            - coalesce(nullif(current_setting('reserved_connections', true), '')::int, 0),
        nullif(datconnlimit, -1), nullif(rolconnlimit, -1)),
    (SELECT count(DISTINCT objid) FROM pg_locks
        WHERE locktype = 'advisory' AND classid = $1::bigint::oid AND objsubid = 2)
FROM pg_database, pg_roles WHERE datname = current_database() AND rolname = current_user
"""
_STATES = "SELECT pid, state FROM pg_stat_activity WHERE pid = ANY ($1::int[])"


class NoRoom(StorageUnavailable):
    """The server takes no more connections: one of our own has to become free."""


class Pool:
    """At most `size` connections, and fewer where the server has no room for them on all nodes.

    `settings` is said to each new connection, then `prepare` is called with it. `pooled`: a pooler hands out
    the server's connections for a transaction each; how many there are is its affair.
    """

    def __init__(
        self,
        connector: Connector,
        settings: str,
        prepare: Callable[[Any], Awaitable[None]],
        *,
        size: int,
        pooled: bool = False,
    ) -> None:
        self._connector, self._prepare, self._size, self._pooled = connector, prepare, size, pooled
        # One statement more, and no parameter at the connection's start, which a pooler would refuse.
        self._settings = settings
        if not pooled:
            self._settings += f"; SELECT pg_advisory_lock_shared({NODES}, {secrets.randbits(31)})"
        self._databases = Databases(
            # Where and how to connect is the connector's alone.
            "postgresql://",
            connect=self._connect,
            min_size=1,
            max_size=size,
            max_inactive_connection_lifetime=IDLE,
            init=self._begin,
            # No operation leaves anything behind in its connection: asyncpg's own reset, a round
            # trip at each release, has nothing to do. It still rolls back what was left open.
            reset=_keep,
        )
        #: Leases that are held or being opened, and how many there may be.
        self._busy, self._allowed = 0, size
        self._waiting: deque[asyncio.Future[None]] = deque()
        #: Connections that lanes of the writer keep between two commits, and which count as busy: these know
        #: the statements already, and no flood of questions makes the next commit wait for a new one.
        self._kept: dict[int, Link] = {}
        self._endings: set[asyncio.Task[None]] = set()
        #: Loop time at which each lease began, oldest first.
        self._leases: dict[Any, float] = {}
        self._asked_at = self._doubted_at = float("-inf")
        self._asking: asyncio.Future[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._recount: asyncio.Task[None] | None = None
        #: The server's own number of each connection's process; a pooler gives one of its own at the start.
        self._pids: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        #: The server took no connection when it was asked last.
        self.exhausted = False

    # --- its life

    @property
    def is_connected(self) -> bool:
        return self._databases.is_connected

    async def connect(self) -> None:
        while not self.is_connected:
            try:
                await self._databases.connect()
            except asyncpg.TooManyConnectionsError:
                self.exhausted = True
                # The other nodes give theirs back as soon as they have counted this one; it is not there yet.
                await asyncio.sleep(AGAIN)
        try:
            await self._refuse_pooler()
        except BaseException:
            await self._databases.disconnect()
            raise
        self._watch = asyncio.get_running_loop().create_task(self._look(), name="database connections")
        if self._allowed < self._size:
            LOG.warning(
                "the server has room for %d connections of each node: this one's pool grows no further, "
                "though DATABASE_POOL_SIZE and DATABASE_MAX_OVERFLOW are %d together",
                self._allowed,
                self._size,
            )

    async def disconnect(self) -> None:
        for task in (self._watch, self._recount):
            if task is not None:
                task.cancel()
        self._watch = self._recount = None
        for lane in list(self._kept):
            await self._let_go(self._kept.pop(lane))
        await self._databases.disconnect()

    def usage(self) -> dict[str, int]:
        """Connections: "idle" and "used"."""
        pool = self._pool
        size, idle = (pool.get_size(), pool.get_idle_size()) if pool is not None else (0, 0)
        idle += len(self._kept)
        return {"idle": idle, "used": size - idle}

    @property
    def _pool(self) -> Any:
        return getattr(self._databases._backend, "_pool", None)

    # --- leases

    @asynccontextmanager
    async def lease(self, lane: int | None = None) -> AsyncIterator[Any]:
        """asyncpg's connection. Raises what the driver raises; waits for a free one as long as it takes. A
        `lane` of the writer has one lease at a time, on a connection that it keeps, or before the others."""
        # A Link of its own, not `Databases.connection()`: that one belongs to the task, and a task in
        # which PostgreSQL went away while it was held could never take another one.
        link = await self._take(lane)
        raw = link.raw_connection
        self._leases[link] = asyncio.get_running_loop().time()
        try:
            yield raw
        except asyncio.CancelledError:
            # Out of time, or given up by the caller: with a statement under way the connection
            # cannot be handed on, and a server that hangs would not let go of it.
            _end(raw)
            raise
        except DRIVER_ERRORS:
            if _ended(raw):
                self._doubt_with(raw)
            raise
        finally:
            del self._leases[link]
            if self._busy > self._allowed:
                _end(raw)
            if lane is not None and self._may_keep(lane, raw):
                self._kept[lane] = link
            else:
                await self._let_go(link)

    def _may_keep(self, lane: int, raw: Any) -> bool:
        return self._good(raw) and len(self._kept) + BESIDE < self._allowed and lane not in self._kept

    def _good(self, raw: Any) -> bool:
        return not _ended(raw) and raw._holder._generation == self._pool._generation

    def _end_kept(self, *, every: bool = False) -> None:
        """Those for which there is no room, or all."""
        while self._kept and (every or len(self._kept) + BESIDE > self._allowed):
            link = self._kept.popitem()[1]
            _end(link.raw_connection)
            ending = asyncio.get_running_loop().create_task(self._let_go(link))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    async def _let_go(self, link: Link) -> None:
        try:
            await link.__aexit__()
        finally:
            self._give_back()

    async def _take(self, lane: int | None) -> Link:
        kept = self._kept.pop(lane, None) if lane is not None else None
        if kept is not None:
            if self._good(kept.raw_connection):
                return kept
            _end(kept.raw_connection)
            await self._let_go(kept)
        while True:
            await self._place(first=lane is not None)
            link = Link(self._databases, self._databases._backend)
            try:
                await link.__aenter__()
            except NoRoom:
                self._give_back()
            except asyncpg.TooManyConnectionsError:
                self._give_back()
                await self._full()
            except BaseException:
                self._give_back()
                raise
            else:
                return link

    async def _full(self) -> None:
        """The server took no more: what is open is what there may be, until it has been asked again."""
        alone = self._busy == 0
        self._allowed = max(1, min(self._allowed, self._busy))
        self._end_kept()
        if not self.exhausted:
            self.exhausted = True
            LOG.warning("the server takes no more connections: this node goes on with those that it has")
        if alone:
            await asyncio.sleep(AGAIN)

    async def _place(self, first: bool) -> None:
        """Waits until one more lease may be held: first come, first served, but the writer goes first."""
        if self._busy < self._allowed and not self._waiting:
            self._busy += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._give_back()  # it was ours already
            raise

    def _give_back(self) -> None:
        self._busy -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._busy < self._allowed:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._busy += 1
                waiter.set_result(None)

    # --- new connections, and the server's room

    async def another(self) -> Any:
        """A connection outside of the pool; the caller ends it. Raises what the driver raises."""
        return await self._connector.connect(statement_cache_size=0)

    async def _connect(self, *_: Any, **given: Any) -> Any:
        return await self._connector.connect(**{name: given[name] for name in _GIVEN})

    async def _begin(self, raw: Any) -> None:
        if self._pooled:
            async with raw.transaction():
                await self._prepare(raw)
        else:
            await raw.execute(self._settings)
            await self._prepare(raw)
            self._pids[raw] = await raw.fetchval("SELECT pg_backend_pid()")
            await self._ask(raw)
            if self._busy > self._allowed:
                raise NoRoom("the server has no room for this node's next connection")
        self.exhausted = False

    async def _refuse_pooler(self) -> None:
        """Raises StorageError where two connections that are open at once share one of the server's: what the
        one prepares, sets or locks would be the other's."""
        if self._pooled:
            return
        async with self.lease() as raw:
            real = await raw.fetchval("SELECT pg_backend_pid()")
            if real == raw.get_server_pid():
                return
            second = await self._connector.connect(statement_cache_size=0)
            try:
                # Whose pooler makes it wait for a connection of the server's has one for itself.
                shared = await second.fetchval("SELECT pg_backend_pid()", timeout=DOUBT) == real
            except TimeoutError:
                return
            finally:
                second.terminate()
        if shared:
            raise StorageError(POOLER)

    async def _ask(self, raw: Any, *, force: bool = False) -> None:
        """How many connections there may be here. Callers that come during the question wait for its
        answer."""
        loop = asyncio.get_running_loop()
        if self._asking is not None:
            await asyncio.shield(self._asking)
            return
        if loop.time() - self._asked_at < FRESH and not force:
            return
        self._asking = loop.create_future()
        try:
            self.share(*await raw.fetchrow(_ROOM, NODES))
            self._asked_at = loop.time()
        finally:
            self._asking.set_result(None)
            self._asking = None

    def share(self, room: int, nodes: int) -> None:
        """`room`: connections that the server takes in all. Some are left for others: people, tools."""
        spare = max(room // 10, min(3, room // 4))
        self._allowed = min(self._size, max(LEAST, (room - spare) // max(1, nodes)))
        self._end_kept()
        self._wake()
        if self._pool is not None:
            self._end_idle(self._pool.get_size() - self._allowed)

    # --- connections that are not good any more

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            now = asyncio.get_running_loop().time()
            overdue = [link for link, begun in self._leases.items() if now - begun > DOUBT]
            if overdue:
                with suppress(*DRIVER_ERRORS, StorageUnavailable):
                    await self._examine(overdue)
            if self._waiting and self._allowed < self._size:
                # One more may try, and hears from the server whether there is room by now.
                self._asked_at = float("-inf")
                self._allowed += 1
                self._wake()
            if not self._pooled and now - self._asked_at > RECOUNT and self._pool.get_size() > LEAST:
                self._asked_at = now
                self._recount = asyncio.get_running_loop().create_task(self._count())

    async def _count(self) -> None:
        with suppress(*DRIVER_ERRORS, StorageUnavailable):
            async with asyncio.timeout(RECOUNT), self.lease() as raw:
                await self._ask(raw, force=True)

    async def _examine(self, overdue: list[Link]) -> None:
        """A server that is well on a new connection, and knows nothing of what an old one was asked, has
        moved, or the way to it has: all that were opened before are worth nothing."""
        async with asyncio.timeout(DOUBT):
            raw = await self._connector.connect()
        try:
            held = [link for link in overdue if link in self._leases and not _ended(link.raw_connection)]
            if self._pooled:
                # Whose process answers is not to be known; the overdue ones end by their own limits.
                if any(self._leases[link] > self._doubted_at for link in held):
                    self.doubt()
                return
            pids = {self._pids.get(link.raw_connection._con, 0): link for link in held}
            rows = await raw.fetch(_STATES, list(pids), timeout=DOUBT)
        finally:
            raw.terminate()
        states = dict(rows)
        silent = [link for pid, link in pids.items() if states.get(pid, "idle") == "idle"]
        silent = [link for link in silent if link in self._leases]
        if silent:
            LOG.warning("%d connections to the database have fallen silent: all are opened anew", len(silent))
            for link in silent:
                _end(link.raw_connection)
            self.doubt()

    def _doubt_with(self, raw: Any) -> None:
        """One broke. Those opened after the last that broke need no doubt on its account."""
        if raw._holder._generation == self._pool._generation:
            self.doubt()

    def doubt(self) -> None:
        """Nobody gets a connection any more that was opened before now."""
        pool = self._pool
        if pool is None:
            return
        pool._generation += 1
        self._doubted_at = asyncio.get_running_loop().time()
        self._end_kept(every=True)
        # Not `Pool.expire_connections` alone: it closes in an orderly way, which a silent one never ends.
        self._end_idle(pool.get_size())

    def _end_idle(self, count: int) -> None:
        idle = [each for each in self._pool._holders if each.is_idle() and each.is_connected()]
        for holder in idle[: max(0, count)]:
            holder.terminate()


def _ended(raw: Any) -> bool:
    """asyncpg's proxy lets go of a connection that was ended, and then raises whatever it is asked."""
    return raw._con is None or raw._con.is_closed()


def _end(raw: Any) -> None:
    if not _ended(raw):
        raw.terminate()


async def _keep(raw: Any) -> None:
    """Nothing to reset."""
