"""How many messages of a session are above a read mark, in a time that does not grow with their number.

Messages stand in blocks by `seq`, of `FINE` and of `COARSE`. Of a full block the table has how many of its
messages are there, in all and of each sender. A count adds up blocks, and looks at messages where a block
is cut through or not counted yet. Blocks are counted later, by any node (`Tallies.fill`), so that a message
costs nothing for it; a trigger takes a deleted message off, whoever deletes it (revision 0019).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from storage.database import Database, Row, SqlConnection
from storage.senders import sender_of
from storage.statement import Statement, among, to_json
from storage.tables import messages, sessions, tallies

#: Numbers of a block, and blocks of a coarse one. A count looks at two blocks of messages at most, at 30 fine
#: ones, and at one coarse one for each 4,096 messages.
FINE, EACH = 256, 16
COARSE = FINE * EACH
#: Numbers above a mark up to which the messages themselves are counted: that is as quick.
NEAR = 2 * FINE
#: The sender of a block's total.
ALL = ""
#: Sessions that wait to be counted: what is forgotten is found again by who counts in it.
REMEMBERED = 10_000

_ID = sa.bindparam("session_id", type_=sa.String)
_LOCK = Statement(
    sa.select(sessions.c.session_id)
    .where(sessions.c.session_id == _ID)
    # As the writer does: who deletes a message waits, and takes it off what is counted here.
    .with_for_update(key_share=True)
)
#: Of each session: its last number, and how many fine blocks are counted.
_COUNTED = Statement(
    sa.select(
        sessions.c.session_id,
        sessions.c.last_seq,
        sa.func.coalesce(
            sa.select(sa.func.max(tallies.c.block) + 1)
            .where(
                tallies.c.session_id == sessions.c.session_id,
                tallies.c.sender == ALL,
                tallies.c.width == FINE,
            )
            .scalar_subquery(),
            0,
        ),
    ).where(among(sessions.c.session_id, "ids"))
)


def _above(
    session_id: sa.ColumnElement[str],
    mark: sa.ColumnElement[int],
    most: int,
    within: sa.FromClause | None = None,
) -> sa.Subquery:
    """The next messages, deleted ones too; `within` a statement that has the session's row. In order and no
    more than `most`, because PostgreSQL would else take a part of a long session for half of it, and go
    through the whole table."""
    said = (messages.c.seq, messages.c.sender_type, messages.c.sender_id, messages.c.deleted_at)
    chosen = sa.select(*said).where(messages.c.session_id == session_id, messages.c.seq > mark)
    if within is not None:
        chosen = chosen.correlate(within)
    return chosen.order_by(messages.c.seq).limit(sa.literal_column(str(most))).subquery("above")


def next_unread(
    session_id: sa.ColumnElement[str], mark: sa.ColumnElement[int], within: sa.FromClause | None = None
) -> sa.Select[Any]:
    """Of the next `NEAR` messages: how many are others' and undeleted, for `sender_type` and `sender_id`."""
    each = _above(session_id, mark, NEAR, within)
    own = sa.and_(
        each.c.sender_type == sa.bindparam("sender_type", type_=sa.String),
        each.c.sender_id == sa.bindparam("sender_id", type_=sa.String),
    )
    return sa.select(sa.func.count()).select_from(each).where(each.c.deleted_at.is_(None), sa.not_(own))


_NEXT = _above(_ID, sa.bindparam("low", type_=sa.BigInteger), COARSE)
_BLOCK = (_NEXT.c.seq - 1) // sa.literal_column(str(FINE), sa.BigInteger)
_COUNT = Statement(
    sa.select(_BLOCK, _NEXT.c.sender_type, _NEXT.c.sender_id, sa.func.count())
    .where(_NEXT.c.seq <= sa.bindparam("high", type_=sa.BigInteger), _NEXT.c.deleted_at.is_(None))
    .group_by(_BLOCK, _NEXT.c.sender_type, _NEXT.c.sender_id)
)
_PUT = Statement(
    tallies.insert().values(
        {column.name: sa.bindparam(column.name, type_=column.type) for column in tallies.c}
    )
)
#: One coarse block of its fine ones.
_GATHER = Statement(
    tallies.insert().from_select(
        ["session_id", "sender", "width", "block", "live"],
        sa.select(
            tallies.c.session_id,
            tallies.c.sender,
            sa.literal_column(str(COARSE)),
            sa.bindparam("coarse", type_=sa.BigInteger),
            sa.cast(sa.func.sum(tallies.c.live), sa.BigInteger),
        )
        .where(
            tallies.c.session_id == _ID,
            tallies.c.width == FINE,
            tallies.c.block >= sa.bindparam("low", type_=sa.BigInteger),
            tallies.c.block < sa.bindparam("high", type_=sa.BigInteger),
        )
        .group_by(tallies.c.session_id, tallies.c.sender),
    )
)
#: For each range: of messages (`width` 0; above `low`, up to `high`), or of blocks (from `low` to below
#: `high`).
_RANGES = {
    "postgresql": """
json_to_recordset(CAST(:ranges AS json))
    AS r (nth bigint, session_id text, width bigint, low bigint, high bigint)
""",
    "sqlite": """
(SELECT json_extract(value, '$.nth') AS nth, json_extract(value, '$.session_id') AS session_id,
    json_extract(value, '$.width') AS width, json_extract(value, '$.low') AS low,
    json_extract(value, '$.high') AS high
FROM json_each(:ranges)) AS r
""",
}
_ADD_UP = """
SELECT r.nth, CASE WHEN r.width = 0 THEN (
    SELECT count(*) FROM chat_messages m
    WHERE m.session_id = r.session_id AND m.seq > r.low AND m.seq <= r.high AND m.deleted_at IS NULL
        AND NOT (m.sender_type = :sender_type AND m.sender_id = :sender_id)
) ELSE (
    SELECT coalesce(sum(t.live), 0) FROM chat_tallies t
    WHERE t.session_id = r.session_id AND t.sender = '' AND t.width = r.width
        AND t.block >= r.low AND t.block < r.high
) - (
    SELECT coalesce(sum(t.live), 0) FROM chat_tallies t
    WHERE t.session_id = r.session_id AND t.sender = :sender AND t.width = r.width
        AND t.block >= r.low AND t.block < r.high
) END
FROM """


