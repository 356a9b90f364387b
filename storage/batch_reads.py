"""What both dialects read for a batch in the same way, under locks that are taken in sorted order."""

from collections.abc import Iterable

import sqlalchemy as sa

from storage.batch import Needs
from storage.database import SqlConnection
from storage.records import FileRecord, MessageRecord, TurnRecord
from storage.rows import FILE, IS_OPEN, MESSAGE, TURN
from storage.statement import Statement, among
from storage.tables import files, messages, sessions, turns
from storage.tally import Tally

_SESSIONS = Statement(
    sa.select(
        sessions.c.session_id,
        # Once marked as ended, expired stays expired, whatever this node's clock says.
        sa.case(
            (sa.and_(sessions.c.status == "active", sessions.c.ended_at.is_not(None)), "expired"),
            else_=sessions.c.status,
        ),
        sessions.c.expires_at,
        sessions.c.ttl_hours,
        sessions.c.last_seq,
        sessions.c.last_revision,
        sessions.c.last_activity,
        sessions.c.head_seq,
        sessions.c.head_id,
    )
    .where(among(sessions.c.session_id, "ids"))
    .order_by(sessions.c.session_id)
    # Not the strongest lock: a foreign key's check of the session may pass.
    .with_for_update(key_share=True)
)

_MESSAGES = Statement(
    sa.select(*MESSAGE)
    .where(among(messages.c.message_id, "ids"))
    .order_by(messages.c.message_id)
    .with_for_update(key_share=True)
)

_FILES = Statement(
    sa.select(*FILE).where(among(files.c.file_id, "ids")).order_by(files.c.file_id).with_for_update()
)


_TURNS = Statement(
    sa.select(*TURN).where(among(turns.c.question_id, "ids")).order_by(turns.c.question_id).with_for_update()
)

_OPEN_TURNS = Statement(sa.select(*TURN).where(among(turns.c.session_id, "ids"), IS_OPEN).with_for_update())


async def lock_sessions(connection: SqlConnection, needs: Needs) -> list[Tally]:
    return [Tally(*row) for row in await connection.fetch_all(_SESSIONS, ids=needs.session_ids)]


async def lock_messages(connection: SqlConnection, needs: Needs) -> list[MessageRecord]:
    if not needs.message_ids:
        return []
    return [MessageRecord(*row) for row in await connection.fetch_all(_MESSAGES, ids=needs.message_ids)]


async def lock_files(connection: SqlConnection, needs: Needs) -> list[FileRecord]:
    if not needs.file_ids:
        return []
    return [FileRecord(*row) for row in await connection.fetch_all(_FILES, ids=needs.file_ids)]


async def lock_turns(
    connection: SqlConnection, needs: Needs, messages: Iterable[MessageRecord]
) -> list[TurnRecord]:
    found: list[TurnRecord] = []
    if questions := needs.turns(messages):
        found += [TurnRecord(*row) for row in await connection.fetch_all(_TURNS, ids=questions)]
    if needs.asking:
        found += [TurnRecord(*row) for row in await connection.fetch_all(_OPEN_TURNS, ids=needs.asking)]
    return found


async def lock_answers(
    connection: SqlConnection, turns: Iterable[TurnRecord], known: Iterable[MessageRecord]
) -> list[MessageRecord]:
    """The answers of questions that were asked again, of which a repeat may come."""
    ids = {turn.answer_id for turn in turns if turn.again_seq and turn.answer_id is not None}
    if ids:
        ids -= {message.message_id for message in known}
    if not ids:
        return []
    return [MessageRecord(*row) for row in await connection.fetch_all(_MESSAGES, ids=sorted(ids))]
