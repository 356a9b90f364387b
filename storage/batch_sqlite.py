"""A batch's statements on SQLite: one call per statement, for all its rows."""

import sqlalchemy as sa

from storage.batch import Batch, Needs
from storage.batch_reads import lock_files, lock_messages, lock_sessions
from storage.database import SqlConnection
from storage.records import FileRecord, MessageRecord
from storage.rows import CHANGED, MESSAGE, NEW
from storage.shape import dict_maker
from storage.statement import Statement, to_json
from storage.tables import files, messages, sessions
from storage.tally import Tally
from storage.types import Time

_keys = sa.func.json_each(sa.bindparam("keys", type_=sa.Text)).table_valued("value")


def _part(index: int) -> sa.ColumnElement[str]:
    return sa.func.json_extract(_keys.c.value, sa.literal_column(f"'$[{index}]'"))


_REPEATS = Statement(
    sa.select(*MESSAGE).select_from(
        _keys.join(
            messages,
            sa.and_(
                messages.c.session_id == _part(0),
                messages.c.sender_type == _part(1),
                messages.c.sender_id == _part(2),
                messages.c.client_message_id == _part(3),
            ),
        )
    )
)

_INSERT = Statement(messages.insert().values({name: sa.bindparam(name) for name in NEW}))
_CHANGE = Statement(
    messages.update()
    .where(messages.c.message_id == sa.bindparam("which"))
    .values({name: sa.bindparam(name) for name in CHANGED})
)
_new_row, _changed_row = dict_maker(NEW), dict_maker(CHANGED, "which")

_ATTACH = Statement(
    files.update()
    .where(files.c.file_id == sa.bindparam("which"))
    .values(message_id=sa.bindparam("message_id"))
)

_ADVANCE = Statement(
    sessions.update()
    .where(sessions.c.session_id == sa.bindparam("which"))
    .values(
        last_seq=sa.bindparam("last_seq"),
        last_revision=sa.bindparam("last_revision"),
        message_count=sessions.c.message_count + sa.bindparam("added"),
        request_count=sessions.c.request_count + sa.bindparam("requests"),
        last_activity=sa.func.max(
            sessions.c.last_activity,
            sa.func.coalesce(sa.bindparam("active_at", type_=Time), sessions.c.last_activity),
        ),
        expires_at=sa.bindparam("expires_at"),
    )
)


async def read(
    connection: SqlConnection, needs: Needs
) -> tuple[list[Tally], list[MessageRecord], list[FileRecord]]:
    sessions = await lock_sessions(connection, needs)
    messages = await lock_messages(connection, needs)
    if needs.client_keys:
        rows = await connection.fetch_all(_REPEATS, keys=to_json(needs.client_keys))
        messages += [MessageRecord(*row) for row in rows]
    return sessions, messages, await lock_files(connection, needs)


async def write(connection: SqlConnection, batch: Batch) -> None:
    if batch.inserted:
        await connection.execute_many(_INSERT, [_new_row(m) for m in batch.inserted])
    if batch.changed:
        await connection.execute_many(
            _CHANGE, [_changed_row(m, message_id) for message_id, m in batch.changed.items()]
        )
    if batch.attached:
        await connection.execute_many(
            _ATTACH,
            [{"which": file_id, "message_id": message_id} for file_id, message_id in batch.attached],
        )
    advanced = [s for s in batch.sessions.values() if s.requests]
    if advanced:
        await connection.execute_many(
            _ADVANCE,
            [
                {
                    "which": s.session_id,
                    "last_seq": s.last_seq,
                    "last_revision": s.last_revision,
                    "added": s.added,
                    "requests": s.requests,
                    "active_at": batch.now if s.touched else None,
                    "expires_at": batch.new_expiry(s),
                }
                for s in advanced
            ],
        )
