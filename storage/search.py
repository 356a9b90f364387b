"""The search index: filling it from what changed, and finding candidates in it.

What is found here has all the tokens asked for; whether it matches is decided above, on the message itself.
Knows no query language and no ranking (`storage.words`, `events.search`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
import sqlalchemy as sa

from storage.database import Connection, Database, Row
from storage.listing import whose
from storage.records import MessageRecord
from storage.rows import MESSAGE
from storage.statement import Statement, to_json
from storage.tables import messages, search_marks, sessions
from storage.words import tokens

#: Sessions that are named in the index query itself. For more of them the index is asked for the words
#: alone, and what it finds is compared with the sessions.
NAMED = 500
#: The part of all sessions from which on they are not named, either.
MUCH = 0.05
#: Sessions of one caller that are searched, those last active first.
SEEN = 100_000
#: Characters that one step of indexing takes apart: some milliseconds.
LETTERS = 64 * 1024
#: Limit in seconds of one query: a search is worth less than what else the database has to do.
LIMIT = 5.0

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
_SIZES = """
SELECT relname, reltuples FROM pg_class WHERE oid IN ('chat_search'::regclass, 'chat_sessions'::regclass)
"""
#: A row that comes out of the index, is fetched and sorted, in rows that are walked past.
COST_OF_SORTING = 2.0
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
def _sessions_of(kind: str) -> Statement:
    return Statement(
        sa.select(sessions.c.id, sessions.c.session_id)
        .where(_in_scope(kind), sessions.c.status != "deleted")
        .order_by(sessions.c.last_activity.desc())
        .limit(SEEN)
    )


@lru_cache
def _behind(kind: str) -> Statement:
    return Statement(
        sa.select(sessions.c.session_id)
        .outerjoin(search_marks, search_marks.c.id == sessions.c.id)
        .where(_in_scope(kind), sessions.c.last_revision > sa.func.coalesce(search_marks.c.revision, 0))
        .order_by(sessions.c.last_activity.desc())
        .limit(sa.bindparam("limit", type_=sa.Integer))
    )


@lru_cache
def _candidates(dialect: str, named: bool, walk: bool) -> Statement:
    """`named`: the sessions are compared for each candidate; not where the index query itself names them, or
    all may be seen. `walk`: down the numbers until there are enough; else all that the index has for the
    words, sorted (which the sum tells PostgreSQL)."""
    key = "id" if dialect == "postgresql" else "rowid"
    index = sa.table("chat_search", sa.column(key, sa.BigInteger), sa.column("session", sa.BigInteger))
    number = index.c[key]
    operator = "tokens @@ CAST(:query AS tsquery)" if dialect == "postgresql" else "chat_search MATCH :query"
    matching = sa.text(operator).bindparams(sa.bindparam("query", type_=sa.Text))
    found = (
        sa.select(number.label("number"))
        .where(matching, number <= sa.bindparam("up_to", type_=sa.BigInteger))
        .order_by(number.desc() if walk else (number + sa.literal_column("0")).desc())
        .limit(sa.bindparam("limit", type_=sa.Integer))
    )
    if named:
        among_them = (
            "session = ANY (CAST(:named AS bigint[]))"
            if dialect == "postgresql"
            else "session IN (SELECT value FROM json_each(:named))"
        )
        found = found.where(sa.text(among_them).bindparams(sa.bindparam("named", type_=sa.types.NullType())))
    # The messages only of those that remain: left to itself, the planner may read all messages of all the
    # sessions instead.
    newest = found.subquery("newest")
    return Statement(
        sa.select(newest.c.number, *MESSAGE)
        .select_from(
            newest.outerjoin(
                messages,
                sa.and_(
                    messages.c.id == newest.c.number,
                    messages.c.deleted_at.is_(None),
                    messages.c.status != "streaming",
                ),
            )
        )
        .order_by(newest.c.number.desc())
    )


class Search:
    """Every method raises Unavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # --- filling it

    async def behind(self, scope: Scope, limit: int) -> list[str]:
        """Sessions with changes that the index does not have yet, those last active first."""
        rows = await self._db.fetch_all(_behind(scope.kind), limit=limit, **scope.values())
        return [row[0] for row in rows]

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
                    put.append((number, place, revision, {*words, f"#{place}"}))
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
            rows = [(one[0], one[1], " ".join(map(_ascii, one[3]))) for one in put]
            sql = "INSERT INTO chat_search (rowid, session, tokens) VALUES (?, ?, ?)"
            await (await raw.executemany(sql, rows)).close()

    # --- asking it

    async def candidates(
        self, scope: Scope, having: Iterable[str], lacking: Iterable[str], up_to: int, limit: int
    ) -> list[tuple[int, MessageRecord | None]]:
        """The newest messages with all tokens of `having` and none of `lacking`, newest first, each with
        its number, which is not above `up_to`.

        None stands for a message that was deleted since it was indexed.
        """
        postgresql = self._db.dialect == "postgresql"
        # A transaction for its setting; on SQLite it would wait for the writer.
        lease = self._db.transaction if postgresql else self._db.connection
        async with lease(limit=LIMIT) as connection:
            allowed: set[str] | None = None
            numbers: list[int] = []
            if scope.kind != "everything":
                rows = await connection.fetch_all(_sessions_of(scope.kind), **scope.values())
                if not rows:
                    return []
                numbers, allowed = [row[0] for row in rows], {row[1] for row in rows}
            # Whether the index query names the sessions.
            few = allowed is not None and len(numbers) <= NAMED
            walk = True
            named: Any = None
            if postgresql:
                # The plan depends on how common the words are: never one plan for all of them.
                await connection.command("SET LOCAL plan_cache_mode = force_custom_plan")
                sizes: dict[str, float] = dict(await connection.raw.fetch(_SIZES))
                seen = 1.0 if allowed is None else len(numbers) / max(1.0, sizes["chat_sessions"])
                # Those who see much of it all gain nothing by saying which.
                few = few and seen < MUCH
                query = _tsquery(having, lacking, numbers if few else None)
                walk = not few and await _walk(connection, query, sizes["chat_search"], seen, limit)
                if walk:
                    await connection.command("SET LOCAL enable_bitmapscan = off")
                named = numbers
            else:
                query = _fts5(having, lacking, numbers if few else None)
                named = to_json(numbers)
            more = {"named": named} if allowed is not None and not few else {}
            found = await connection.fetch_all(
                _candidates(self._db.dialect, bool(more), walk),
                query=query,
                up_to=up_to,
                limit=limit,
                **more,
            )
        # Whose it is, is told by the message itself: the index could hold a coincidence.
        return [
            (number, MessageRecord(*row) if row[0] and (allowed is None or row[0] in allowed) else None)
            for number, *row in found
        ]


