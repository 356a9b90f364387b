"""Queries on what nodes hold through the database while they cannot in Redis. Knows no meaning of a name."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from storage.database import Database
from storage.statement import Statement, among
from storage.tables import held
from storage.types import Time

_HOLD = Statement(
    sa.text("""
INSERT INTO held (name, until) VALUES (:name, :until)
ON CONFLICT (name) DO UPDATE SET until = excluded.until
""").bindparams(sa.bindparam("name", type_=sa.String), sa.bindparam("until", type_=Time))
)
_AT = sa.bindparam("now", type_=Time)
_HELD = Statement(sa.select(held.c.name).where(among(held.c.name, "names"), held.c.until > _AT))
_LET_GO = Statement(held.delete().where(among(held.c.name, "names")))
_FORGET = Statement(held.delete().where(held.c.until <= _AT))


class Holds:
    """Every method raises StorageUnavailable. Times are the database's, as nodes know it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def hold(self, names: Sequence[str], until: datetime) -> None:
        async with self._db.transaction() as connection:
            for name in sorted(names):
                await connection.execute(_HOLD, name=name, until=until)

    async def held(self, names: Sequence[str], now: datetime) -> set[str]:
        """Those of the names that somebody holds."""
        return {row[0] for row in await self._db.fetch_all(_HELD, names=list(names), now=now)}

    async def let_go(self, names: Sequence[str]) -> None:
        await self._db.execute(_LET_GO, names=list(names))

    async def forget(self, now: datetime) -> None:
        """What was held until then."""
        await self._db.execute(_FORGET, now=now)
