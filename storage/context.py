"""The conversation before a message, for an agent: what there is of it, and how much. Knows no agent."""

import sqlalchemy as sa

from storage.database import Database
from storage.forks import tree_of
from storage.records import MessageRecord
from storage.rows import MESSAGE
from storage.sizes import OVERHEAD, bytes_of
from storage.statement import Statement, among
from storage.tables import messages, sessions

_MOST = sa.bindparam("max_bytes", type_=sa.BigInteger)
_BEFORE = sa.bindparam("before_seq", type_=sa.BigInteger)
_SESSION_ID = sa.bindparam("session_id", type_=sa.String)
_question = messages.alias("question")
#: Where the path ends, if there are branches.
_HEAD = (sessions.c.head_seq, sessions.c.last_seq)

#: Numbers of a path among which messages are looked for, where there are branches.
LOOKED_AT = 1000


def _statement(*, of_path: bool) -> Statement:
    """The newest whose texts fill `max_bytes`, with their parts as far as these fit. What a tool gave may be
    long, and takes no other message away. Each with its session's head."""
    on_path = [among(messages.c.seq, "seqs")] if of_path else []
    found = (
        sa.select(
            *MESSAGE,
            (bytes_of("content") + bytes_of("metadata") + OVERHEAD).label("text_size"),
            bytes_of("parts").label("parts_size"),
        )
        .where(
            messages.c.session_id == _SESSION_ID,
            *on_path,
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
    head = [
        sa.select(column).where(sessions.c.session_id == _SESSION_ID).scalar_subquery() for column in _HEAD
    ]
    return Statement(sa.select(*shown, *head).where(sized.c.preceding <= _MOST).order_by(sized.c.seq))


def _so_far(size: sa.ColumnElement[int], found: sa.Subquery) -> sa.ColumnElement[int]:
    """From the newest message to this one."""
    return sa.func.sum(size).over(order_by=found.c.seq.desc(), rows=(None, 0))


_CONTEXT, _ON_PATH = _statement(of_path=False), _statement(of_path=True)


async def context(
    db: Database, session_id: str, before_seq: int, limit: int, max_bytes: int
) -> list[MessageRecord]:
    """Undeleted, and not empty, or a file, or being written, with the answers to what was asked before; the
    oldest first. Of the newest `limit` as many as fill `max_bytes`; the last may go beyond. Where there are
    branches, of the path on which the message is. Raises StorageUnavailable."""
    given = {"session_id": session_id, "before_seq": before_seq, "limit": limit, "max_bytes": max_bytes}
    rows = await db.fetch_all(_CONTEXT, **given)
    if rows and rows[0][-2] is not None:
        head, last = rows[0][-2:]
        tree = await tree_of(db, session_id, last)
        end = head if tree.is_on(before_seq, head) else before_seq
        rows = await db.fetch_all(_ON_PATH, **given, seqs=tree.newest(end, LOOKED_AT))
    records = [MessageRecord(*row[:-2]) for row in rows]
    return [record for record in records if _says_something(record)]


def _says_something(record: MessageRecord) -> bool:
    is_file, is_open = record.message_type == "file", record.status == "streaming"
    return bool(record.content or record.parts or is_file or is_open)
