"""A caller's list of sessions, with the last message and the unread count of each."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from storage.database import Database, Row, SqlConnection
from storage.partnames import previewed
from storage.recency import Filters, PageEnd, after, counted, newest, ordered
from storage.records import SessionRecord, SessionSummary
from storage.rows import SESSION
from storage.senders import sender_of
from storage.statement import Statement, among
from storage.tables import agents, messages, participants, sessions
from storage.tallies import NEAR, Tallies, next_unread
from storage.types import Time

#: No list shows a session's metadata, and a hundred of them would be decoded in one turn of the loop.
_METADATA = SessionRecord.__struct_fields__.index("metadata")
_LINE = (*SESSION[:_METADATA], *SESSION[_METADATA + 1 :])
_ID, _ACTIVITY = ([column.name for column in _LINE].index(name) for name in ("session_id", "last_activity"))

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


class _Asked(Struct, frozen=True):
    """What a list's statements depend on. `follows`: it goes on behind a place."""

    kind: str
    status: str | None
    of_agent: bool
    follows: bool = False

    def filters(self) -> list[sa.ColumnElement[bool]]:
        found = [_with_status(self.status)]
        if self.of_agent:
            found.append(sessions.c.agent_id == sa.bindparam("agent_id", type_=sa.Integer))
        return found

    @property
    def is_named(self) -> bool:
        """They are few, and each is looked up."""
        return self.kind.startswith("named ")


@lru_cache
def _filters(status: str | None, of_agent: bool) -> Filters:
    return _Asked("", status, of_agent).filters


@lru_cache
def _named(asked: _Asked) -> Statement:
    """A page of those that a token names, by place."""
    chosen = [whose(asked.kind), *asked.filters(), *([after()] if asked.follows else [])]
    length = sa.bindparam("length", type_=sa.Integer)
    return _lines(ordered(sa.select(*_LINE).where(*chosen)).limit(length).subquery("page"))


@lru_cache
def _chosen(status: str | None, of_agent: bool) -> Statement:
    """The page of these sessions, as far as they still belong there."""
    still = _filters(status, of_agent)()
    return _lines(sa.select(*_LINE).where(among(sessions.c.session_id, "chosen"), *still).subquery("page"))


@lru_cache
def _by_offset(asked: _Asked) -> Statement:
    chosen = ordered(sa.select(*_LINE).where(whose(asked.kind), *asked.filters()))
    limit, offset = (sa.bindparam(name, type_=sa.Integer) for name in ("limit", "offset"))
    return _lines(chosen.limit(limit).offset(offset).subquery("page"))


@lru_cache
def _total(asked: _Asked) -> Statement:
    """How many there are in all."""
    if asked.status is None and not asked.of_agent and not asked.is_named:
        return Statement(counted(asked.kind))
    chosen = [whose(asked.kind), *asked.filters()]
    return Statement(sa.select(sa.func.count()).select_from(sessions).where(*chosen))


def _lines(page: sa.Subquery) -> Statement:
    """What is counted for each line, after the page is chosen."""
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
    mark = sa.func.coalesce(read_seq, 0)
    near = next_unread(page.c.session_id, mark, page).scalar_subquery()
    lines = (
        sa.select(
            *page.c,
            agents.c.name.label("agent_name"),
            previewed(last).label("last_message"),
            last.c.created_at.label("last_message_at"),
            # Of a session that goes on far beyond the mark it is counted by its blocks.
            sa.case((page.c.last_seq - mark <= NEAR, near)).label("unread_count"),
            mark.label("mark"),
        )
        .select_from(
            page.outerjoin(agents, agents.c.id == page.c.agent_id).outerjoin(
                last, sa.and_(last.c.session_id == page.c.session_id, last.c.seq == last_seq)
            )
        )
        .order_by(page.c.last_activity.desc(), page.c.session_id)
    )
    return Statement(lines)


async def list_sessions(
    db: Database,
    tallies: Tallies,
    caller: str,
    *,
    status: str | None,
    agent_id: int | None,
    limit: int,
    offset: int,
    behind: PageEnd | None,
    now: datetime,
    everything: bool,
    as_agent: int | None,
    session_ids: Sequence[str] | None,
) -> tuple[list[SessionSummary], int | None, PageEnd | None]:
    """A page; how many there are in all, but for a page behind a place; and its end, where more follow."""
    kind = kind_of(everything, as_agent, session_ids)
    asked = _Asked(kind, status, agent_id is not None, behind is not None)
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
        "length": limit + 1,
    }
    if behind is not None:
        values |= {"after_activity": behind.last_activity, "after_id": behind.session_id}

    async def chosen(connection: SqlConnection) -> tuple[Sequence[Row], PageEnd | None]:
        """The page's rows, and the end of what was chosen where more follow: some may be gone meanwhile."""
        if asked.is_named:
            rows = await connection.fetch_all(_named(asked), **values)
            return rows[:limit], _end(rows[limit - 1]) if len(rows) > limit else None
        filters = _filters(status, asked.of_agent)
        found = await newest(connection, kind, filters, limit + 1, values)
        ids = [each.session_id for each in found[:limit]]
        rows = await connection.fetch_all(_chosen(status, asked.of_agent), **values, chosen=ids)
        return rows, found[limit - 1] if len(found) > limit else None

    async def look(connection: SqlConnection) -> tuple[list[SessionSummary], int | None, PageEnd | None]:
        end: PageEnd | None = None
        if offset:
            rows: Sequence[Row] = await connection.fetch_all(_by_offset(asked), **values)
        else:
            rows, end = await chosen(connection)
        far = [(row[0], row[-1]) for row in rows if row[-2] is None]
        unread = iter(await tallies.unread(connection, caller, far) if far else ())
        lines = [_summary(row, next(unread) if row[-2] is None else row[-2]) for row in rows]
        if behind is not None:
            return lines, None, end
        if not offset and end is None:
            return lines, len(lines), None
        total = await connection.fetch_one(_total(asked), **values)
        count = total[0] if total else 0
        if offset and rows and offset + len(lines) < count:
            end = _end(rows[-1])
        return lines, count, end

    return await db.use(look)


def _end(row: Row) -> PageEnd:
    return PageEnd(row[_ACTIVITY], row[_ID])


def _summary(row: Row, unread: int) -> SessionSummary:
    """Of a page's row, which ends with what is unread near the mark, and the mark."""
    width = len(_LINE)
    session = SessionRecord(*[*row[:_METADATA], {}, *row[_METADATA:width]])
    agent_name, last_message, last_message_at = row[width:-2]
    return SessionSummary(session, agent_name, last_message, last_message_at, unread)
