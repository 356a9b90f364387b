"""Queries on revocations: whose tokens are refused if issued up to when."""

from datetime import datetime

import sqlalchemy as sa

from storage.database import Database
from storage.statement import Statement
from storage.tables import revocations
from storage.types import Time

_PUT = Statement(
    sa.text("""
INSERT INTO revocations (user_id, not_before) VALUES (:user_id, :not_before)
ON CONFLICT (user_id) DO UPDATE SET not_before = CASE
    WHEN revocations.not_before < excluded.not_before THEN excluded.not_before
    ELSE revocations.not_before END
""").bindparams(sa.bindparam("user_id", type_=sa.String), sa.bindparam("not_before", type_=Time))
)
_GET = Statement(sa.select(revocations.c.not_before).where(revocations.c.user_id == sa.bindparam("user_id")))
_ALL = Statement(sa.select(revocations.c.user_id, revocations.c.not_before))
_SINCE = Statement(
    sa.select(revocations.c.user_id, revocations.c.not_before).where(
        revocations.c.not_before >= sa.bindparam("since", type_=Time)
    )
)
_DROP = Statement(revocations.delete().where(revocations.c.not_before < sa.bindparam("before", type_=Time)))


class Revocations:
    """Every method raises StorageUnavailable. `user_id` is a caller's key, of any role."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def put(self, user_id: str, not_before: datetime) -> None:
        """Never moves back."""
        await self._db.execute(_PUT, again=True, user_id=user_id, not_before=not_before)

    async def get(self, user_id: str) -> datetime | None:
        row = await self._db.fetch_one(_GET, user_id=user_id)
        return None if row is None else row[0]

    async def all(self, since: datetime | None = None) -> dict[str, datetime]:
        """Those that reach to `since` or beyond, where it is given."""
        rows = await (self._db.fetch_all(_SINCE, since=since) if since else self._db.fetch_all(_ALL))
        return {row[0]: row[1] for row in rows}

    async def drop(self, before: datetime) -> None:
        """Those that reach to no later than that."""
        await self._db.execute(_DROP, before=before)
