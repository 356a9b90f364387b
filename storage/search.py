"""The search index: filling it from what changed, and whose messages are looked for in it.

Knows no query language and no ranking (`storage.words`, `events.search`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from storage.candidates import LIMIT, Candidates, Seen, ascii_token, session_token
from storage.database import Connection, Database, Row
from storage.listing import whose
from storage.statement import Statement
from storage.tables import search_marks, sessions
from storage.words import tokens

#: Sessions of one caller that are searched, those last active first.
SEEN = 100_000
#: Characters that one step of indexing takes apart: some milliseconds.
LETTERS = 64 * 1024

_PENDING_POSTGRESQL = """
SELECT s.session_id, s.id, m.id, m.revision, m.content, m.deleted_at IS NULL AND m.status <> 'streaming'
FROM chat_sessions s
LEFT JOIN search_marks k ON k.id = s.id
CROSS JOIN LATERAL (
    SELECT id, revision, content, deleted_at, status FROM chat_messages
    WHERE session_id = s.session_id AND revision > coalesce(k.revision, 0) ORDER BY revision LIMIT $2
) m
WHERE s.session_id = ANY ($1::text[]) ORDER BY s.session_id, m.revision
"""
_PENDING_SQLITE = """
SELECT s.session_id, s.id, m.id, m.revision, m.content, m.deleted_at IS NULL AND m.status <> 'streaming'
FROM chat_sessions s JOIN chat_messages m ON m.session_id = s.session_id
WHERE s.session_id = ?
    AND m.revision > coalesce((SELECT revision FROM search_marks WHERE id = s.id), 0)
ORDER BY m.revision LIMIT ?
"""
_PUT_POSTGRESQL = """
INSERT INTO chat_search (id, session, revision, tokens)
SELECT id, session, revision, array_to_tsvector(string_to_array(tokens, ' '))
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) AS n (id, session, revision, tokens)
ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, tokens = excluded.tokens
WHERE chat_search.revision < excluded.revision
"""
_DROP_POSTGRESQL = "DELETE FROM chat_search WHERE id = ANY ($1::bigint[])"
_MARK = Statement(
    sa.text(
        "INSERT INTO search_marks (id, revision) VALUES (:id, :revision) ON CONFLICT (id) "
        "DO UPDATE SET revision = excluded.revision WHERE search_marks.revision < excluded.revision"
    ).bindparams(sa.bindparam("id", type_=sa.BigInteger), sa.bindparam("revision", type_=sa.BigInteger))
)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose messages: as `Sessions.list_for` has it. `only` narrows it to one session."""

    caller: str
    everything: bool = False
    as_agent: int | None = None
    session_ids: Sequence[str] | None = None
    only: str | None = None

    @property
    def kind(self) -> str:
        if self.only is not None:
            return "only"
        if self.session_ids is not None:
            return "named"
        if self.as_agent is not None:
            return "agent"
        return "everything" if self.everything else "mine"

    def values(self) -> dict[str, Any]:
        return {
            "caller": self.caller,
            "as_agent": self.as_agent,
            "session_ids": list(self.session_ids or ()),
            "only": self.only,
        }


def _in_scope(kind: str) -> sa.ColumnElement[bool]:
    if kind == "only":
        return sessions.c.session_id == sa.bindparam("only", type_=sa.String)
    return whose(kind)


@lru_cache
def _sessions_of(kind: str, dialect: str, newest: bool) -> Statement:
    """One row with everything: thousands of rows would cost more than finding them. `newest`: in order, which
    is needed only where there are more than are searched."""
    behind = sessions.c.last_revision > sa.func.coalesce(search_marks.c.revision, 0)
    theirs = (
        sa.select(sessions.c.id, sessions.c.session_id, sessions.c.last_seq, behind.label("behind"))
        .outerjoin(search_marks, search_marks.c.id == sessions.c.id)
        .where(_in_scope(kind), sessions.c.status != "deleted")
        .limit(sa.bindparam("limit", type_=sa.Integer))
    )
    if newest:
        theirs = theirs.order_by(sessions.c.last_activity.desc())
    each = theirs.subquery("theirs")

    def listed(column: sa.ColumnElement[Any]) -> sa.FunctionElement[Any]:
        if dialect == "postgresql":
            return sa.func.array_agg(column)
        return sa.func.json_group_array(column, type_=sa.JSON)

    return Statement(
        sa.select(
            sa.func.count(),
            # As text it goes back as it is, without becoming numbers in between.
            sa.cast(listed(each.c.id), sa.Text),
            listed(each.c.session_id),
            listed(each.c.session_id).filter(each.c.behind),
            sa.cast(sa.func.sum(each.c.last_seq), sa.BigInteger),
        )
    )


