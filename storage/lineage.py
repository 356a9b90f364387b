"""The database's lineage: the name of its history, and where PostgreSQL says that history is written.

Revisions are good within one lineage. Decides nothing.
"""

import logging
import secrets

import sqlalchemy as sa
from msgspec import Struct

from storage.database import Database, SqlConnection
from storage.errors import StorageError
from storage.statement import Statement
from storage.tables import lineage

log = logging.getLogger("parley.database")

_GET = Statement(sa.select(lineage.c.name, lineage.c.origin))
_NEW = Statement(
    lineage.insert().values(id=sa.literal(1), name=sa.bindparam("name"), origin=sa.bindparam("origin"))
)
_BEGIN = Statement(
    lineage.update()
    .where(lineage.c.name == sa.bindparam("old"))
    .values(name=sa.bindparam("name"), origin=sa.bindparam("origin"))
)
#: Another server, or a standby that was promoted, writes another one. Not every service lets it be read, and
#: none while it is a standby.
_ORIGIN = """
SELECT system_identifier::text || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
FROM pg_control_system()
"""


class Lineage(Struct, frozen=True):
    """`origin` is None where it cannot be read."""

    name: str
    origin: str | None


def following(*names: str) -> str:
    """The name of a lineage that begins after these. They are numbered: an earlier one that comes up again is
    not taken for a new one. Names of older versions have no number."""
    return f"{max(map(_number, names), default=0) + 1}-{secrets.token_hex(6)}"


def is_later(name: str, known: str) -> bool:
    """Whether a lineage began after another one that was known."""
    return _number(name) > _number(known)


def _number(name: str) -> int:
    number, dash, _ = name.partition("-")
    return int(number) if dash else 0


class Lineages:
    """Every method raises StorageUnavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._readable = db.dialect == "postgresql"

    async def origin(self) -> str | None:
        if not self._readable:
            return None

        async def ask(connection: SqlConnection) -> str:
            return str(await connection.raw.fetchval(_ORIGIN))

        try:
            return await self._db.use(ask)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is called where it is not allowed
            self._readable = False
            log.info("the database's timeline cannot be read: %s", error)
            return None

    async def read(self) -> Lineage:
        """As it is written; a new one where there is none."""
        row = await self._db.fetch_one(_GET)
        if row is None:
            await self._db.execute(_NEW, name=following(), origin=None)
            return await self.read()
        return Lineage(row[0], row[1])

    async def begin(self, old: str, origin: str | None, *, anew: bool = True, known: str = "") -> None:
        """A new lineage in place of the old one, and after the `known` one, if nobody was faster; without
        `anew` the same one there."""
        await self._db.execute(_BEGIN, old=old, name=following(old, known) if anew else old, origin=origin)
