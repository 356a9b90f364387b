"""Pages of a session's path: the messages from the root to its head, where it has branches."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache

import sqlalchemy as sa
from msgspec import Struct

from storage.batched_select import BatchedSelect
from storage.database import Database
from storage.forks import ids_of, tree_of
from storage.messages import cut_page, is_from_below, page_select
from storage.records import MessageRecord, SessionRecord
from storage.statement import Statement, among
from storage.tables import messages
from storage.tree import Tree
from storage.types import Time


class Kin(Struct, frozen=True):
    """The message that one follows, None: it is the first; and all that follow the same, if several do. A
    deleted one counts where it is shown, or something follows it."""

    parent_id: str | None
    siblings: Sequence[str] = ()


class PathPage(Struct, frozen=True):
    """`kin` by message_id; `has_more` as `storage.messages.Messages.page` tells it."""

    messages: list[MessageRecord]
    has_more: bool
    kin: Mapping[str, Kin]


def _last_before(time: sa.ColumnElement[bool]) -> Statement:
    return Statement(
        sa.select(messages.c.seq)
        .where(messages.c.session_id == sa.bindparam("session_id", type_=sa.String), time)
        .order_by(messages.c.seq.desc())
        .limit(1)
    )


_AT = sa.bindparam("at", type_=Time)
_BEFORE = _last_before(messages.c.created_at < _AT)
_UNTIL = _last_before(messages.c.created_at <= _AT)


#: Ids, and whether they are of deleted messages.
_NAMED_IN = sa.select(messages.c.seq, messages.c.message_id, messages.c.deleted_at.is_not(None)).where(
    messages.c.session_id == sa.bindparam("session_id", type_=sa.String),
    among(messages.c.seq, "numbers"),
)


@lru_cache
def _page(descending: bool) -> BatchedSelect:
    """A page, and the ids of those that are named in it."""
    page = page_select(frozenset({"seqs"}), "seq", descending=descending)
    return BatchedSelect(page, _NAMED_IN, each="session_id")


class Paths:
    """Every method raises StorageUnavailable. `session` has a head."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(
        self,
        session: SessionRecord,
        tree: Tree | None = None,
        *,
        before_seq: int | None = None,
        after_seq: int | None = None,
        before: datetime | None = None,
        after: datetime | None = None,
        order: str | None = None,
        limit: int,
        max_bytes: int,
    ) -> PathPage:
        """As `storage.messages.Messages.page`, of the path alone. `tree`: where the session's was read."""
        assert session.head_seq is not None
        if tree is None:
            tree = await tree_of(self._db, session.session_id, session.last_seq)
        bounds = [before_seq, after_seq, before, after]
        from_below = is_from_below(after_seq is not None or after is not None, order, bounds)
        descending = order == "desc" or not from_below
        below, above = before_seq, after_seq or 0
        if before is not None:
            latest = await self._last(_BEFORE, session.session_id, before) + 1
            below = latest if below is None else min(below, latest)
        if after is not None:
            above = max(above, await self._last(_UNTIL, session.session_id, after))
        choose = tree.newest if descending else tree.oldest
        seqs = choose(session.head_seq, limit + 1, above=above, below=below)
        if not seqs:
            return PathPage([], False, {})
        parents = {seq: tree.parent(seq) for seq in seqs}
        families = {parent: tree.children(parent) for parent in set(parents.values())}
        several = {parent: family for parent, family in families.items() if len(family) > 1}
        found = await _page(descending).fetch(
            self._db,
            [session.session_id],
            seqs=seqs,
            numbers=sorted({*families, *(seq for family in several.values() for seq in family)} - {0}),
            rows=limit + 1,
            max_bytes=max_bytes,
        )
        rows, named = found[session.session_id]
        records, more = cut_page(rows, limit, max_bytes)
        if descending and order != "desc":
            records.reverse()
        ids: dict[int, str] = {row[0]: row[1] for row in named}
        gone = {row[0] for row in named if row[2] and row[0] not in parents and not tree.children(row[0])}
        siblings = {
            parent: [ids[seq] for seq in family if seq not in gone] for parent, family in several.items()
        }
        siblings = {parent: family for parent, family in siblings.items() if len(family) > 1}
        kin = {
            record.message_id: Kin(ids.get(parents[record.seq]), siblings.get(parents[record.seq], ()))
            for record in records
        }
        return PathPage(records, more, kin)

    async def _last(self, statement: Statement, session_id: str, at: datetime) -> int:
        row = await self._db.fetch_one(statement, session_id=session_id, at=at)
        return int(row[0]) if row else 0

    async def message_at(self, session_id: str, seq: int) -> str | None:
        return (await ids_of(self._db, session_id, [seq])).get(seq)

    async def parents(self, session_id: str, records: Sequence[MessageRecord]) -> dict[str, str | None]:
        """What each message follows, by message_id; also where there are no branches."""
        ids = {record.seq: record.message_id for record in records}
        before = {record.seq - 1 for record in records if record.parent_seq is None}
        ids |= await ids_of(self._db, session_id, sorted(before - {0, *ids}))
        return {
            record.message_id: (ids.get(record.seq - 1) if record.parent_seq is None else record.parent_id)
            for record in records
        }