_BEHIND = Statement(
    sa.select(sessions.c.session_id)
    .outerjoin(search_marks, search_marks.c.id == sessions.c.id)
    .where(sessions.c.last_revision > sa.func.coalesce(search_marks.c.revision, 0))
    .order_by(sessions.c.last_activity.desc())
    .limit(sa.bindparam("limit", type_=sa.Integer))
)


class Search:
    """Every method raises Unavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # --- filling it

    async def behind(self, limit: int) -> list[str]:
        """Sessions with changes that the index does not have yet, those last active first."""
        return [row[0] for row in await self._db.fetch_all(_BEHIND, limit=limit)]

    async def index(self, session_ids: Iterable[str], limit: int) -> tuple[int, set[str]]:
        """Take the next changes of these sessions into the index, about `limit`; how many there were, and
        the sessions that may have more.

        Any node may, at any time: what another one was faster with is left as it is.
        """
        # In order: two nodes that meet take their locks the same way round.
        ids = sorted(set(session_ids))
        each = max(4, 2 * limit // max(1, len(ids)))
        put: list[tuple[int, int, int, set[str]]] = []
        drop: list[int] = []
        marks: dict[int, int] = {}
        more: set[str] = set()
        counted: Counter[str] = Counter()
        letters = 0
        async with self._db.transaction(limit=30) as connection:
            for session_id, place, number, revision, content, found in await self._pending(
                connection, ids, each
            ):
                if letters >= LETTERS:
                    more.add(session_id)
                    continue
                letters += len(content)
                counted[session_id] += 1
                marks[place] = revision
                words = tokens(content) if found else set()
                if words:
                    put.append((number, place, revision, words))
                else:
                    drop.append(number)
            if marks:
                await self._write(connection, put, drop)
                await connection.execute_many(
                    _MARK, [{"id": place, "revision": revision} for place, revision in marks.items()]
                )
        return counted.total(), more | {name for name, count in counted.items() if count >= each}

    async def _pending(self, connection: Connection, ids: Sequence[str], each: int) -> Sequence[Row]:
        """At most `each` changes of each session, in order of revision."""
        if self._db.dialect == "postgresql":
            rows: Sequence[Row] = await connection.raw.fetch(_PENDING_POSTGRESQL, ids, each)
            return rows
        found: list[Row] = []
        for session_id in ids:
            found += await connection.raw.execute_fetchall(_PENDING_SQLITE, (session_id, each))
        return found

    async def _write(
        self, connection: Connection, put: Sequence[tuple[int, int, int, set[str]]], drop: Sequence[int]
    ) -> None:
        raw = connection.raw
        if self._db.dialect == "postgresql":
            if put:
                columns = [[one[column] for one in put] for column in range(3)]
                await raw.execute(_PUT_POSTGRESQL, *columns, [" ".join(one[3]) for one in put])
            if drop:
                await raw.execute(_DROP_POSTGRESQL, drop)
            return
        gone = [(number,) for number in (*drop, *(one[0] for one in put))]
        await (await raw.executemany("DELETE FROM chat_search WHERE rowid = ?", gone)).close()
        if put:
            rows = [
                (number, place, " ".join([session_token(place), *map(ascii_token, words)]))
                for number, place, _, words in put
            ]
            sql = "INSERT INTO chat_search (rowid, session, tokens) VALUES (?, ?, ?)"
            await (await raw.executemany(sql, rows)).close()

    # --- asking it

    async def find(self, scope: Scope, having: Iterable[str], lacking: Iterable[str]) -> Candidates:
        """The messages of these sessions with all tokens of `having` and none of `lacking`."""
        seen = None if scope.kind == "everything" else await self._seen(scope)
        return Candidates(self._db, having, lacking, seen)

    async def _seen(self, scope: Scope) -> Seen:
        postgresql = self._db.dialect == "postgresql"
        # A transaction for its setting; on SQLite it would wait for the writer.
        lease = self._db.transaction if postgresql else self._db.connection
        async with lease(limit=LIMIT) as connection:
            if postgresql:
                # One caller has three sessions, another one thousands: never one plan for both.
                await connection.command("SET LOCAL plan_cache_mode = force_custom_plan")
            for newest, limit in ((False, SEEN + 1), (True, SEEN)):
                listing = _sessions_of(scope.kind, self._db.dialect, newest)
                row = await connection.fetch_one(listing, limit=limit, **scope.values())
                assert row is not None
                count, numbers, names, behind, theirs = row
                if count <= SEEN:
                    break
        return Seen(count, numbers or "", frozenset(names or ()), theirs or 0, behind or ())