async def _walk(connection: Connection, query: str, rows: float, seen: float, limit: int) -> bool:
    """Whether PostgreSQL finds `limit` messages sooner among the newest than among all that have the words.

    `seen`: the part of all sessions that the caller sees. The planner knows how common the words are, but
    takes reading a row's words for cheaper than it is, and does not know whose sessions are how large.
    """
    # Tokens are letters and digits, so the quotation ends where it should.
    plan = await connection.raw.fetchval(
        f"EXPLAIN (FORMAT JSON) SELECT FROM chat_search WHERE tokens @@ $q${query}$q$::tsquery"
    )
    having = max(1.0, float(orjson.loads(plan)[0]["Plan"]["Plan Rows"]))
    walked = limit * max(1.0, rows) / max(1.0, having * min(1.0, seen))
    return walked < COST_OF_SORTING * having


def _tsquery(having: Iterable[str], lacking: Iterable[str], numbers: Sequence[int] | None) -> str:
    """PostgreSQL's text form. Tokens are letters and digits: nothing in them needs escaping."""

    parts = [f"'{token}'" for token in having]
    if numbers is not None:
        parts.append("(" + " | ".join(f"'#{number}'" for number in numbers) + ")")
    return " & ".join([*parts, *(f"!'{token}'" for token in lacking)])


def _fts5(having: Iterable[str], lacking: Iterable[str], numbers: Sequence[int] | None) -> str:
    query = " AND ".join(f'"{_ascii(token)}"' for token in having)
    if numbers is not None:
        query = f"({query}) AND (" + " OR ".join(f'"{_ascii(f"#{number}")}"' for number in numbers) + ")"
    for token in lacking:
        query = f'({query}) NOT "{_ascii(token)}"'
    return query


def _ascii(token: str) -> str:
    """SQLite's own splitting into words shall not touch a token."""
    return token if token.isascii() and token.isalnum() else "x" + token.encode().hex()
