"""A database in this process: our own statements on SQLite, in virtual time, one transaction at a time."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any

import sqlalchemy as sa

from migrations.revisions import revisions
from storage.database import Database, SqlConnection
from storage.failures import DRIVER_ERRORS, translate
from storage.lineage import following
from storage.tables import metadata
from tests.model.loop import Process, current_process

#: Seconds until a database that does not answer counts as away (`storage.database.LIMIT`).
LIMIT = 5.0


def _template() -> sqlite3.Connection:
    """All tables, and what a migrated database has of its own."""
    made = sqlite3.connect(":memory:", isolation_level=None)
    engine = sa.create_engine("sqlite://", creator=lambda: made, poolclass=sa.pool.StaticPool)
    metadata.create_all(engine)
    made.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    made.execute("INSERT INTO alembic_version VALUES (?)", (revisions()[-1],))
    return made


TEMPLATE = _template()


class Sql:
    """What all nodes share. `latency` in seconds for each statement."""

    def __init__(self, latency: Callable[[], float]) -> None:
        self.latency = latency
        self.raw = sqlite3.connect(":memory:", isolation_level=None)
        TEMPLATE.backup(self.raw)
        self.raw.execute("PRAGMA foreign_keys = ON")
        self.up = True
        self.refusing = False  # while it is down: else it is silent
        self.outages = 0
        self.holder: tuple[Process | None, object] | None = None  # of the transaction under way
        self._changed = asyncio.Event()
        #: Rows of questions, for as long as nothing is written: nodes at rest ask the same all the time.
        self._answers: dict[tuple[str, tuple[Any, ...]], list[Any]] = {}
        self._answered_at = -1  # so many changes

    # --- faults

    def down(self, refusing: bool = False) -> None:
        """Statements are answered no more; a transaction under way is rolled back, and the answer to a COMMIT
        that is on its way is lost."""
        self.up, self.refusing = False, refusing
        self.outages += 1
        self._give_up()

    def recover(self) -> None:
        self.up = True
        self._wake()

    def forget(self, process: Process) -> None:
        """A node was killed: its transaction is rolled back."""
        if self.holder is not None and self.holder[0] is process:
            self._give_up()

    def saved(self) -> sqlite3.Connection:
        """What is committed; a transaction under way is given up for it."""
        self._give_up()
        copy = sqlite3.connect(":memory:", isolation_level=None)
        self.raw.backup(copy)
        return copy

    def goes_back(self, saved: sqlite3.Connection) -> None:
        self._give_up()
        saved.backup(self.raw)
        self._answers.clear()

    def lineage(self) -> str | None:
        """None before the first node has begun one."""
        row = self.raw.execute("SELECT name FROM lineage").fetchone()
        return row[0] if row is not None else None

    def begin_lineage(self) -> None:
        """What `python -m server restored` does, and what PostgreSQL's timeline says by itself."""
        self.raw.execute("UPDATE lineage SET name = ?", (following(self.lineage() or ""),))

    def _give_up(self) -> None:
        if self.holder is not None:
            self.raw.execute("ROLLBACK")
            self._answers.clear()
            self.holder = None
            self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # --- for a node

    async def take(self, key: object) -> None:
        """The one transaction's place."""
        while self.holder is not None or not self.up:
            self._refuse()
            await self._changed.wait()
        self.holder = (current_process(), key)
        self.raw.execute("BEGIN")

    def end(self, key: object, how: str) -> None:
        if self.holder is None or self.holder[1] is not key:
            raise _given_up()
        self.raw.execute(how)
        if how == "ROLLBACK":
            self._answers.clear()
        self.holder = None
        self._wake()

    async def run(self, key: object | None, call: Callable[[], Any]) -> Any:
        """One statement: of the transaction `key`, or by itself, when no other is under way."""
        await asyncio.sleep(self.latency())
        if key is None:
            while self.holder is not None or not self.up:
                self._refuse()
                await self._changed.wait()
        elif self.holder is None or self.holder[1] is not key:
            raise _given_up()
        return call()

    def rows(self, statement: str, arguments: Sequence[Any]) -> list[Any]:
        """What the statement answers: from before, where nothing was written since."""
        if self._answered_at != self.raw.total_changes:
            self._answered_at = self.raw.total_changes
            self._answers.clear()
        if not statement.startswith("SELECT"):
            return self.raw.execute(statement, arguments).fetchall()
        asked = statement, tuple(arguments)
        rows = self._answers.get(asked)
        if rows is None:
            rows = self._answers[asked] = self.raw.execute(statement, arguments).fetchall()
        return rows

    def _refuse(self) -> None:
        if not self.up and self.refusing:
            raise ConnectionRefusedError

    # --- for the verdict

    def last_revision(self, room: str) -> int:
        return int(self._one("SELECT last_revision FROM chat_sessions WHERE session_id = ?", room) or 0)

    def messages(self, room: str) -> dict[str, tuple[dict[str, Any], str, bool]]:
        """message id -> (content and parts, status, deleted)."""
        rows = self.raw.execute(
            "SELECT message_id, content, parts, status, deleted_at FROM chat_messages WHERE session_id = ?",
            (room,),
        )
        found = {}
        for message_id, content, parts, status, deleted_at in rows:
            made = {"content": content, "parts": json.loads(parts)} if parts else {"content": content}
            found[message_id] = made, status, deleted_at is not None
        return found

    def has_open_streams(self) -> bool:
        return self._one("SELECT 1 FROM chat_messages WHERE status = 'streaming' LIMIT 1") is not None

    def read_marks(self, room: str) -> dict[str, int]:
        rows = self.raw.execute(
            "SELECT user_id, read_seq FROM chat_participants WHERE session_id = ? AND read_seq > 0", (room,)
        )
        return dict(rows)

    def by_client_key(self, user: str, key: str) -> list[str]:
        rows = self.raw.execute(
            "SELECT message_id FROM chat_messages WHERE sender_id = ? AND client_message_id = ?", (user, key)
        )
        return [each[0] for each in rows]

    def edit_number(self, message_id: str) -> int | None:
        """Of the edit that a message shows; 0 where it was not edited, None where it is gone."""
        found = self.raw.execute(
            "SELECT content, deleted_at FROM chat_messages WHERE message_id = ?", (message_id,)
        ).fetchone()
        if found is None or found[1] is not None:
            return None
        return int(found[0].split()[1]) if found[0].startswith("edit ") else 0

    def times_ascend(self, room: str) -> bool:
        rows = self.raw.execute(
            "SELECT created_at FROM chat_messages WHERE session_id = ? ORDER BY seq", (room,)
        ).fetchall()
        return rows == sorted(rows)

    def _one(self, statement: str, *arguments: Any) -> Any:
        row = self.raw.execute(statement, arguments).fetchone()
        return row[0] if row else None


