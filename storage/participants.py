"""Queries on who takes part in a session, and how far each has read.

A row without `joined_at` is no participant: it holds the read mark of one who may read for another
reason (an agent, a share link), and grants nothing.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from storage import caps
from storage.database import Database, SqlConnection
from storage.errors import SessionMissing
from storage.records import ParticipantRecord
from storage.rows import PARTICIPANT
from storage.senders import sender_of
from storage.statement import Statement, among
from storage.tables import participants, sessions
from storage.tallies import NEAR, Tallies, next_unread
from storage.types import Time

_SESSION = participants.c.session_id == sa.bindparam("session_id")
_JOINED = participants.c.joined_at.is_not(None)

_GET = Statement(
    sa.select(*PARTICIPANT).where(_SESSION, participants.c.user_id == sa.bindparam("user_id"), _JOINED)
)
_GET_ALL = Statement(
    sa.select(*PARTICIPANT).where(
        among(participants.c.session_id, "session_ids"), among(participants.c.user_id, "user_ids"), _JOINED
    )
)
_LIST = Statement(
    sa.select(*PARTICIPANT)
    .where(_SESSION, _JOINED, participants.c.removed_at.is_(None))
    .order_by(participants.c.joined_at, participants.c.user_id)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)

_LOCK = Statement(
    sa.select(sessions.c.session_id)
    .where(sessions.c.session_id == sa.bindparam("session_id"))
    # Not the strongest lock: a foreign key's check of the session may pass.
    .with_for_update(key_share=True)
)

_COUNT = Statement(
    sa.select(sa.func.count()).select_from(
        sa.select(participants.c.user_id)
        .where(
            _SESSION,
            _JOINED,
            participants.c.removed_at.is_(None),
            participants.c.role != "owner",
            participants.c.user_id != sa.bindparam("besides"),
        )
        .limit(sa.bindparam("most", type_=sa.Integer))
        .subquery()
    )
)

#: Who takes part in each of several sessions, its owner too.
_OF_SESSIONS = Statement(
    sa.union(
        sa.select(participants.c.session_id, participants.c.user_id).where(
            among(participants.c.session_id, "ids"), _JOINED, participants.c.removed_at.is_(None)
        ),
        sa.select(sessions.c.session_id, sessions.c.user_id).where(among(sessions.c.session_id, "ids")),
    )
)


#: How far those have read who take part, or may read for another reason.
_MARKS = Statement(
    sa.select(participants.c.session_id, participants.c.user_id, participants.c.read_seq).where(
        among(participants.c.session_id, "ids"),
        participants.c.removed_at.is_(None),
        participants.c.read_seq > 0,
    )
)


def _text(sql: str) -> Statement:
    """An upsert, written as both dialects read it."""
    types: dict[str, sa.types.TypeEngine[Any]] = {
        "session_id": sa.String(),
        "user_id": sa.String(),
        "role": sa.String(),
        "now": Time(),
        "seq": sa.BigInteger(),
    }
    return Statement(
        sa.text(sql).bindparams(
            *(sa.bindparam(name, type_=kind) for name, kind in types.items() if f":{name}" in sql)
        )
    )


_PUT = _text("""
INSERT INTO chat_participants (session_id, user_id, role, joined_at)
SELECT session_id, :user_id, :role, :now FROM chat_sessions WHERE session_id = :session_id
ON CONFLICT (session_id, user_id) DO UPDATE SET role = excluded.role, removed_at = NULL,
    joined_at = CASE WHEN chat_participants.removed_at IS NULL
        THEN coalesce(chat_participants.joined_at, excluded.joined_at) ELSE excluded.joined_at END
""")

_REMOVE = _text("""
INSERT INTO chat_participants (session_id, user_id, role, joined_at, removed_at)
SELECT session_id, :user_id, 'viewer', :now, :now FROM chat_sessions WHERE session_id = :session_id
ON CONFLICT (session_id, user_id) DO UPDATE SET
    joined_at = coalesce(chat_participants.joined_at, excluded.joined_at),
    removed_at = coalesce(chat_participants.removed_at, excluded.removed_at)
""")

_MARK = _text("""
INSERT INTO chat_participants (session_id, user_id, role, read_seq, joined_at)
SELECT session_id, :user_id,
    CASE WHEN user_id = :user_id THEN 'owner' ELSE 'viewer' END,
    CASE WHEN last_seq < :seq THEN last_seq ELSE :seq END,
    CASE WHEN user_id = :user_id THEN created_at END
FROM chat_sessions WHERE session_id = :session_id
ON CONFLICT (session_id, user_id) DO UPDATE SET read_seq = CASE
    WHEN chat_participants.read_seq < excluded.read_seq THEN excluded.read_seq
    ELSE chat_participants.read_seq END
