"""Brings `listed_at` to the sessions and participants that have none: those of before there was one, or of a
node of the version before, and new ones."""

import sqlalchemy as sa

from storage.database import Database, SqlConnection
from storage.statement import Statement, among
from storage.tables import participants, sessions

#: Sessions of one transaction.
BATCH = 500

_LIMIT = sa.bindparam("limit", type_=sa.Integer)
_UNLISTED_SESSIONS = Statement(
    sa.select(sessions.c.session_id).where(sessions.c.listed_at.is_(None)).limit(_LIMIT)
)
_UNLISTED_PARTICIPANTS = Statement(
    sa.select(participants.c.session_id)
    .where(participants.c.listed_at.is_(None), participants.c.role != sa.literal_column("'owner'"))
    .limit(_LIMIT)
)
_LOCK = Statement(
    sa.select(sessions.c.session_id)
    .where(among(sessions.c.session_id, "ids"))
    .order_by(sessions.c.session_id)
    .with_for_update(key_share=True)
)
_LIST = Statement(
    sessions.update()
    .where(among(sessions.c.session_id, "ids"), sessions.c.listed_at.is_(None))
    .values(listed_at=sessions.c.last_activity)
)
_THEIRS = (
    sa.select(sessions.c.listed_at)
    .where(sessions.c.session_id == participants.c.session_id)
    .scalar_subquery()
)
_LIST_PARTICIPANTS = Statement(
    participants.update()
    .where(
        among(participants.c.session_id, "ids"),
        participants.c.role != sa.literal_column("'owner'"),
        participants.c.listed_at.is_distinct_from(_THEIRS),
    )
    .values(listed_at=_THEIRS)
)


class Listed:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def fill(self) -> int:
        """Of some sessions; how many there were. Any node may, at any time. Raises StorageUnavailable."""
        filled = 0
        for question in (_UNLISTED_SESSIONS, _UNLISTED_PARTICIPANTS):
            ids = sorted({row[0] for row in await self._db.fetch_all(question, limit=BATCH)})
            if ids:
                await self._db.transact(lambda connection, ids=ids: _list(connection, ids), again=True)  # type: ignore[misc]
            filled += len(ids)
        return filled


async def _list(connection: SqlConnection, ids: list[str]) -> None:
    # Behind the writer's lock: nobody's activity moves it meanwhile.
    await connection.fetch_all(_LOCK, ids=ids)
    await connection.execute(_LIST, ids=ids)
    await connection.execute(_LIST_PARTICIPANTS, ids=ids)
