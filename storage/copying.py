"""A whole installation's rows from one database to another: resumable, verified, never half taken for whole.

While a copy is under way its target holds a row that says so, with how far it has come; each batch and its
mark are one transaction. The row goes when all tables have equal counts and checksums.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson
import sqlalchemy as sa

from storage.database import Database, Row, SqlConnection
from storage.errors import StorageError
from storage.statement import Statement
from storage.tables import agents, held, lineage, metadata, search_marks, tallies, unfinished_copies

#: The search index and the tallies are made anew from the messages.
_OWN = (search_marks, tallies, unfinished_copies, held, lineage)
TABLES = [table for table in metadata.sorted_tables if table not in _OWN]
#: Rows in one transaction.
BATCH = 1000
#: Seconds for one batch.
LIMIT = 60.0

_MARK = Statement(sa.select(unfinished_copies.c.source, unfinished_copies.c.progress))
_BEGIN = Statement(
    unfinished_copies.insert().values(
        id=sa.literal(1),
        source=sa.bindparam("source"),
        started_at=sa.bindparam("started_at"),
        progress=sa.bindparam("progress"),
    )
)
_ADVANCE = Statement(unfinished_copies.update().values(progress=sa.bindparam("progress")))
_END = Statement(unfinished_copies.delete())
#: A fresh database has agent 1 already; the source's row replaces it, changed or not.
_CLEAR = Statement(agents.delete())

#: (table, rows copied or checked so far)
Progress = Callable[[str, int], None]


class CannotCopy(Exception):
    """The copy cannot begin, go on, or be taken for whole; the text says why and what to do."""


async def unfinished(db: Database) -> bool:
    """Whether the database is the target of a copy that is not done: it must not be served."""
    return await db.fetch_one(_MARK) is not None


async def count(db: Database, table: sa.Table) -> int:
    row = await db.fetch_one(_count(table))
    return int(row[0]) if row else 0


class Copy:
    """`name` identifies the source: a copy is gone on with from the same one only."""

    def __init__(self, source: Database, target: Database, name: str, progress: Progress) -> None:
        self._source, self._target, self._progress = source, target, progress
        self._name = hashlib.sha256(name.encode()).hexdigest()
        self._done: dict[str, list[Any] | bool] = {}

    async def run(self) -> dict[str, tuple[int, str]]:
        """(rows, checksum) by table. Raises CannotCopy, StorageError; on StorageUnavailable run it again."""
        if await unfinished(self._source):
            raise CannotCopy("the source is itself an unfinished copy")
        await self._begin()
        for table in TABLES:
            await self._copy(table)
        found = await self._verify()
        await self._finish()
        return found

    async def _begin(self) -> None:
        mark = await self._target.fetch_one(_MARK)
        if mark is not None:
            if mark[0] != self._name:
                raise CannotCopy("the target is being filled from another database; give an empty one")
            self._done = dict(mark[1])
            return
        for table in TABLES:
            if table is not agents and await count(self._target, table):
                raise CannotCopy(f"the target is not empty: {table.name} has rows")
        async with self._target.transaction() as connection:
            values = {"source": self._name, "started_at": datetime.now(UTC), "progress": {}}
            await connection.execute(_BEGIN, **values)
            await connection.execute(_CLEAR)

    async def _copy(self, table: sa.Table) -> None:
        name = str(table.name)  # SQLAlchemy's own kind of text is no key for JSON
        after = self._done.get(name)
        copied = await count(self._target, table) if after is not None else 0
        self._progress(name, copied)
        if after is True:
            return
        put = _insert(table)
        names = [column.name for column in table.columns]
        async for batch in _batches(self._source, table, after if isinstance(after, list) else None):
            rows = [dict(zip(names, row, strict=True)) for row in batch]
            self._done[name] = [rows[-1][column.name] for column in table.primary_key]
            async with self._target.transaction(limit=LIMIT) as connection:
                await connection.execute_many(put, rows)
                await connection.execute(_ADVANCE, progress=self._done)
            copied += len(rows)
            self._progress(name, copied)
        self._done[name] = True
        await self._target.execute(_ADVANCE, progress=self._done)

    async def _verify(self) -> dict[str, tuple[int, str]]:
        found = {}
        for table in TABLES:
            mine, theirs = await asyncio.gather(checksum(self._source, table), checksum(self._target, table))
            if mine != theirs:
                raise CannotCopy(
                    f"{table.name} differs: {mine[0]} rows here, {theirs[0]} there, checksums {mine[1]} and "
                    f"{theirs[1]}. Was the source changed meanwhile? Stop what serves it, and "
                    "begin anew with an empty target"
                )
            found[table.name] = mine
        return found

    async def _finish(self) -> None:
        async with self._target.transaction() as connection:
            if self._target.dialect == "postgresql":
                for table in TABLES:
                    await _set_sequence(connection, table)
            await connection.execute(_END)


async def _set_sequence(connection: SqlConnection, table: sa.Table) -> None:
    """The next id of PostgreSQL's own follows the highest that was copied."""
    if "id" in table.c:
        # Of the agents, 1 and 2 are taken from the start.
        least = 2 if table is agents else 1
        await connection.raw.execute(
            f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), "
            f"greatest({least}, (SELECT max(id) FROM {table.name})), "
            f"{'true' if table is agents else f'EXISTS (SELECT 1 FROM {table.name})'})"
        )