RETURNING read_seq
""")

_ID = sa.bindparam("session_id", type_=sa.String)
#: Of the next `NEAR` above a mark; and the session's last number.
_UNREAD = Statement(
    sa.select(
        next_unread(_ID, sa.bindparam("seq", type_=sa.BigInteger)).scalar_subquery(),
        sa.select(sessions.c.last_seq).where(sessions.c.session_id == _ID).scalar_subquery(),
    )
)


class Participants:
    """Every method raises StorageUnavailable. `user_id` is a caller's key, as "1" or "agent:1"."""

    def __init__(self, db: Database, tallies: Tallies | None = None) -> None:
        self._db, self._tallies = db, tallies or Tallies(db)

    async def get(self, session_id: str, user_id: str) -> ParticipantRecord | None:
        """Also one that was removed: it has `removed_at`."""
        row = await self._db.fetch_one(_GET, session_id=session_id, user_id=user_id)
        return None if row is None else ParticipantRecord(*row)

    async def get_all(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], ParticipantRecord]:
        """Those that `get` would find, by (session_id, user_id)."""
        sessions, users = zip(*pairs, strict=True)
        rows = await self._db.fetch_all(_GET_ALL, session_ids=list(set(sessions)), user_ids=list(set(users)))
        records = [ParticipantRecord(*row) for row in rows]
        return {(record.session_id, record.user_id): record for record in records}

    async def list(self, session_id: str, limit: int = 2**31 - 1) -> list[ParticipantRecord]:
        """Those not removed, in the order in which they joined. The owner only if it has a row."""
        rows = await self._db.fetch_all(_LIST, session_id=session_id, limit=limit)
        return [ParticipantRecord(*row) for row in rows]

    async def count(self, session_id: str, most: int, *, besides: str) -> int:
        """Those not removed but for one, counted up to `most`. The owner only if it has a row."""
        row = await self._db.fetch_one(_COUNT, session_id=session_id, besides=besides, most=most)
        return int(row[0]) if row else 0

    async def of_sessions(self, session_ids: Collection[str]) -> dict[str, set[str]]:
        """By session: everybody who takes part in it, its owner too."""
        found: dict[str, set[str]] = {}
        for session_id, user_id in await self._db.fetch_all(_OF_SESSIONS, ids=list(session_ids)):
            found.setdefault(session_id, set()).add(user_id)
        return found

    async def marks(self, session_ids: Collection[str]) -> dict[str, dict[str, int]]:
        """By session and user: read marks."""
        found: dict[str, dict[str, int]] = {}
        for session_id, user_id, seq in await self._db.fetch_all(_MARKS, ids=list(session_ids)):
            found.setdefault(session_id, {})[user_id] = seq
        return found

    async def put(
        self, session_id: str, user_id: str, role: str, now: datetime, most: int | None = None
    ) -> None:
        """Add, change the role, or bring back. Raises SessionMissing, CapReached (there are `most`
        besides the owner)."""
        values = {"session_id": session_id, "user_id": user_id, "role": role, "now": now}

        async def work(connection: SqlConnection) -> int:
            await connection.fetch_all(_LOCK, session_id=session_id)
            row = await connection.fetch_one(_COUNT, session_id=session_id, besides=user_id, most=most)
            caps.admit(int(row[0]) if row else 0, most)
            return await connection.execute(_PUT, **values)

        stored = (
            self._db.execute(_PUT, again=True, **values)
            if most is None
            else self._db.transact(work, again=True)
        )
        if not await stored:
            raise SessionMissing(session_id)

    async def remove(self, session_id: str, user_id: str, now: datetime) -> None:
        """Remembered also of one who never had a row: it outranks a token's claim. Raises SessionMissing."""
        given = {"session_id": session_id, "user_id": user_id, "now": now}
        if not await self._db.execute(_REMOVE, again=True, **given):
            raise SessionMissing(session_id)

    async def mark_read(self, session_id: str, user_id: str, seq: int) -> int:
        """The mark, which never goes back and never past the last message. Raises SessionMissing."""
        seq = max(0, min(seq, 2**62))
        rows = await self._db.change(_MARK, again=True, session_id=session_id, user_id=user_id, seq=seq)
        if not rows:
            raise SessionMissing(session_id)
        return int(rows[0][0])

    async def unread(self, session_id: str, user_id: str, read_seq: int) -> int:
        """Others' undeleted messages above a mark."""

        sender_type, sender_id = sender_of(user_id)
        given = {"session_id": session_id, "sender_type": sender_type, "sender_id": sender_id}

        async def count(connection: SqlConnection) -> int:
            row = await connection.fetch_one(_UNREAD, **given, seq=read_seq)
            assert row is not None
            if (row[1] or 0) - read_seq <= NEAR:
                return int(row[0])
            return (await self._tallies.unread(connection, user_id, [(session_id, read_seq)]))[0]

        return await self._db.use(count)
