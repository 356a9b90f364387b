"""How far each session was told to each webhook: claims, marks, and what is behind. One statement for many.

A claim (`fence`) ends by itself at `held_until`; a mark is written by who has the last claim, and by nobody
else. Times are the database's, as nodes know it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
import sqlalchemy as sa
from msgspec import Struct

from storage.database import Database, Row, SqlConnection
from storage.statement import Statement, to_json
from storage.tables import messages, webhook_cursors, webhook_dead, webhook_events
from storage.types import Document, Time

#: (webhook_id, session_id)
Pair = tuple[str, str]
#: From and to, both of them included.
Ranges = list[list[int]]

_TYPES = {
    "hook": "text",
    "room": "text",
    "first": "bigint",
    "fence": "bigint",
    "revision": "bigint",
    "seq": "bigint",
    "untold": "jsonb",
    "event_id": "bigint",
    "attempts": "integer",
    "error": "text",
    "keep": "boolean",
    "told": "boolean",
}


def _given(dialect: str, *names: str) -> str:
    """Rows `r` of the parameter `rows`, which is JSON."""
    if dialect == "postgresql":
        return f"json_to_recordset(CAST(:rows AS json)) AS r ({', '.join(f'{n} {_TYPES[n]}' for n in names)})"
    columns = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in names)
    return f"(SELECT {columns} FROM json_each(:rows)) AS r"


def _text(sql: str, *columns: sa.ColumnClause[Any], **more: Any) -> Statement:
    """`more` are the types of parameters besides `rows`."""
    kinds = {"rows": sa.Text} | more
    text = sa.text(sql).bindparams(*(sa.bindparam(name, type_=kind) for name, kind in kinds.items()))
    return Statement(text.columns(*columns) if columns else text)


#: Locked in one order, and what somebody else is about to write is not waited for.
_LOCKED = """
WITH locked AS (
    SELECT c.webhook_id, c.session_id FROM webhook_cursors c JOIN {given}
        ON c.webhook_id = r.hook AND c.session_id = r.room
    ORDER BY c.webhook_id, c.session_id FOR NO KEY UPDATE OF c{skip}
) """
_THE_SAME = "c.webhook_id = locked.webhook_id AND c.session_id = locked.session_id"


@lru_cache
def _claim(dialect: str) -> Statement:
    columns = [
        sa.column(name, webhook_cursors.c[name].type)
        for name in ("webhook_id", "session_id", "fence", *ToldCursor.__struct_fields__[1:])
    ]
    names = ", ".join(f"c.{column.name}" for column in columns)
    free = "(c.held_until IS NULL OR c.held_until < :now)"
    put = "SET held_until = :until, fence = c.fence + 1"
    if dialect == "postgresql":
        sql = (
            _LOCKED.format(given=_given(dialect, "hook", "room"), skip=" SKIP LOCKED")
            + f"UPDATE webhook_cursors c {put} FROM locked WHERE {_THE_SAME} AND {free} RETURNING {names}"
        )
    else:
        sql = (
            "UPDATE webhook_cursors AS c SET held_until = :until, fence = fence + 1 "
            f"FROM {_given(dialect, 'hook', 'room')} "
            f"WHERE c.webhook_id = r.hook AND c.session_id = r.room AND {free} "
            f"RETURNING {', '.join(column.name for column in columns)}"
        )
    return _text(sql, *columns, now=Time, until=Time)


@lru_cache
def _begin(dialect: str) -> Statement:
    """A cursor for those that have none: behind what was before the webhook. `first`: a revision that is
    known to be after it; 0: none is."""
    return _text(f"""
INSERT INTO webhook_cursors (webhook_id, session_id, revision, seq)
SELECT b.hook, b.room,
    CASE WHEN b.first > 0 AND b.first - 1 < b.revision THEN b.first - 1 ELSE b.revision END, b.seq
