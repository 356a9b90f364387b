"""A caller's list of sessions, with the last message and the unread count of each."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from storage.database import Database, Row, SqlConnection
from storage.partnames import previewed
from storage.records import SessionRecord, SessionSummary
from storage.rows import SESSION
from storage.senders import sender_of
from storage.statement import Statement, among
from storage.tables import agents, messages, participants, sessions
from storage.types import Time

#: No list shows a session's metadata, and a hundred of them would be decoded in one turn of the loop.
_METADATA = SessionRecord.__struct_fields__.index("metadata")
_LINE = (*SESSION[:_METADATA], *SESSION[_METADATA + 1 :])

_NOW = sa.bindparam("now", type_=Time)
_CALLER = sa.bindparam("caller", type_=sa.String)


def kind_of(everything: bool, as_agent: int | None, session_ids: Sequence[str] | None) -> str:
    """For `whose`. A restriction to named sessions opens to agents none but their own."""
    kind = "everything" if everything else "agent" if as_agent is not None else "mine"
    return kind if session_ids is None else f"named {kind}"


def whose(kind: str) -> sa.ColumnElement[bool]:
    """What `events.access.role_in` says of one session, of all of them."""
    if kind.startswith("named "):
        named = among(sessions.c.session_id, "session_ids")
        return sa.and_(named, _not_removed() if kind == "named mine" else whose(kind.removeprefix("named ")))
    if kind == "everything":
        return sa.true()
    if kind == "agent":
        return sessions.c.agent_id == sa.bindparam("as_agent", type_=sa.Integer)
    taking_part = sa.select(participants.c.session_id).where(
        participants.c.user_id == _CALLER,
        participants.c.joined_at.is_not(None),
        participants.c.removed_at.is_(None),
    )
    owning = sa.select(sessions.c.session_id).where(sessions.c.user_id == _CALLER)
    # A union rather than OR: each half has its index.
    return sessions.c.session_id.in_(sa.union(owning, taking_part))


def _not_removed() -> sa.ColumnElement[bool]:
    removed = sa.select(participants.c.session_id).where(
        participants.c.user_id == _CALLER, participants.c.removed_at.is_not(None)
    )
    return sessions.c.session_id.not_in(removed)


def _with_status(status: str | None) -> sa.ColumnElement[bool]:
    expired = sa.or_(sessions.c.expires_at <= _NOW, sessions.c.ended_at.is_not(None))
    if status == "active":
        return sa.and_(sessions.c.status == "active", sa.not_(expired))
    if status == "expired":
        return sa.and_(sessions.c.status == "active", expired)
    if status is not None:
        return sessions.c.status == sa.bindparam("status", type_=sa.String)
    return sessions.c.status != "deleted"


@lru_cache
def _statements(kind: str, status: str | None, of_agent: bool) -> tuple[Statement, Statement]:
    """The page and the count."""
    chosen = [whose(kind), _with_status(status)]
    if of_agent:
        chosen.append(sessions.c.agent_id == sa.bindparam("agent_id", type_=sa.Integer))
    count = sa.select(sa.func.count()).select_from(sessions).where(*chosen)
    # The page first, then what is counted for each line of it.
    page = (
        sa.select(*_LINE)
        .where(*chosen)
        .order_by(sessions.c.last_activity.desc(), sessions.c.session_id)
        .limit(sa.bindparam("limit", type_=sa.Integer))
        .offset(sa.bindparam("offset", type_=sa.Integer))
        .subquery("page")
    )
    last_seq = (
        sa.select(sa.func.max(messages.c.seq))
        .where(messages.c.session_id == page.c.session_id, messages.c.deleted_at.is_(None))
        .scalar_subquery()
    )
    last = messages.alias("last")
    read_seq = (
        sa.select(participants.c.read_seq)
        .where(participants.c.session_id == page.c.session_id, participants.c.user_id == _CALLER)
        # Named, because only the immediately enclosing SELECT is correlated by itself: the page's
        # own FROM would be repeated in here, and its rows multiplied.
        .correlate(page)
        .scalar_subquery()
    )
    unread = (
        sa.select(sa.func.count())
        .select_from(messages)
        .where(
            messages.c.session_id == page.c.session_id,
            messages.c.seq > sa.func.coalesce(read_seq, 0),
            messages.c.deleted_at.is_(None),
            sa.not_(
                sa.and_(
                    messages.c.sender_type == sa.bindparam("sender_type", type_=sa.String),
                    messages.c.sender_id == sa.bindparam("sender_id", type_=sa.String),
                )
            ),
        )
        .scalar_subquery()
    )
    lines = (
        sa.select(
            *page.c,
            agents.c.name.label("agent_name"),
            previewed(last).label("last_message"),
            last.c.created_at.label("last_message_at"),
            unread.label("unread_count"),
        )
        .select_from(
            page.outerjoin(agents, agents.c.id == page.c.agent_id).outerjoin(
                last, sa.and_(last.c.session_id == page.c.session_id, last.c.seq == last_seq)
            )
        )
        .order_by(page.c.last_activity.desc(), page.c.session_id)
    )
    return Statement(lines), Statement(count)


async def list_sessions(
    db: Database,
    caller: str,
    *,
    status: str | None,
    agent_id: int | None,
    limit: int,
    offset: int,
    now: datetime,
    everything: bool,
    as_agent: int | None,
    session_ids: Sequence[str] | None,
) -> tuple[list[SessionSummary], int]:
    kind = kind_of(everything, as_agent, session_ids)
    page, count = _statements(kind, status, agent_id is not None)
    sender_type, sender_id = sender_of(caller)
    values: dict[str, Any] = {
        "caller": caller,
        "sender_type": sender_type,
        "sender_id": sender_id,
        "status": status,
        "agent_id": agent_id,
        "as_agent": as_agent,
        "session_ids": session_ids,
        "limit": limit,
        "offset": offset,
        "now": now,
    }

    async def both(connection: SqlConnection) -> tuple[Sequence[Row], Row | None]:
        return await connection.fetch_all(page, **values), await connection.fetch_one(count, **values)

    rows, total = await db.use(both)
    return [_summary(row) for row in rows], total[0] if total else 0


def _summary(row: Row) -> SessionSummary:
    width = len(_LINE)
    session = SessionRecord(*[*row[:_METADATA], {}, *row[_METADATA:width]])
    return SessionSummary(session, *row[width:])
