"""A batch's statements on PostgreSQL: whole batches as array parameters, one statement each.

The text is written by hand because it is the hot path, and `unnest` of a dozen arrays is what it is.
"""

from collections.abc import Iterable
from typing import Any

from storage.batch import Batch, Needs, Tally
from storage.batch_reads import lock_files, lock_messages, lock_sessions
from storage.database import Connection
from storage.records import MessageRecord
from storage.rows import MESSAGE
from storage.statement import to_json

_COLUMNS = ", ".join(f"m.{column.name}" for column in MESSAGE)

_REPEATS = f"""
SELECT {_COLUMNS}
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
    AS k (session_id, sender_type, sender_id, client_message_id)
JOIN chat_messages m USING (session_id, sender_type, sender_id, client_message_id)
"""

_INSERT = """
INSERT INTO chat_messages (session_id, message_id, seq, revision, client_message_id, sender_type, sender_id,
    message_type, status, content, metadata, reply_to, created_at)
SELECT session_id, message_id, seq, revision, client_message_id, sender_type, sender_id,
    message_type, status, content, metadata::jsonb, reply_to, created_at
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[])
    AS n (session_id, message_id, seq, revision, client_message_id, sender_type, sender_id,
        message_type, status, content, metadata, reply_to, created_at)
"""

_CHANGE = """
UPDATE chat_messages m
SET revision = n.revision, status = n.status, content = n.content, metadata = n.metadata::jsonb,
    error = n.error::jsonb, tokens_used = n.tokens_used, latency_ms = n.latency_ms,
    is_edited = n.is_edited, edited_at = n.edited_at, deleted_at = n.deleted_at
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
    $8::bigint[], $9::boolean[], $10::timestamptz[], $11::timestamptz[])
    AS n (message_id, revision, status, content, metadata, error, tokens_used,
        latency_ms, is_edited, edited_at, deleted_at)
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
    connection: Connection, needs: Needs
) -> tuple[list[Tally], list[MessageRecord], list[tuple[str, str, str | None]]]:
    sessions = await lock_sessions(connection, needs)
    messages = await lock_messages(connection, needs)
    if needs.client_keys:
        # A statement of its own, after the locks: it sees what the last holder of a lock committed.
        rows = await connection.raw.fetch(_REPEATS, *_arrays(needs.client_keys, 4))
        messages += [MessageRecord(*row) for row in rows]
    return sessions, messages, await lock_files(connection, needs)


async def write(connection: Connection, batch: Batch) -> None:
    execute = connection.raw.execute
    if batch.inserted:
        rows: Iterable[tuple[Any, ...]] = [
            (
                m.session_id,
                m.message_id,
                m.seq,
                m.revision,
                m.client_message_id,
                m.sender_type,
                m.sender_id,
                m.message_type,
                m.status,
                m.content,
                to_json(m.metadata) if m.metadata else "{}",
                m.reply_to,
                m.created_at,
            )
            for m in batch.inserted
        ]
        await execute(_INSERT, *_arrays(rows, 13))
    if batch.changed:
        rows = [
            (
                m.message_id,
                m.revision,
                m.status,
                m.content,
                to_json(m.metadata),
                None if m.error is None else to_json(m.error),
                m.tokens_used,
                m.latency_ms,
                m.is_edited,
                m.edited_at,
                m.deleted_at,
            )
            for m in batch.changed.values()
        ]
        await execute(_CHANGE, *_arrays(rows, 11))
    if batch.attached:
        await execute(_ATTACH, *_arrays(batch.attached, 2))
    rows = [
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