async def checksum(db: Database, table: sa.Table) -> tuple[int, str]:
    """How many rows, and the sum of their digests: the same in any order, and in either database."""
    rows, total = 0, 0
    async for batch in _batches(db, table, None):
        rows += len(batch)
        for row in batch:
            total += int.from_bytes(hashlib.blake2b(canonical(row), digest_size=16).digest())
    return rows, f"{total % (1 << 128):032x}"


def canonical(row: Row) -> bytes:
    """A row as bytes that are equal where the values are: JSON knows 1.0 and 1 as one number, and no order of
    keys; PostgreSQL makes use of both."""
    return orjson.dumps([_plain(value) for value in row], option=orjson.OPT_SORT_KEYS)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value


async def _batches(
    db: Database, table: sa.Table, after: Sequence[Any] | None
) -> AsyncIterator[Sequence[Row]]:
    """All rows above a key, in order of keys, without holding a connection in between."""
    names = [column.name for column in table.columns]
    keys = [names.index(column.name) for column in table.primary_key]
    while True:
        values = {f"key{place}": value for place, value in enumerate(after or ())}
        async with db.connection(limit=LIMIT) as connection:
            batch = await connection.fetch_all(_page(table, after is not None), **values)
        if batch:
            yield batch
        if len(batch) < BATCH:
            return
        after = [batch[-1][key] for key in keys]


@lru_cache
def _page(table: sa.Table, resumed: bool) -> Statement:
    key = list(table.primary_key)
    page = sa.select(*table.columns).order_by(*key).limit(BATCH)
    if resumed:
        bounds = [sa.bindparam(f"key{place}", type_=column.type) for place, column in enumerate(key)]
        page = page.where(sa.tuple_(*key) > sa.tuple_(*bounds) if len(key) > 1 else key[0] > bounds[0])
    return Statement(page)


@lru_cache
def _insert(table: sa.Table) -> Statement:
    return Statement(
        table.insert().values(
            {column.name: sa.bindparam(column.name, type_=column.type) for column in table.c}
        )
    )


@lru_cache
def _count(table: sa.Table) -> Statement:
    return Statement(sa.select(sa.func.count()).select_from(table))


async def ensure_whole(db: Database) -> None:
    """Raises StorageError if this database must not be served yet."""
    if await unfinished(db):
        raise StorageError("this database is an unfinished copy: run copy-database again to complete it")
