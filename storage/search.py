"""The search index: filling it from what changed, and whose messages are looked for in it.

A session's title stands in it under its number below zero. Knows no query language and no ranking
(`storage.words`, `events.search`).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from storage.candidates import LIMIT, SEARCHED, Candidates, Seen, ascii_token, session_token
from storage.database import Database, Row, SqlConnection
from storage.listing import kind_of, whose
from storage.people import People
from storage.recency import portions
from storage.statement import Statement, among, to_json
from storage.tables import search_marks, sessions
from storage.titles import Title, newest
from storage.turns import Turns, Work
from storage.words import tokenizing

#: Sessions of one caller that are searched, those last active first.
SEEN = 100_000
#: Sessions whose titles come with them. Of more the index is asked.
FEW = 500
#: Bytes of messages that one step of indexing reads and takes apart; the last one may go beyond.
BYTES = 64 * 1024
#: The same of the newest messages of a session that was loaded.
NEWEST_BYTES = 8 * BYTES
#: Tokens that are written down together, and what each costs, compared with a character that is read.
TOGETHER, WRITTEN = 512, 4

#: Rows beyond the bound in bytes come without their content.
_PENDING_POSTGRESQL = f"""
SELECT session_id, place, mark, id, revision,
    CASE WHEN total - size < $3 THEN {SEARCHED["postgresql"].format(of="summed")} END, found
FROM (
    SELECT *, sum(size) OVER (ORDER BY session_id, revision ROWS UNBOUNDED PRECEDING) AS total FROM (
        SELECT s.session_id, s.id AS place, coalesce(k.reach, 0) AS mark, m.*,
            octet_length(m.content) + coalesce(pg_column_size(m.parts), 0) AS size
        FROM chat_sessions s
        LEFT JOIN search_marks k ON k.id = s.id
        CROSS JOIN LATERAL (
            SELECT id, message_id, message_type, revision, content, parts,
                deleted_at IS NULL AND status <> 'streaming' AS found
            FROM chat_messages n
            WHERE session_id = s.session_id AND revision > coalesce(k.reach, 0) ORDER BY revision LIMIT $2
        ) m
        WHERE s.session_id = ANY ($1::text[])
    ) pending
) summed ORDER BY session_id, revision
"""
#: A step at a time: SQLite reads a text to know its size, and no more texts are read than are taken. Without
#: CROSS JOIN, which keeps its order, SQLite 3.46 takes all the steps anew for each message of the session.
_PENDING_SQLITE = f"""
WITH RECURSIVE steps (place, mark, count, revision, size, before) AS (
    SELECT s.id, coalesce(k.reach, 0), 0, coalesce(k.reach, 0), 0, 0
    FROM chat_sessions s LEFT JOIN search_marks k ON k.id = s.id WHERE s.session_id = :session
    UNION ALL
    SELECT place, mark, count + 1, m.revision,
        CASE WHEN before + size < :size
            THEN length(CAST(m.content AS BLOB)) + coalesce(length(CAST(m.parts AS BLOB)), 0) ELSE 0 END,
        before + size
    FROM steps CROSS JOIN chat_messages m ON m.session_id = :session AND m.revision = (
        SELECT min(n.revision) FROM chat_messages n
        WHERE n.session_id = :session AND n.revision > steps.revision
    )
    WHERE count < :count AND (count = 0 OR before < :size)
)
SELECT m.session_id, place, mark, m.id, m.revision,
    CASE WHEN before < :size THEN {SEARCHED["sqlite"].format(of="m")} END,
    m.deleted_at IS NULL AND m.status <> 'streaming'
FROM steps CROSS JOIN chat_messages m ON m.session_id = :session AND m.revision = steps.revision
WHERE count > 0 ORDER BY m.revision
"""
#: The newest messages that came after a session's mark, as many as fill so many bytes; and the highest number
#: of those before them, which stands among the next few: a batch gives out its numbers in any order.
_NEWEST = {
    dialect: Statement(
        sa.text(f"""
SELECT m.id, m.revision, m.seq, {SEARCHED[dialect].format(of="m")},
    m.deleted_at IS NULL AND m.status <> 'streaming'