FROM (
    SELECT r.hook, r.room, r.first,
        CASE WHEN s.session_id IS NULL OR s.created_at >= w.created_at THEN 0 ELSE coalesce((
            SELECT min(m.revision) FROM chat_messages m
            WHERE m.session_id = r.room AND (m.created_at >= w.created_at OR m.edited_at >= w.created_at
                OR m.deleted_at >= w.created_at)
        ), s.last_revision + 1) - 1 END AS revision,
        CASE WHEN s.session_id IS NULL OR s.created_at >= w.created_at THEN 0 ELSE coalesce((
            SELECT max(m.seq) FROM chat_messages m
            WHERE m.session_id = r.room AND m.created_at < w.created_at
        ), 0) END AS seq
    FROM {_given(dialect, "hook", "room", "first")}
    JOIN webhooks w ON w.webhook_id = r.hook
    LEFT JOIN chat_sessions s ON s.session_id = r.room
) AS b
WHERE 1 = 1
ON CONFLICT (webhook_id, session_id) DO NOTHING
""")


@lru_cache
def _mark(dialect: str) -> Statement:
    names = (
        "hook",
        "room",
        "fence",
        "revision",
        "seq",
        "untold",
        "event_id",
        "attempts",
        "error",
        "keep",
        "told",
    )
    put = """SET revision = r.revision, seq = r.seq, untold = r.untold, event_id = r.event_id,
    attempts = r.attempts, error = r.error, held_until = CASE WHEN r.keep THEN :until ELSE NULL END,
    told_at = CASE WHEN r.told THEN :now ELSE told_at END"""
    given, mine = (
        _given(dialect, *names),
        "c.webhook_id = r.hook AND c.session_id = r.room AND c.fence = r.fence",
    )
    columns = [sa.column(name, sa.String) for name in ("webhook_id", "session_id")]
    if dialect == "postgresql":
        put = put.replace("ELSE told_at", "ELSE c.told_at")
        if_locked = _LOCKED.format(given=_given(dialect, "hook", "room"), skip="")
        sql = (
            f"{if_locked} UPDATE webhook_cursors c {put} FROM locked, {given} "
            f"WHERE {mine} AND {_THE_SAME} RETURNING c.webhook_id, c.session_id"
        )
    else:
        sql = (
            f"UPDATE webhook_cursors AS c {put.replace('ELSE told_at', 'ELSE c.told_at')} FROM {given} "
            f"WHERE {mine} RETURNING webhook_id, session_id"
        )
    return _text(sql, *columns, until=Time, now=Time)


#: `listed_at` is ten minutes behind a session's activity at most (`storage.recency`).
_FREE = "(c.held_until IS NULL OR c.held_until < :now)"
_BEHIND = """
SELECT s.session_id, s.listed_at
FROM chat_sessions s JOIN webhooks w ON w.webhook_id = :hook
LEFT JOIN webhook_cursors c ON c.webhook_id = :hook AND c.session_id = s.session_id
WHERE {scope} AND s.last_revision > coalesce(c.revision, 0)
    AND (c.session_id IS NOT NULL OR s.last_activity >= w.created_at) AND {free}
