"""Whether a database has the schema that this program needs. Knows no migration."""

import sqlite3
from collections.abc import Sequence

import asyncpg  # type: ignore[import-untyped]
import sqlalchemy as sa

from storage.database import Database
from storage.errors import StorageError
from storage.statement import Statement

_REVISION = Statement(sa.select(sa.column("version_num", sa.String)).select_from(sa.table("alembic_version")))
_MIGRATE = "run `python -m server migrate`"


async def ensure_migrated(db: Database, known: Sequence[str]) -> None:
    """Raises StorageError for a schema older than the newest of `known`. One that is not known is newer:
    while an upgrade goes from node to node, the old ones serve what was migrated for the new."""
    try:
        row = await db.fetch_one(_REVISION)
    except StorageError as error:
        if not _no_table(error.__cause__):
            raise
        row = None
    if row is None:
        raise StorageError(f"it has not been migrated: {_MIGRATE}")
    if row[0] in known[:-1]:
        raise StorageError(f"it is at revision {row[0]}, and {known[-1]} is needed: {_MIGRATE}")


def _no_table(error: BaseException | None) -> bool:
    return isinstance(error, asyncpg.UndefinedTableError) or (
        isinstance(error, sqlite3.OperationalError) and "no such table" in str(error)
    )