FROM (
    SELECT id, sum(size) OVER (ORDER BY seq DESC) - size AS preceding FROM (
        SELECT id, seq, {size} AS size FROM chat_messages
        WHERE session_id = :session AND seq > :mark ORDER BY seq DESC LIMIT :count
    ) newest
) sized JOIN chat_messages m ON m.id = sized.id
WHERE preceding < :size ORDER BY m.seq DESC
""").bindparams(
            sa.bindparam("session", type_=sa.String),
            sa.bindparam("mark", type_=sa.BigInteger),
            sa.bindparam("count", type_=sa.Integer),
            sa.bindparam("size", type_=sa.BigInteger),
        )
    )
    for dialect, size in {
        "postgresql": "octet_length(content) + coalesce(pg_column_size(parts), 0)",
        "sqlite": "length(CAST(content AS BLOB)) + coalesce(length(CAST(parts AS BLOB)), 0)",
    }.items()
}
_BEFORE = Statement(
    sa.text("""
SELECT max(id) FROM (
    SELECT id FROM chat_messages WHERE session_id = :session AND seq > :mark AND seq < :lowest
    ORDER BY seq DESC LIMIT 1000
) older
""").bindparams(
        sa.bindparam("session", type_=sa.String),
        sa.bindparam("mark", type_=sa.BigInteger),
        sa.bindparam("lowest", type_=sa.BigInteger),
    )
)
_PLACES = Statement(
    sa.select(sessions.c.session_id, sessions.c.id, sa.func.coalesce(search_marks.c.reach, 0))
    .select_from(sessions.outerjoin(search_marks, search_marks.c.id == sessions.c.id))
    .where(among(sessions.c.session_id, "ids"))
)
_MARKS_POSTGRESQL = "SELECT id, reach FROM search_marks WHERE id = ANY ($1::bigint[])"
_MARKS_SQLITE = "SELECT id, reach FROM search_marks WHERE id IN (SELECT value FROM json_each(?))"
_PUT_POSTGRESQL = """
INSERT INTO chat_search (id, session, revision, tokens)
SELECT id, session, revision, array_to_tsvector(string_to_array(tokens, ' '))
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) AS n (id, session, revision, tokens)
ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, tokens = excluded.tokens
WHERE chat_search.revision <= excluded.revision
"""
_DROP_POSTGRESQL = "DELETE FROM chat_search WHERE id = ANY ($1::bigint[])"
_MARK = Statement(
    sa.text("""
INSERT INTO search_marks (id, revision, reach, title) VALUES (:id, :reach, :reach, :title)
ON CONFLICT (id) DO UPDATE SET
    revision = CASE WHEN search_marks.revision < excluded.reach THEN excluded.reach
        ELSE search_marks.revision END,
    reach = CASE WHEN search_marks.reach < excluded.reach THEN excluded.reach ELSE search_marks.reach END,
    title = CASE WHEN :titled THEN excluded.title ELSE search_marks.title END
""").bindparams(
        sa.bindparam("id", type_=sa.BigInteger),
        sa.bindparam("reach", type_=sa.BigInteger),
        sa.bindparam("title", type_=sa.String),
        sa.bindparam("titled", type_=sa.Boolean),
    )
)

#: That the index lacks something of a session: it has a change above its mark, or another title.
_LACKS_TITLE = sessions.c.title.is_distinct_from(search_marks.c.title)
_BEHIND_MARK = sa.or_(sessions.c.last_revision > sa.func.coalesce(search_marks.c.reach, 0), _LACKS_TITLE)
_MARKED = sessions.outerjoin(search_marks, search_marks.c.id == sessions.c.id)
_NEW_TITLES = Statement(
    sa.select(
        sessions.c.session_id, sessions.c.id, sa.func.coalesce(search_marks.c.reach, 0), sessions.c.title
    )
    .select_from(_MARKED)
    .where(among(sessions.c.session_id, "ids"), _LACKS_TITLE)
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
        return kind_of(self.everything, self.as_agent, self.session_ids)

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


def _marked(source: sa.FromClause, chosen: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Sessions with whether the index lacks something of them."""
    marked = source.outerjoin(search_marks, search_marks.c.id == sessions.c.id)
    return (
        sa.select(
            sessions.c.id,
            sessions.c.session_id,
            sessions.c.last_seq,
            sessions.c.title,
            sessions.c.last_activity,
            _BEHIND_MARK.label("behind"),
        )
        .select_from(marked)
        .where(chosen, sessions.c.status != "deleted")
    )


