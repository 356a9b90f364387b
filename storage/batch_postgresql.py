"""A batch's statements on PostgreSQL: whole batches as array parameters, one statement each.

The text is written by hand because it is the hot path, and `unnest` of a dozen arrays is what it is. Which
columns a message has is the record's to say.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from storage.batch import Batch, Needs
from storage.batch_reads import lock_files, lock_messages, lock_sessions
from storage.database import SqlConnection
from storage.records import FileRecord, MessageRecord
from storage.rows import CHANGED, MESSAGE, NEW, is_json, postgresql_type
from storage.shape import rows_maker
from storage.statement import to_json
from storage.tables import messages
from storage.tally import Tally

_MESSAGE = ", ".join(f"m.{column.name}" for column in MESSAGE)

_REPEATS = f"""
SELECT {_MESSAGE}
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
    AS k (session_id, sender_type, sender_id, client_message_id)
JOIN chat_messages m USING (session_id, sender_type, sender_id, client_message_id)
"""


def _given(names: Sequence[str]) -> str:
    """Arrays by position, as rows `n`."""
    arrays = (f"${place}::{postgresql_type(messages.c[name])}[]" for place, name in enumerate(names, 1))
    return f"unnest({', '.join(arrays)}) AS n ({', '.join(names)})"


def _value(name: str) -> str:
    return f"n.{name}::jsonb" if name in _JSON else f"n.{name}"


#: What arrays of a JSON column hold for an empty object, and for none.
_NOTHING = ("{}", None)
_JSON = frozenset(column.name for column in MESSAGE if is_json(column))
_CHANGES = ("message_id", *CHANGED)
_new_rows, _changed_rows = rows_maker(NEW), rows_maker(_CHANGES)

_INSERT = f"""
INSERT INTO chat_messages ({", ".join(NEW)})
SELECT {", ".join(map(_value, NEW))}
FROM {_given(NEW)}
"""

_CHANGE = f"""
UPDATE chat_messages m
SET {", ".join(f"{name} = {_value(name)}" for name in CHANGED)}
FROM {_given(_CHANGES)}
WHERE m.message_id = n.message_id
"""

_ATTACH = """
UPDATE chat_files f SET message_id = n.message_id
FROM unnest($1::text[], $2::text[]) AS n (file_id, message_id)
WHERE f.file_id = n.file_id
"""

_ADVANCE = """
UPDATE chat_sessions s
SET last_seq = n.last_seq, last_revision = n.last_revision,
    message_count = s.message_count + n.added, request_count = s.request_count + n.requests,
    last_activity = CASE WHEN n.touched THEN greatest(s.last_activity, $8) ELSE s.last_activity END,
    expires_at = n.expires_at
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::boolean[],
    $7::timestamptz[]) AS n (session_id, last_seq, last_revision, added, requests, touched, expires_at)
WHERE s.session_id = n.session_id
"""


async def read(
    connection: SqlConnection, needs: Needs
) -> tuple[list[Tally], list[MessageRecord], list[FileRecord]]:
    sessions = await lock_sessions(connection, needs)
    messages = await lock_messages(connection, needs)
    if needs.client_keys:
        # A statement of its own, after the locks: it sees what the last holder of a lock committed.
        rows = await connection.raw.fetch(_REPEATS, *_arrays(needs.client_keys, 4))
        messages += [MessageRecord(*row) for row in rows]
    return sessions, messages, await lock_files(connection, needs)


async def write(connection: SqlConnection, batch: Batch) -> None:
    execute = connection.raw.execute
    if batch.inserted:
        await execute(_INSERT, *_columns(_new_rows(batch.inserted), NEW))
    if batch.changed:
        await execute(_CHANGE, *_columns(_changed_rows(batch.changed.values()), _CHANGES))
    if batch.attached:
        await execute(_ATTACH, *_arrays(batch.attached, 2))
    rows: list[tuple[Any, ...]] = [
        (
            s.session_id,
            s.last_seq,
            s.last_revision,
            s.added,
            s.requests,
            s.touched,
            batch.new_expiry(s),
        )
        for s in batch.sessions.values()
        if s.requests
    ]
    if rows:
        await execute(_ADVANCE, *_arrays(rows, 7), batch.now)


def _arrays(rows: Iterable[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Rows to columns."""
    arrays = [list(column) for column in zip(*rows, strict=True)]
    assert len(arrays) == width
    return arrays


def _columns(rows: Iterable[tuple[Any, ...]], names: Sequence[str]) -> list[list[Any]]:
    """The same of rows of messages."""
    arrays = _arrays(rows, len(names))
    for place, name in enumerate(names):
        if name in _JSON:
            arrays[place] = [to_json(each) if each else _NOTHING[each is None] for each in arrays[place]]
    return arrays
