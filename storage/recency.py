"""Pages of a caller's sessions by their newest activity, in a time that does not grow with their number.

`listed_at` has an index with each user and agent (revision 0020). It is a session's last activity, ten
minutes behind at most. So a page is among the sessions that are listed down to a little below the page's
length: their exact times order them. Each of a caller's portions (what is his own, and what he takes part
in) has an index.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from storage.database import Row, SqlConnection
from storage.statement import Statement
from storage.tables import participants, sessions
from storage.types import Time

#: How far `listed_at` may be behind, and a little more: SQLite reckons in days.
BEHIND = timedelta(minutes=10, seconds=1)
#: Sessions of a portion that a page is looked for among: where more of them were active within ten minutes,
#: it takes another look. The first is for pages up to `SHORT`.
SHORT, LOOKS = 25, (50, 200, 2_000, 20_000, 2**31 - 1)

_CALLER = sa.bindparam("caller", type_=sa.String)
_ACTIVE = sa.bindparam("after_activity", type_=Time)
_ID = sa.bindparam("after_id", type_=sa.String)


#: Conditions on a session; the same object each time, because statements are kept by it.
Filters = Callable[[], Sequence[sa.ColumnElement[bool]]]


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
        yield Portion(participants.c.listed_at, joined, shared())


def shared() -> sa.ColumnElement[bool]:
    """That the caller takes part in another's session, as the index has it."""
    return sa.and_(
        participants.c.user_id == _CALLER,
        participants.c.joined_at.is_not(None),
        participants.c.removed_at.is_(None),
        participants.c.role != sa.literal_column("'owner'"),
    )


def _listed(kind: str, filters: Sequence[sa.ColumnElement[bool]], follows: bool, most: int) -> Statement:
    """Of each portion the `most` that are listed last, and the `most` newest of those that are not listed
    yet: the portion's number, the session, its activity, when it is listed. In order."""
    # A number in the text: PostgreSQL goes by it, where it would take a parameter for a tenth of all.
    limit: sa.ColumnElement[Any] = sa.literal_column(str(most))
    found = []
    for number, portion in enumerate(portions(kind)):
        at = portion.listed_at
        columns: tuple[Any, ...] = (sa.literal_column(str(number)).label("portion"), sessions.c.session_id)
        asked = portion.of(*columns, sessions.c.last_activity, at.label("listed_at")).where(*filters)
        listed = asked.where(at.is_not(None))
        if follows:
            asked = asked.where(after())
            listed = listed.where(after(), at <= _ACTIVE)
        found.append(listed.order_by(at.desc()).limit(limit).subquery())
        found.append(ordered(asked.where(at.is_(None))).limit(limit).subquery())
    each = sa.union_all(*(sa.select(*half.c) for half in found)).subquery("each")
    return Statement(sa.select(*each.c).order_by(each.c.last_activity.desc(), each.c.session_id))


def ordered(chosen: sa.Select[Any]) -> sa.Select[Any]:
    """As lists are, and as `after` goes on."""
    return chosen.order_by(sessions.c.last_activity.desc(), sessions.c.session_id)


@lru_cache
def _asking(kind: str, filters: Filters, follows: bool, most: int) -> Statement:
    return _listed(kind, filters(), follows, most)


async def newest(
    connection: SqlConnection, kind: str, filters: Filters, length: int, values: Mapping[str, Any]
) -> list[PageEnd]:
    """The first `length` sessions of the caller's in order, or those that follow `after_activity` and
    `after_id`, where these are among the values."""
    follows = "after_activity" in values
    for most in LOOKS[length > SHORT :]:
        rows = await connection.fetch_all(_asking(kind, filters, follows, most), **values)
        # Once each, should one's own be among what one takes part in.
        found = list({row[1]: PageEnd(row[2], row[1]) for row in rows}.values())
        left = _left_out(rows, most)
        if left is None or (len(found) >= length and found[length - 1].last_activity >= left):
            break
    return found[:length]


def _left_out(rows: Sequence[Row], most: int) -> datetime | None:
    """What was left out was active no later than this; None: nothing was."""
    halves: dict[tuple[int, bool], list[datetime]] = {}
    for portion, _, active, listed in rows:
        # A listed one is active a little later than it is listed.
        is_listed = listed is not None
        halves.setdefault((portion, is_listed), []).append(listed + BEHIND if is_listed else active)
    return max((min(times) for times in halves.values() if len(times) == most), default=None)


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
