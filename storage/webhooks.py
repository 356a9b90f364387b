"""Queries on webhooks themselves: where events are sent to. How far each was told is `storage.telling`'s."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from storage import caps
from storage.database import Database, Row, SqlConnection
from storage.statement import Statement
from storage.tables import webhooks


class WebhookRecord(Struct, frozen=True):
    """Fields of the table, in its order. `session_id`: of this session alone."""

    webhook_id: str
    session_id: str | None
    url: str
    events: list[str]
    secret: str
    old_secret: str | None
    old_until: datetime | None
    is_active: bool
    created_at: datetime
    failing_since: datetime | None
    error: str | None
    swept_at: datetime


_ID = sa.bindparam("id", type_=sa.String)
_COLUMNS = [webhooks.c[name] for name in WebhookRecord.__struct_fields__]
_INSERT = Statement(
    webhooks.insert().values(
        {column.name: sa.bindparam(column.name, type_=column.type) for column in _COLUMNS}
    )
)
_ALL = Statement(sa.select(*_COLUMNS).order_by(webhooks.c.created_at, webhooks.c.webhook_id))
_GET = Statement(sa.select(*_COLUMNS).where(webhooks.c.webhook_id == _ID))
_COUNT = Statement(
    sa.select(sa.func.count()).where(
        sa.func.coalesce(webhooks.c.session_id, "") == sa.bindparam("scope", type_=sa.String)
    )
)
_COUNT_ALL = Statement(sa.select(sa.func.count()).select_from(webhooks))
_DELETE = Statement(webhooks.delete().where(webhooks.c.webhook_id == _ID))


@lru_cache
def _update(names: frozenset[str]) -> Statement:
    changed = {name: sa.bindparam(name, type_=webhooks.c[name].type) for name in names}
    return Statement(
        webhooks.update().where(webhooks.c.webhook_id == _ID).values(changed).returning(*_COLUMNS)
    )


def _record(row: Row) -> WebhookRecord:
    return WebhookRecord(*row)


class Webhooks:
    """Every method raises StorageUnavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, record: WebhookRecord, most: int, in_all: int) -> None:
        """Raises CapReached: there are `most` of its session (or of none), or so many in all."""

        async def work(connection: SqlConnection) -> None:
            await caps.alone(connection, "webhooks", "")
            row = await connection.fetch_one(_COUNT, scope=record.session_id or "")
            caps.admit(int(row[0]) if row else 0, most)
            row = await connection.fetch_one(_COUNT_ALL)
            caps.admit(int(row[0]) if row else 0, in_all)
            values: dict[str, Any] = {name: getattr(record, name) for name in record.__struct_fields__}
            await connection.execute(_INSERT, **values)

        await self._db.transact(work)

    async def all(self) -> list[WebhookRecord]:
        return [_record(row) for row in await self._db.fetch_all(_ALL)]

    async def get(self, webhook_id: str) -> WebhookRecord | None:
        row = await self._db.fetch_one(_GET, id=webhook_id)
        return None if row is None else _record(row)

    async def update(self, webhook_id: str, **changes: Any) -> WebhookRecord | None:
        rows: Sequence[Row] = await self._db.change(
            _update(frozenset(changes)), again=True, id=webhook_id, **changes
        )
        return _record(rows[0]) if rows else None

    async def delete(self, webhook_id: str) -> bool:
        """With how far it was told, and what could not be told."""
        return bool(await self._db.execute(_DELETE, again=True, id=webhook_id))