def _given_up() -> ConnectionResetError:
    return ConnectionResetError("the transaction was given up")


class Cursor:
    def __init__(self, rowcount: int) -> None:
        self.rowcount = rowcount

    async def close(self) -> None: ...


class Raw:
    """`aiosqlite.Connection`, as far as `storage` uses it."""

    def __init__(self, sql: Sql, key: object | None) -> None:
        self._sql, self._key = sql, key

    async def execute(self, statement: str, arguments: Any = ()) -> Cursor:
        found = await self._sql.run(self._key, lambda: self._sql.raw.execute(statement, arguments))
        return Cursor(found.rowcount)

    async def executemany(self, statement: str, arguments: Iterable[Any]) -> Cursor:
        rows = list(arguments)
        found = await self._sql.run(self._key, lambda: self._sql.raw.executemany(statement, rows))
        return Cursor(found.rowcount)

    async def execute_fetchall(self, statement: str, arguments: Any = ()) -> list[Any]:
        return await self._sql.run(  # type: ignore[no-any-return]
            self._key, partial(self._sql.rows, statement, arguments)
        )


class SimulatedDatabase(Database):
    """One node's way to the shared database."""

    def __init__(self, sql: Sql) -> None:
        super().__init__("sqlite:///simulated", limit=LIMIT)
        self._sql = sql

    async def connect(self) -> None: ...

    async def disconnect(self) -> None: ...

    def usage(self) -> dict[str, int]:
        return {"idle": 1, "used": 0}

    def connection(  # type: ignore[override]
        self, *, limit: float | None = None, **_: bool
    ) -> AbstractAsyncContextManager[SqlConnection]:
        return _Leased(limit or self.limit, SqlConnection(Raw(self._sql, None), "sqlite"))

    @asynccontextmanager
    async def transaction(self, *, limit: float | None = None, **_: bool) -> AsyncIterator[SqlConnection]:
        key = object()
        async with _Leased(limit or self.limit, SqlConnection(Raw(self._sql, key), "sqlite")) as connection:
            await self._sql.take(key)
            try:
                yield connection
                await asyncio.sleep(self._sql.latency())
            except BaseException:
                if self._sql.holder is not None and self._sql.holder[1] is key:
                    self._sql.end(key, "ROLLBACK")
                raise
            self._sql.end(key, "COMMIT")
            outages = self._sql.outages
            await asyncio.sleep(self._sql.latency())
            if self._sql.outages != outages:
                raise ConnectionResetError


class _Leased(AbstractAsyncContextManager[SqlConnection]):
    """For `limit` seconds; what a driver raises is told as the storage does. A schedule enters thousands of
    these: a generator would take most of their time."""

    __slots__ = ("_connection", "_timeout")

    def __init__(self, limit: float, connection: SqlConnection) -> None:
        self._timeout, self._connection = asyncio.timeout(limit), connection

    async def __aenter__(self) -> SqlConnection:
        await self._timeout.__aenter__()
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise translate(late) from late
        if isinstance(error, DRIVER_ERRORS):
            raise translate(error) from error