@lru_cache
def _sessions_of(kind: str, dialect: str, newest: bool) -> Statement:
    """One row with everything: thousands of rows would cost more than finding them. `newest`: in order, which
    is needed only where there are more than are searched."""
    found = [_marked(sessions, _in_scope(kind))]
    if kind == "mine":
        # One by one: to put them together as a set takes longer than to find them.
        found = [_marked(portion.source, portion.chosen) for portion in portions(kind)]
    all_theirs = sa.union_all(*found).subquery("all_theirs")
    theirs = sa.select(*all_theirs.c).limit(sa.bindparam("limit", type_=sa.Integer))
    if newest:
        theirs = theirs.order_by(all_theirs.c.last_activity.desc())
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
            sa.case((sa.func.count() <= FEW, listed(each.c.title))),
        )
    )


_BEHIND = Statement(
    sa.select(sessions.c.session_id)
    .select_from(_MARKED)
    .where(_BEHIND_MARK)
    .order_by(sessions.c.last_activity.desc())
    .limit(sa.bindparam("limit", type_=sa.Integer))
)


@dataclass(slots=True)
class _Share:
    """What one step takes into the index of one session: its number, up to which revision the index had it,
    and has it then; (message, revision, its tokens as text) of what is put, messages of what is dropped; and
    whether it has the title, too."""

    session_id: str
    place: int
    mark: int
    revision: int = 0
    count: int = 0
    put: list[tuple[int, int, str]] = field(default_factory=list)
    drop: list[int] = field(default_factory=list)
    title: str | None = None
    titled: bool = False


