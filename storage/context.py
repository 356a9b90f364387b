"""The conversation before a message, for an agent: what there is of it, and how much. Knows no agent."""

import sqlalchemy as sa

from storage.database import Database
from storage.records import MessageRecord
from storage.rows import MESSAGE
from storage.sizes import OVERHEAD, bytes_of
from storage.statement import Statement
from storage.tables import messages

_MOST = sa.bindparam("max_bytes", type_=sa.BigInteger)
_BEFORE = sa.bindparam("before_seq", type_=sa.BigInteger)
_question = messages.alias("question")


def _statement() -> Statement:
    """The newest whose texts fill `max_bytes`, with their parts as far as these fit. What a tool gave may be
    long, and takes no other message away."""
    found = (
        sa.select(
            *MESSAGE,
            (bytes_of("content") + bytes_of("metadata") + OVERHEAD).label("text_size"),
            bytes_of("parts").label("parts_size"),
        )
        .where(
            messages.c.session_id == sa.bindparam("session_id", type_=sa.String),
            sa.or_(
                messages.c.seq < _BEFORE,
                # The answer to what was asked before may have begun after the message was sent.
                sa.and_(
                    messages.c.sender_type == "agent",
                    sa.exists().where(
                        _question.c.message_id == messages.c.reply_to, _question.c.seq < _BEFORE
                    ),
                ),
            ),
            messages.c.deleted_at.is_(None),
            sa.or_(
                messages.c.content != "",
                messages.c.parts.is_not(None),
                messages.c.message_type == "file",
                messages.c.status == "streaming",
            ),
        )
        .order_by(messages.c.seq.desc())
        .limit(sa.bindparam("limit", type_=sa.Integer))
        .subquery("found")
    )
    text = found.c.text_size
    whole = text + sa.case((found.c.parts_size <= _MOST, found.c.parts_size), else_=0)
    sized = sa.select(
        *found.c, (_so_far(text, found) - text).label("preceding"), _so_far(whole, found).label("filled")
    ).subquery("sized")
    fits = sa.and_(sized.c.parts_size <= _MOST, sized.c.filled <= _MOST)
    parts = sa.case((fits, sized.c.parts))
    shown = [parts if column.name == "parts" else sized.c[column.name] for column in MESSAGE]
    return Statement(sa.select(*shown).where(sized.c.preceding <= _MOST).order_by(sized.c.seq))


def _so_far(size: sa.ColumnElement[int], found: sa.Subquery) -> sa.ColumnElement[int]:
    """From the newest message to this one."""
    return sa.func.sum(size).over(order_by=found.c.seq.desc(), rows=(None, 0))


_CONTEXT = _statement()


async def context(
    db: Database, session_id: str, before_seq: int, limit: int, max_bytes: int
) -> list[MessageRecord]:
    """Undeleted, and not empty, or a file, or being written, with the answers to what was asked before; the
    oldest first. Of the newest `limit` as many as fill `max_bytes`; the last may go beyond. Raises
    StorageUnavailable."""
    rows = await db.fetch_all(
        _CONTEXT, session_id=session_id, before_seq=before_seq, limit=limit, max_bytes=max_bytes
    )
    records = [MessageRecord(*row) for row in rows]
    return [record for record in records if _says_something(record)]


def _says_something(record: MessageRecord) -> bool:
    is_file, is_open = record.message_type == "file", record.status == "streaming"
    return bool(record.content or record.parts or is_file or is_open)
