"""Queries on files: the rows, not the contents."""

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from storage import caps
from storage.database import Database, SqlConnection
from storage.records import FileRecord
from storage.repeating import insert_once
from storage.rows import FILE
from storage.statement import Statement, among
from storage.tables import files, messages
from storage.types import Time

_ADD = Statement(files.insert().values({column.name: sa.bindparam(column.name) for column in FILE}))
_WITH_MESSAGE = files.outerjoin(messages, messages.c.message_id == files.c.message_id)
_GET = Statement(
    sa.select(*FILE)
    .select_from(_WITH_MESSAGE)
    .where(files.c.file_id == sa.bindparam("id"), messages.c.deleted_at.is_(None))
)
_OF_MESSAGE = Statement(
    sa.select(*FILE).where(files.c.message_id == sa.bindparam("message_id")).order_by(files.c.id)
)
_ORPHANS = Statement(
    sa.select(*FILE)
    .select_from(_WITH_MESSAGE)
    .where(
        sa.or_(
            sa.and_(files.c.message_id.is_(None), files.c.uploaded_at < sa.bindparam("cutoff", type_=Time)),
            messages.c.deleted_at.is_not(None),
        )
    )
    .order_by(files.c.id)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_OF_USER = Statement(
    sa.select(*FILE)
    .where(files.c.uploaded_by == sa.bindparam("uploaded_by"))
    .order_by(files.c.id)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_STORED_BY = Statement(
    sa.select(sa.func.coalesce(sa.func.sum(files.c.file_size), 0)).where(
        files.c.uploaded_by == sa.bindparam("uploaded_by")
    )
)
_KNOWN = Statement(sa.select(files.c.file_id).where(among(files.c.file_id, "ids")))
_DELETE = Statement(files.delete().where(among(files.c.file_id, "ids")))


class Files:
    """Every method raises StorageUnavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, record: FileRecord, most: int | None = None) -> None:
        """Raises AlreadyExists; CapReached (its user's files would have more than `most` bytes); StorageError
        if its session is gone."""
        values = {name: getattr(record, name) for name in record.__struct_fields__}

        async def work(connection: SqlConnection) -> None:
            await caps.alone(connection, "bytes", record.uploaded_by)
            row = await connection.fetch_one(_STORED_BY, uploaded_by=record.uploaded_by)
            caps.admit(int(row[0]) if row else 0, most, record.file_size)
            await connection.execute(_ADD, **values)

        async def store() -> None:
            if most is None:
                await self._db.execute(_ADD, again=True, **values)
            else:
                await self._db.transact(work, again=True)

        await insert_once(store, lambda: self._is_stored(record))

    async def _is_stored(self, record: FileRecord) -> bool:
        return await self.get(record.file_id) == record

    async def get(self, file_id: str) -> FileRecord | None:
        """None also for a file whose message was deleted."""
        row = await self._db.fetch_one(_GET, id=file_id)
        return None if row is None else FileRecord(*row)

    async def of_message(self, message_id: str) -> list[FileRecord]:
        return [FileRecord(*row) for row in await self._db.fetch_all(_OF_MESSAGE, message_id=message_id)]

    async def orphans(self, cutoff: datetime, limit: int) -> list[FileRecord]:
        """Files of deleted messages, and those uploaded before `cutoff` that were never posted."""
        rows = await self._db.fetch_all(_ORPHANS, cutoff=cutoff, limit=limit)
        return [FileRecord(*row) for row in rows]

    async def of_user(self, uploaded_by: str, limit: int) -> list[FileRecord]:
        rows = await self._db.fetch_all(_OF_USER, uploaded_by=uploaded_by, limit=limit)
        return [FileRecord(*row) for row in rows]

    async def stored_by(self, uploaded_by: str) -> int:
        """Bytes of a user's files."""
        row = await self._db.fetch_one(_STORED_BY, uploaded_by=uploaded_by)
        return int(row[0]) if row else 0

    async def known(self, file_ids: Iterable[str]) -> set[str]:
        """Those of the given ids that have a row."""
        return {row[0] for row in await self._db.fetch_all(_KNOWN, ids=list(file_ids))}

    async def delete(self, file_ids: Iterable[str]) -> None:
        await self._db.execute(_DELETE, ids=list(file_ids))