class Search:
    """Every method raises StorageUnavailable."""

    def __init__(self, db: Database, turns: Turns) -> None:
        self._db, self._turns = db, turns
        self.people = People(db)

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
        # Texts are taken apart before anything is locked: that takes turns with all else a node does.
        shares, more = await self._shares(*await self._pending(ids, each))
        if shares:
            taken = shares

            async def work(connection: SqlConnection) -> list[_Share]:
                current = await self._current(connection, taken)
                await self._write(connection, current)
                return current

            shares = await self._db.transact(work, limit=30)
            more |= {share.session_id for share in taken} - {share.session_id for share in shares}
        count = sum(share.count for share in shares)
        return count, more | {share.session_id for share in shares if share.count >= each}

    async def index_newest(self, session_ids: Collection[str], count: int) -> int:
        """Take about so many of these sessions' newest messages into the index, before those that are due;
        the number above which it has all of theirs then."""
        each, size = max(1, count // len(session_ids)), NEWEST_BYTES // len(session_ids)
        shares: list[_Share] = []
        floor = 0
        async with self._db.connection(limit=30) as connection:
            for session_id, place, mark in await connection.fetch_all(_PLACES, ids=list(session_ids)):
                given = {"session": session_id, "mark": mark}
                rows = await connection.fetch_all(_NEWEST[self._db.dialect], **given, count=each, size=size)
                if rows:
                    before = await connection.fetch_one(_BEFORE, **given, lowest=rows[-1][2])
                    floor = max(floor, (before and before[0]) or 0)
                pending = [
                    (session_id, place, mark, number, revision, content, found)
                    for number, revision, _, content, found in rows
                ]
                shares += (await self._shares(pending, ()))[0]

        async def work(connection: SqlConnection) -> None:
            await self._write(connection, await self._current(connection, shares), marked=False)

        if shares:
            await self._db.transact(work, limit=30)
        return floor

    async def _current(self, connection: SqlConnection, shares: Sequence[_Share]) -> list[_Share]:
        """Those that no other node has gone on with."""
        marks = await self._marks(connection, [share.place for share in shares])
        return [share for share in shares if marks.get(share.place, 0) == share.mark]

    async def _pending(self, ids: Sequence[str], each: int) -> tuple[Sequence[Row], Sequence[Row]]:
        """At most `each` changes of each session, in order of revision; and the titles that are new."""
        async with self._db.connection(limit=30) as connection:
            titles = await connection.fetch_all(_NEW_TITLES, ids=ids)
            if self._db.dialect == "postgresql":
                rows: Sequence[Row] = await connection.raw.fetch(_PENDING_POSTGRESQL, ids, each, BYTES)
                return rows, titles
            found: list[Row] = []
            left = BYTES
            for session_id in ids:
                given = {"session": session_id, "size": left, "count": each}
                rows = await connection.raw.execute_fetchall(_PENDING_SQLITE, given)
                found += rows
                left = max(0, left - sum(len(row[5]) for row in rows if row[5] is not None))
            return found, titles

    async def _shares(self, pending: Iterable[Row], titles: Iterable[Row]) -> tuple[list[_Share], set[str]]:
        """One share for each session with changes; and the sessions of which some are too much for now."""
        shares: dict[str, _Share] = {}
        more: set[str] = set()
        for session_id, place, mark, number, revision, content, found in pending:
            if content is None:
                more.add(session_id)
                continue
            share = shares.setdefault(session_id, _Share(session_id, place, mark))
            share.revision, share.count = revision, share.count + 1
            words = await self._turns.take(self._taken_apart(content)) if found else ""
            if words:
                share.put.append((number, revision, words))
            else:
                share.drop.append(number)
        for session_id, place, mark, title in titles:
            share = shares.setdefault(session_id, _Share(session_id, place, mark, mark))
            share.title, share.titled = title, True
            words = await self._turns.take(self._taken_apart(title)) if title else ""
            if words:
                share.put.append((-place, 0, words))
            else:
                share.drop.append(-place)
        return [shares[session_id] for session_id in sorted(shares)], more

    def _taken_apart(self, content: str) -> Work[str]:
        words = list((yield from tokenizing(content)))
        if self._db.dialect == "postgresql":
            return " ".join(words)
        parts = []
        for at in range(0, len(words), TOGETHER):
            parts.append(" ".join(map(ascii_token, words[at : at + TOGETHER])))
            yield WRITTEN * TOGETHER
        return " ".join(parts)

    async def _marks(self, connection: SqlConnection, places: Sequence[int]) -> dict[int, int]:
        if self._db.dialect == "postgresql":
            rows = await connection.raw.fetch(_MARKS_POSTGRESQL, places)
        else:
            rows = await connection.raw.execute_fetchall(_MARKS_SQLITE, (to_json(list(places)),))
        return {place: revision for place, revision in rows}

    async def _write(
        self, connection: SqlConnection, shares: Sequence[_Share], *, marked: bool = True
    ) -> None:
        """`marked`: with how far the index has come."""
        raw = connection.raw
        put = [
            (number, share.place, revision, words)
            for share in shares
            for number, revision, words in share.put
        ]
        drop = [number for share in shares for number in share.drop]
        if self._db.dialect == "postgresql":
            if put:
                await raw.execute(_PUT_POSTGRESQL, *map(list, zip(*put, strict=True)))
            if drop:
                await raw.execute(_DROP_POSTGRESQL, drop)
        else:
            gone = [(number,) for number in (*drop, *(one[0] for one in put))]
            await (await raw.executemany("DELETE FROM chat_search WHERE rowid = ?", gone)).close()
            if put:
                rows = [(number, place, f"{session_token(place)} {words}") for number, place, _, words in put]
                sql = "INSERT INTO chat_search (rowid, session, tokens) VALUES (?, ?, ?)"
                await (await raw.executemany(sql, rows)).close()
        if not marked:
            return
        marks = [
            {"id": share.place, "reach": share.revision, "title": share.title, "titled": share.titled}
            for share in shares
        ]
        await connection.execute_many(_MARK, marks)

    # --- asking it

    async def find(self, scope: Scope, having: Iterable[str], lacking: Iterable[str]) -> Candidates:
        """The messages of these sessions with all tokens of `having` and none of `lacking`."""
        seen = None if scope.kind == "everything" else await self._seen(scope)
        return Candidates(self._db, having, lacking, seen)

    async def titles(self, found: Candidates) -> list[Title]:
        """The newest of these sessions whose titles have all tokens that are looked for."""
        return await newest(self._db, self._turns, found)

    async def _seen(self, scope: Scope) -> Seen:
        postgresql = self._db.dialect == "postgresql"

        async def look(connection: SqlConnection) -> Seen:
            if postgresql:
                # One caller has three sessions, another one thousands: never one plan for both.
                await connection.command("SET LOCAL plan_cache_mode = force_custom_plan")
            for newer, limit in ((False, SEEN + 1), (True, SEEN)):
                listing = _sessions_of(scope.kind, self._db.dialect, newer)
                row = await connection.fetch_one(listing, limit=limit, **scope.values())
                assert row is not None
                count, numbers, names, behind, theirs, titles = row
                if count <= SEEN:
                    break
            ids = names or ()
            titled = None
            if count <= FEW:
                titled = [(name, title) for name, title in zip(ids, titles or (), strict=True) if title]
            return Seen(count, numbers or "", frozenset(ids), theirs or 0, behind or (), titled)

        # A transaction for its setting; on SQLite it would wait for the writer.
        return await (self._db.transact if postgresql else self._db.use)(look, limit=LIMIT, again=True)