def _adding_up(dialect: str) -> Statement:
    names = ("ranges", "sender_type", "sender_id", "sender")
    return Statement(
        sa.text(_ADD_UP + _RANGES[dialect]).bindparams(*(sa.bindparam(name, type_=sa.Text) for name in names))
    )


_SUMS = {dialect: _adding_up(dialect) for dialect in _RANGES}


def sender_key(sender_type: str, sender_id: str) -> str:
    """Of a tally; never `ALL`."""
    return f"{sender_type}:{sender_id}"


class Tallies:
    """One per node."""

    def __init__(self, db: Database) -> None:
        self._db = db
        #: Sessions with blocks that are full and not counted.
        self.waiting: dict[str, None] = {}
        self.on_wanted: Callable[[], None] = lambda: None

    def want(self, session_id: str) -> None:
        """Let its full blocks be counted."""
        if len(self.waiting) < REMEMBERED:
            self.waiting.setdefault(session_id)
            self.on_wanted()

    async def unread(
        self, connection: SqlConnection, user: str, asked: Sequence[tuple[str, int]]
    ) -> list[int]:
        """For each session and mark: others' undeleted messages above it."""
        counted: dict[str, int] = {}
        ids = list({session_id for session_id, _ in asked})
        for session_id, last_seq, blocks in await connection.fetch_all(_COUNTED, ids=ids):
            counted[session_id] = blocks
            if last_seq - blocks * FINE >= NEAR:
                self.want(session_id)
        ranges = [
            {"nth": nth, "session_id": session_id, "width": width, "low": low, "high": high}
            for nth, (session_id, mark) in enumerate(asked)
            for width, low, high in _ranges(mark, counted.get(session_id, 0))
        ]
        sender_type, sender_id = sender_of(user)
        found = await connection.fetch_all(
            _SUMS[self._db.dialect],
            ranges=to_json(ranges),
            sender_type=sender_type,
            sender_id=sender_id,
            sender=sender_key(sender_type, sender_id),
        )
        counts = [0] * len(asked)
        for nth, count in found:
            counts[nth] += int(count)
        return counts

    async def fill(self, session_id: str) -> bool:
        """Counts the next full blocks, up to a coarse one's end; whether there are more. Any node may, at any
        time. Raises StorageUnavailable."""

        async def work(connection: SqlConnection) -> bool:
            if await connection.fetch_one(_LOCK, session_id=session_id) is None:
                return False
            # Asked behind the lock: another node may have counted meanwhile.
            ((_, last_seq, begin),) = await connection.fetch_all(_COUNTED, ids=[session_id])
            full = last_seq // FINE
            end = min(full, (begin // EACH + 1) * EACH)
            if begin >= end:
                return False
            bounds = {"low": begin * FINE, "high": end * FINE}
            found = await connection.fetch_all(_COUNT, session_id=session_id, **bounds)
            await connection.execute_many(_PUT, _rows(session_id, begin, end, found))
            if end % EACH == 0:
                blocks = {"low": end - EACH, "high": end}
                await connection.execute(_GATHER, session_id=session_id, coarse=end // EACH - 1, **blocks)
            return bool(end < full)

        return await self._db.transact(work)


def _ranges(mark: int, counted: int) -> Iterator[tuple[int, int, int]]:
    """What has to be added up above a mark where so many fine blocks are counted: width, low, high."""
    first = -(-mark // FINE)  # the first block that is wholly above
    yield 0, mark, first * FINE
    yield 0, max(first, counted) * FINE, 1 << 62
    if first >= counted:
        return
    first_coarse, coarse = -(-first // EACH), counted // EACH
    yield FINE, first, min(first_coarse * EACH, counted)
    yield FINE, max(first_coarse, coarse) * EACH, counted
    yield COARSE, first_coarse, coarse


def _rows(session_id: str, begin: int, end: int, found: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Tallies of the blocks from `begin` to below `end`, a total for each."""
    totals = dict.fromkeys(range(begin, end), 0)
    of = {"session_id": session_id, "width": FINE}
    for block, sender_type, sender_id, live in found:
        totals[block] += live
        yield {**of, "block": block, "sender": sender_key(sender_type, sender_id), "live": live}
    for block, live in totals.items():
        yield {**of, "block": block, "sender": ALL, "live": live}
