"""Which sessions a search may find by their titles: the newest that have its tokens.

Whether a title matches is decided above, on the title itself.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from storage.candidates import BAND, COMPARED, COMPARED_SQLITE, LIMIT, Candidates, fts5, tsquery
from storage.database import Database
from storage.statement import Statement, among, to_json
from storage.tables import sessions
from storage.turns import Turns, Work
from storage.words import folding

#: Titles that are ranked against each other. People look for a conversation by its name among the newest.
MOST = 200
#: Bands of the index that are looked through for them, the newest: two million sessions.
BANDS = 256
#: Characters that a token is looked for in, in the time that one takes to be taken apart.
COMPARED_TOGETHER = 32

_COLUMNS = (sessions.c.id, sessions.c.session_id, sessions.c.title, sessions.c.created_at)
_THERE = (sessions.c.status != "deleted", sessions.c.title.is_not(None))
_SESSIONS = Statement(
    sa.select(*_COLUMNS)
    .where(among(sessions.c.session_id, "ids"), *_THERE)
    .order_by(sessions.c.id.desc())
    .limit(MOST)
)

#: The index's entries of titles, from the newest band on.
_BANDS = f"""
ARRAY(
    SELECT generate_series(low, least(low + {BANDS}, -1))
    FROM (SELECT min(id) >> {BAND} FROM chat_search) b (low)
)
"""
_POSTGRESQL = f"""
SELECT s.id, s.session_id, s.title, s.created_at FROM (
    SELECT session FROM chat_search
    WHERE tokens @@ $1::text::tsquery AND id + 0 < 0 AND ARRAY[id >> {BAND}] && {_BANDS} {{more}}
    ORDER BY id + 0 LIMIT {MOST}
) found JOIN chat_sessions s ON s.id = found.session
WHERE s.status <> 'deleted' AND s.title IS NOT NULL ORDER BY s.id DESC
"""
_SQLITE = f"""
SELECT -rowid FROM chat_search WHERE chat_search MATCH ? AND rowid < 0 {{more}} ORDER BY rowid LIMIT {MOST}
"""
_SQLITE_SESSIONS = Statement(
    sa.select(*_COLUMNS)
    .where(
        sa.text("chat_sessions.id IN (SELECT value FROM json_each(:numbers))").bindparams(
            sa.bindparam("numbers", type_=sa.types.NullType())
        ),
        *_THERE,
    )
    .order_by(sessions.c.id.desc())
)


class Title(Struct, frozen=True):
    """`number` is the session's own, higher for newer ones."""

    number: int
    session_id: str
    title: str
    created_at: datetime


async def newest(db: Database, turns: Turns, found: Candidates) -> list[Title]:
    """Raises StorageUnavailable."""
    seen = found.seen
    if seen is None or seen.titles is None:
        return await _indexed(db, found)
    named = await turns.take(_having(seen.titles, found.having))
    if not named:
        return []
    return [Title(*row) for row in await db.fetch_all(_SESSIONS, ids=named)]


def _having(titles: Sequence[tuple[str, str]], wanted: Sequence[str]) -> Work[list[str]]:
    """Of few titles, which came with their sessions: to ask the index would take longer."""
    found = []
    for session_id, title in titles:
        folded, _ = yield from folding(title)
        if (yield from _may_have(folded, wanted)):
            found.append(session_id)
    return found


def _may_have(folded: str, wanted: Sequence[str]) -> Work[bool]:
    """Every token is a part of its text, or of that without its spaces."""
    compact = "".join(folded.split())
    for token in wanted:
        yield 1 + len(folded) // COMPARED_TOGETHER
        if token not in folded and token not in compact:
            return False
    return True


async def _indexed(db: Database, found: Candidates) -> list[Title]:
    seen = found.seen
    async with db.connection(limit=LIMIT) as connection:
        if db.dialect == "postgresql":
            arguments: list[Any] = [tsquery(found.having, found.lacking)]
            if seen is not None:
                arguments.append(seen.numbers)
            more = COMPARED.format(2) if seen is not None else ""
            rows = await connection.raw.fetch(_POSTGRESQL.format(more=more), *arguments)
        else:
            arguments = [fts5(found.having, found.lacking), *([seen.numbers] if seen is not None else ())]
            more = COMPARED_SQLITE if seen is not None else ""
            numbers = await connection.raw.execute_fetchall(_SQLITE.format(more=more), arguments)
            given = to_json([number for (number,) in numbers])
            rows = await connection.fetch_all(_SQLITE_SESSIONS, numbers=given)
    # The session itself says whose it is: the index could hold a coincidence.
    return [Title(*row) for row in rows if seen is None or row[1] in seen.names]
