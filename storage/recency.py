"""Pages of a caller's sessions by their newest activity, in a time that does not grow with their number.

`listed_at` has an index with each user and agent (revision 0020). It is a session's last activity, ten
minutes behind at most. So a page is among the sessions that are listed down to a little below the page's
length: their exact times order them. Each of a caller's parts (what is his own, and what he takes part in)
has an index.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from storage.statement import Statement
from storage.tables import participants, sessions
from storage.types import Time

#: How far `listed_at` may be behind, and a little more: SQLite reckons in days.
BEHIND = timedelta(minutes=10, seconds=1)
#: Below all that is listed.
NEVER = datetime(1970, 1, 1, tzinfo=UTC)

_CALLER = sa.bindparam("caller", type_=sa.String)
_LENGTH = sa.bindparam("length", type_=sa.Integer)
_ACTIVE = sa.bindparam("after_activity", type_=Time)
_ID = sa.bindparam("after_id", type_=sa.String)


class PageEnd(Struct, frozen=True, array_like=True):
    """The session that a page follows."""

    last_activity: datetime
    session_id: str


def after() -> sa.ColumnElement[bool]:
    """What follows a `PageEnd`."""
    same = sa.and_(sessions.c.last_activity == _ACTIVE, sessions.c.session_id > _ID)
    return sa.or_(sessions.c.last_activity < _ACTIVE, same)


class Portion(Struct, frozen=True):
    """Some of a caller's sessions, with the column that their index is ordered by."""

    listed_at: sa.ColumnElement[Any]
    source: sa.FromClause
    chosen: sa.ColumnElement[bool]

    def of(self, *columns: Any) -> sa.Select[Any]:
        return sa.select(*columns).select_from(self.source).where(self.chosen)


def portions(kind: str) -> Iterator[Portion]:
    if kind == "everything":
        yield Portion(sessions.c.listed_at, sessions, sa.true())
    elif kind == "agent":
        own = sessions.c.agent_id == sa.bindparam("as_agent", type_=sa.Integer)
        yield Portion(sessions.c.listed_at, sessions, own)
    else:
        yield Portion(sessions.c.listed_at, sessions, sessions.c.user_id == _CALLER)
        joined = participants.join(sessions, sessions.c.session_id == participants.c.session_id)
        yield Portion(participants.c.listed_at, joined, sa.and_(shared(), sessions.c.user_id != _CALLER))


def shared() -> sa.ColumnElement[bool]:
    """That the caller takes part in another's session, as the index has it."""
    return sa.and_(
        participants.c.user_id == _CALLER,
        participants.c.joined_at.is_not(None),
        participants.c.removed_at.is_(None),
        participants.c.role != sa.literal_column("'owner'"),
    )


def edge(kind: str, *filters: sa.ColumnElement[bool], follows: bool) -> Statement:
    """When the last session of a page's length is listed, as far as what is listed reaches."""
    found = []
    for portion in portions(kind):
        asked = portion.of(portion.listed_at.label("listed_at")).where(
            portion.listed_at.is_not(None), *filters
        )
        if follows:
            asked = asked.where(after(), portion.listed_at <= _ACTIVE)
        found.append(asked.order_by(portion.listed_at.desc()).limit(_LENGTH).subquery())
    each = sa.union_all(*(sa.select(one.c.listed_at) for one in found)).subquery("listed")
    last = sa.select(each.c.listed_at).order_by(each.c.listed_at.desc())
    return Statement(last.limit(1).offset(sa.bindparam("before", type_=sa.Integer)))


def page(kind: str, columns: Any, *filters: sa.ColumnElement[bool], follows: bool) -> sa.Subquery:
    """Its sessions; and those, too, that are not listed yet."""
    down_to = sa.bindparam("edge", type_=Time)
    found = []
    for portion in portions(kind):
        asked = portion.of(*columns).where(*filters)
        if follows:
            asked = asked.where(after())
        listed = portion.listed_at >= down_to
        found.append(asked.where(sa.and_(listed, portion.listed_at <= _ACTIVE) if follows else listed))
        found.append(asked.where(portion.listed_at.is_(None)))
    each = sa.union_all(*found).subquery("each")
    newest = sa.select(*each.c).order_by(each.c.last_activity.desc(), each.c.session_id)
    return newest.limit(_LENGTH).subquery("page")


def counted(kind: str) -> sa.Select[Any]:
    """How many there are, by the indexes alone: of all, those that are being erased are taken off, which are
    few."""
    gone = sessions.c.status == "deleted"
    own = sa.select(sa.func.count()).select_from(sessions).where(next(portions(kind)).chosen)
    found = [own.scalar_subquery() - own.where(gone).scalar_subquery()]
    if kind == "mine":
        taking_part = sa.select(sa.func.count()).select_from(participants).where(shared())
        of_gone = participants.c.session_id.in_(sa.select(sessions.c.session_id).where(gone))
        found.append(taking_part.scalar_subquery() - taking_part.where(of_gone).scalar_subquery())
    return sa.select(sum(found[1:], found[0]))


def reaching(last: datetime | None) -> datetime:
    """Down to where a page may be listed, whose length ends there; None: it is all there is."""
    return NEVER if last is None else last - BEHIND