ORDER BY s.listed_at LIMIT :most
"""
_ROOM: list[sa.ColumnClause[Any]] = [sa.column("session_id", sa.String), sa.column("listed_at", Time)]
_KINDS: dict[str, Any] = {"hook": sa.String, "now": Time, "most": sa.Integer}


def _behind(scope: str, **more: Any) -> Statement:
    sql = sa.text(_BEHIND.format(scope=scope, free=_FREE))
    kinds = _KINDS | more
    return Statement(sql.bindparams(*(sa.bindparam(n, type_=k) for n, k in kinds.items())).columns(*_ROOM))


_BEHIND_SINCE = _behind("s.listed_at >= :since", since=Time)
_BEHIND_ONE = _behind("s.session_id = w.session_id")
_UNTOLD_TEXT = """
SELECT {what}
FROM webhook_events e JOIN webhooks w ON w.webhook_id = :hook
LEFT JOIN webhook_cursors c ON c.webhook_id = :hook AND c.session_id = e.session_id
WHERE {scope} AND e.at >= w.created_at AND e.id > coalesce(c.event_id, 0)
"""
_NEXT_UNTOLD = f" AND {_FREE} LIMIT :most"


def _untold(scope: str, **more: Any) -> Statement:
    text = sa.text(_UNTOLD_TEXT.format(what="DISTINCT e.session_id", scope=scope) + _NEXT_UNTOLD)
    kinds = _KINDS | more
    return Statement(text.bindparams(*(sa.bindparam(n, type_=k) for n, k in kinds.items())).columns(_ROOM[0]))


_UNTOLD_SINCE = _untold("e.at >= :since", since=Time)
_UNTOLD_ONE = _untold("e.session_id = w.session_id")


def _oldest(sql: str) -> Statement:
    kinds = {"hook": sa.String, "since": Time}
    text = sa.text(sql).bindparams(*(sa.bindparam(n, type_=k) for n, k in kinds.items()))
    return Statement(text.columns(sa.column("oldest", Time)))


_OLDEST_BEHIND = _oldest("""
SELECT min(s.listed_at) AS oldest
FROM chat_sessions s JOIN webhooks w ON w.webhook_id = :hook
LEFT JOIN webhook_cursors c ON c.webhook_id = :hook AND c.session_id = s.session_id
WHERE s.listed_at >= :since AND s.last_revision > coalesce(c.revision, 0)
    AND (c.session_id IS NOT NULL OR s.last_activity >= w.created_at)
""")
_OLDEST_UNTOLD = _oldest(_UNTOLD_TEXT.format(what="min(e.at) AS oldest", scope="e.at >= :since"))
#: The first notes, as many as fill so many characters, or one that is larger; each ends with how many there
#: would have been. What they tell stays the text that it is: nobody here looks into it.
_TOLD = sa.cast(webhook_events.c.data, sa.Text)
_FOUND = (
    sa.select(
        *(webhook_events.c[name] for name in ("session_id", "id", "name", "event", "revision")),
        _TOLD.label("told"),
        webhook_events.c.at,
        sa.func.length(_TOLD).label("size"),
    )
    .where(
        webhook_events.c.session_id == sa.bindparam("room", type_=sa.String),
        webhook_events.c.id > sa.bindparam("after", type_=sa.BigInteger),
        webhook_events.c.at >= sa.bindparam("since", type_=Time),
    )
    .order_by(webhook_events.c.id)
    .limit(sa.bindparam("rows", type_=sa.Integer))
    .subquery("found")
)
_SIZED = sa.select(
    *_FOUND.c,
    sa.func.count().over().label("available"),
    (sa.func.sum(_FOUND.c.size).over(order_by=_FOUND.c.id, rows=(None, 0)) - _FOUND.c.size).label("before"),
).subquery("sized")
_EVENTS = Statement(
    sa.select(*(column for column in _SIZED.c if column.name not in ("size", "before")))
    .where(_SIZED.c.before < sa.bindparam("most", type_=sa.BigInteger))
    .order_by(_SIZED.c.id)
)
_BURY = Statement(
    webhook_dead.insert().values(
        {
            column.name: sa.bindparam(column.name, type_=column.type)
            for column in webhook_dead.c
            if column.name != "id"
        }
    )
)
_DEAD = Statement(
    sa.select(*webhook_dead.c)
    .where(
        webhook_dead.c.webhook_id == sa.bindparam("hook", type_=sa.String),
        webhook_dead.c.id < sa.bindparam("before", type_=sa.BigInteger),
    )
    .order_by(webhook_dead.c.id.desc())
    .limit(sa.bindparam("rows", type_=sa.Integer))
)
#: Beyond so many of a webhook the oldest go.
_DROP_DEAD = Statement(
    sa.text("""
DELETE FROM webhook_dead WHERE webhook_id = :hook AND id <= (
    SELECT id FROM webhook_dead WHERE webhook_id = :hook ORDER BY id DESC LIMIT 1 OFFSET :most
)
""").bindparams(sa.bindparam("hook", type_=sa.String), sa.bindparam("most", type_=sa.Integer))
)
_LINES = sa.select(
    *(
        webhook_cursors.c[name]
        for name in ("session_id", "revision", "attempts", "error", "told_at", "held_until")
    )
).where(
    webhook_cursors.c.webhook_id == sa.bindparam("hook", type_=sa.String),
    webhook_cursors.c.session_id > sa.bindparam("after", type_=sa.String),
)
_PAGE = {
    failing: Statement(
        (_LINES.where(webhook_cursors.c.attempts > 0) if failing else _LINES)
        .order_by(webhook_cursors.c.session_id)
        .limit(sa.bindparam("rows", type_=sa.Integer))
    )
    for failing in (False, True)
}
_ABOVE = Statement(
    sa.select(messages.c.seq, messages.c.revision)
    .where(messages.c.session_id == sa.bindparam("room", type_=sa.String))
    .where(messages.c.revision <= sa.bindparam("revision", type_=sa.BigInteger))
    .order_by(messages.c.seq.desc())
    .limit(1)
)
_CHANGED = Statement(
    sa.select(messages.c.seq)
    .where(
        messages.c.session_id == sa.bindparam("room", type_=sa.String),
        messages.c.revision > sa.bindparam("revision", type_=sa.BigInteger),
        messages.c.seq < sa.bindparam("seq", type_=sa.BigInteger),
    )
    .order_by(messages.c.seq)
    .limit(sa.bindparam("rows", type_=sa.Integer))
)
_REPLAY = Statement(
    webhook_cursors.update()
    .where(
        webhook_cursors.c.webhook_id == sa.bindparam("hook", type_=sa.String),
        webhook_cursors.c.session_id == sa.bindparam("room", type_=sa.String),
    )
    .values(
        revision=sa.bindparam("revision", type_=sa.BigInteger),
        seq=sa.bindparam("seq", type_=sa.BigInteger),
        untold=sa.bindparam("untold", type_=Document),
        attempts=0,
        error=None,
        held_until=None,
        fence=webhook_cursors.c.fence + 1,
    )
)


class ToldCursor(Struct, frozen=True):
    """How far one session is told to one webhook."""

    fence: int
    revision: int
    seq: int
    untold: Ranges | None
    event_id: int
    attempts: int


class Noted(Struct, frozen=True):
    """An event that no revision tells of (`storage.notes`). `data` is JSON."""

    session_id: str
    id: int
    name: str
    event: str
    revision: int
    data: bytes
    at: datetime


class ToldMark(Struct):
    """What is written of a claim: of the webhook `hook` in the session `room`. `keep`: it goes on."""

    hook: str
    room: str
    fence: int
    revision: int
    seq: int
    untold: Ranges | None
    event_id: int
    attempts: int
    error: str | None
    keep: bool
    told: bool


class TellingStore:
    """Every method raises StorageUnavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def claim(
        self, pairs: Mapping[Pair, int], now: datetime, until: datetime
    ) -> dict[Pair, ToldCursor]:
        """Those of the pairs that nobody has, until then. To each a revision that is to be told, or 0."""
        rows = to_json([{"hook": hook, "room": room, "first": n} for (hook, room), n in pairs.items()])
        begin, claim = _begin(self._db.dialect), _claim(self._db.dialect)

        async def work(connection: SqlConnection) -> list[Row]:
            found = await connection.fetch_all(claim, rows=rows, now=now, until=until)
            if len(found) < len(pairs) and await connection.execute(begin, rows=rows):
                found += await connection.fetch_all(claim, rows=rows, now=now, until=until)
            return found

        found = await self._db.transact(work)
        return {
            (row[0], row[1]): ToldCursor(row[2], row[3], row[4], _json(row[5]), *row[6:]) for row in found
        }

    async def mark(self, marks: Sequence[ToldMark], now: datetime, until: datetime) -> set[Pair]:
        """Those that were still the last claim of theirs."""
        rows = orjson.dumps([_plain(each) for each in marks]).decode()
        found = await self._db.change(_mark(self._db.dialect), rows=rows, now=now, until=until)
        return {(row[0], row[1]) for row in found}

    async def behind(
        self, hook: str, since: datetime | None, now: datetime, most: int
    ) -> list[tuple[str, datetime | None]]:
        """(session, when it was active) of those that nobody tells just now and that have changes to be told,
        the longest inactive first. `since`: those that were active since then; None: the webhook's own."""
        if since is None:
            rows = await self._db.fetch_all(_BEHIND_ONE, hook=hook, now=now, most=most)
        else:
            rows = await self._db.fetch_all(_BEHIND_SINCE, hook=hook, since=since, now=now, most=most)
        return [(row[0], row[1]) for row in rows]

    async def untold(self, hook: str, since: datetime | None, now: datetime, most: int) -> list[str]:
        """The same of events that no revision tells of."""
        if since is None:
            rows = await self._db.fetch_all(_UNTOLD_ONE, hook=hook, now=now, most=most)
        else:
            rows = await self._db.fetch_all(_UNTOLD_SINCE, hook=hook, since=since, now=now, most=most)
        return [row[0] for row in rows]

    async def oldest(self, hook: str, since: datetime, revisions: bool, notes: bool) -> datetime | None:
        """Since when something is to be told, whether somebody does it or not: of `revisions`, of `notes`."""
        found: list[datetime] = []
        for asked, statement in ((revisions, _OLDEST_BEHIND), (notes, _OLDEST_UNTOLD)):
            row = await self._db.fetch_one(statement, hook=hook, since=since) if asked else None
            if row is not None and row[0] is not None:
                found.append(row[0])
        return min(found, default=None)

    async def events(
        self, room: str, after: int, since: datetime, rows: int, most: int
    ) -> tuple[list[Noted], bool]:
        """At most so many `rows`, that fill `most` characters; whether there may be more."""
        found = await self._db.fetch_all(_EVENTS, room=room, after=after, since=since, rows=rows, most=most)
        notes = [
            Noted(room, id, name, event, revision, told.encode(), at)
            for room, id, name, event, revision, told, at, _ in found
        ]
        return notes, bool(found) and (found[0][-1] > len(found) or len(found) == rows)

    async def bury(self, most: int, **values: Any) -> None:
        """A dead letter; `most` are kept of its webhook."""
        await self._db.execute(_BURY, **values)
        await self._db.execute(_DROP_DEAD, hook=values["webhook_id"], most=most)

    async def dead(self, hook: str, before: int, rows: int) -> list[Row]:
        return await self._db.fetch_all(_DEAD, hook=hook, before=before, rows=rows)

    async def page(self, hook: str, after: str, rows: int, *, failing: bool) -> list[Row]:
        """How far sessions are told, by their ids."""
        return await self._db.fetch_all(_PAGE[failing], hook=hook, after=after, rows=rows)

    async def replay(self, hook: str, room: str, revision: int, most: int) -> None:
        """From behind a revision on; who tells it now stops. Of older messages `most` are remembered as not
        told; beyond them a message comes as one that was changed."""
        await self._db.execute(
            _begin(self._db.dialect), rows=to_json([{"hook": hook, "room": room, "first": 0}])
        )

        async def work(connection: SqlConnection) -> None:
            last = await connection.fetch_one(_ABOVE, room=room, revision=revision)
            seq = int(last[0]) if last else 0
            changed = await connection.fetch_all(_CHANGED, room=room, revision=revision, seq=seq, rows=most)
            untold = [[row[0], row[0]] for row in changed] or None
            await connection.execute(_REPLAY, hook=hook, room=room, revision=revision, seq=seq, untold=untold)

        await self._db.transact(work)


def _plain(mark: ToldMark) -> dict[str, Any]:
    return {name: getattr(mark, name) for name in mark.__struct_fields__}


def _json(value: Any) -> Any:
    """Of a column of a text statement, which each driver gives as it has it."""
    return orjson.loads(value) if isinstance(value, str | bytes) else value
