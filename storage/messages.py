"""Queries on messages: pages of them, what changed, open streams. New ones come through `storage.writer`."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

import sqlalchemy as sa

from storage import batch_postgresql, batch_sqlite
from storage.answeredby import answered_by
from storage.batch import Batch, Needs
from storage.batch_reads import lock_turns
from storage.context import context
from storage.database import Database, Row, SqlConnection
from storage.errors import MessageMissing
from storage.ops import DeleteMessage, ForgetAnswers
from storage.parts import file_ids, has_files
from storage.questions import write_turns
from storage.records import BULK, FileRecord, MessageRecord, OpenStream
from storage.rows import FILE, MESSAGE
from storage.sizes import OVERHEAD, SIZE
from storage.statement import Statement, among, to_json
from storage.tables import files, messages, sessions
from storage.types import Time

#: Messages, and bytes of them, of which tombstones are made in one transaction, and members told in one turn.
ERASED, ERASED_BYTES = 100, 128 * 1024

_SESSION = messages.c.session_id == sa.bindparam("session_id", type_=sa.String)

_GET = Statement(sa.select(*MESSAGE).where(messages.c.message_id == sa.bindparam("id")))
_REVISIONS = Statement(
    sa.select(messages.c.message_id, messages.c.revision, messages.c.edited_at).where(
        among(messages.c.message_id, "ids")
    )
)
_TAKEN = Statement(sa.select(messages.c.revision).where(_SESSION, among(messages.c.revision, "revisions")))
_BY_SENDER = Statement(
    sa.select(*MESSAGE).where(
        _SESSION,
        messages.c.sender_type == sa.bindparam("sender_type"),
        messages.c.sender_id == sa.bindparam("sender_id"),
        messages.c.client_message_id == sa.bindparam("client_message_id"),
    )
)
_COUNTS = Statement(
    sa.select(sessions.c.message_count, sessions.c.last_seq, sessions.c.last_revision).where(
        sessions.c.session_id == sa.bindparam("session_id")
    )
)
#: The word stands in the text: neither database takes the index of open streams for a parameter, and SQLite
#: then plans the statement anew each time.
_IS_OPEN = messages.c.status == sa.literal_column("'streaming'")
_OPEN = sa.select(messages.c.message_id, messages.c.revision).where(_IS_OPEN).order_by(messages.c.id)
OPEN_IN = _OPEN.where(_SESSION)
_OPEN_ALL = Statement(_OPEN)
_OPEN_IN = Statement(OPEN_IN)
_OPEN_IDS = Statement(sa.select(messages.c.message_id).where(_IS_OPEN).order_by(messages.c.id))
_FILES = Statement(sa.select(*FILE).where(among(files.c.message_id, "ids")).order_by(files.c.id))
_FILES_BY_ID = Statement(
    sa.select(*FILE).where(among(files.c.file_id, "ids"), files.c.message_id.is_not(None))
)
_UNDELETED = messages.c.deleted_at.is_(None)

#: One statement for all: SQLite's driver gives up the interpreter's lock with every step, and waits for it.
_CHECKPOINT_SQLITE = """
UPDATE chat_messages SET content = json_extract(n.value, '$[0]'), parts = json_extract(n.value, '$[1]')
FROM json_each(?) AS n
WHERE message_id = n.key AND status = 'streaming'
RETURNING message_id
"""
_CHECKPOINT_POSTGRESQL = """
WITH locked AS (
    SELECT message_id FROM chat_messages WHERE message_id = ANY ($1::text[]) AND status = 'streaming'
    ORDER BY message_id FOR NO KEY UPDATE
)
UPDATE chat_messages m SET content = n.content, parts = n.parts::jsonb
FROM unnest($1::text[], $2::text[], $3::text[]) AS n (message_id, content, parts)
JOIN locked USING (message_id)
WHERE m.message_id = n.message_id
RETURNING m.message_id
"""


#: Which of the parameters bound a page; each set of them is a statement of its own.
_BOUNDS: dict[str, sa.ColumnElement[bool]] = {
    "before_seq": messages.c.seq < sa.bindparam("before_seq", type_=sa.BigInteger),
    "after_seq": messages.c.seq > sa.bindparam("after_seq", type_=sa.BigInteger),
    "before": messages.c.created_at < sa.bindparam("before", type_=Time),
    "after": messages.c.created_at > sa.bindparam("after", type_=Time),
    "after_revision": messages.c.revision > sa.bindparam("after_revision", type_=sa.BigInteger),
    "seqs": among(messages.c.seq, "seqs"),
}


def page_select(bounds: frozenset[str], key: str, *, descending: bool) -> sa.Select[Any]:
    """At most `rows` rows in order of `key`, and no more of them than fill `max_bytes`.

    Each row is followed by how many there would have been without the limit in bytes.
    """
    order = messages.c[key].desc() if descending else messages.c[key].asc()
    found = (
        sa.select(*MESSAGE, SIZE.label("size"))
        .where(_SESSION, *(_BOUNDS[name] for name in sorted(bounds)))
        .order_by(order)
        .limit(sa.bindparam("rows", type_=sa.Integer))
        .subquery("found")
    )
    in_order = found.c[key].desc() if descending else found.c[key].asc()
    sized = sa.select(
        *found.c,
        sa.func.count().over().label("available"),
        # What comes before this row.
        (sa.func.sum(found.c.size).over(order_by=in_order, rows=(None, 0)) - found.c.size).label("preceding"),
    ).subquery("sized")
    return (
        sa.select(*(sized.c[column.name] for column in MESSAGE), sized.c.available)
        .where(sized.c.preceding <= sa.bindparam("max_bytes", type_=sa.BigInteger))
        .order_by(sized.c[key].desc() if descending else sized.c[key].asc())
    )


def _filling(chosen: sa.Select[Any], order: sa.ColumnElement[Any]) -> Statement:
    """Of a limited select of messages those that, in `order`, fill `max_bytes`; the last goes beyond. What is
    read in one turn of the loop is bounded so, however large each may be."""
    found = chosen.add_columns(SIZE.label("size"), order.label("place")).subquery("found")
    filled = sa.func.sum(found.c.size).over(order_by=found.c.place, rows=(None, 0))
    sized = sa.select(*found.c, (filled - found.c.size).label("preceding")).subquery("sized")
    return Statement(
        sa.select(*(sized.c[column.name] for column in chosen.selected_columns))
        .where(sized.c.preceding <= sa.bindparam("max_bytes", type_=sa.BigInteger))
        .order_by(sized.c.place)
    )


_OF_USER = _filling(
    sa.select(messages.c.session_id, messages.c.message_id)
    .where(
        messages.c.sender_type == "user",
        messages.c.sender_id == sa.bindparam("user_id"),
        _UNDELETED,
    )
    # In no order, for which PostgreSQL would look through others' messages.
    .limit(sa.bindparam("limit", type_=sa.Integer)),
    messages.c.id,
)


_ANSWERED_BY = Statement(
    sa.select(messages.c.session_id, messages.c.message_id)
    .where(messages.c.interrupts.is_not(None), answered_by(messages.c.interrupts, "user_id"))
    .limit(sa.bindparam("limit", type_=sa.Integer))
)


@lru_cache
def _page(bounds: frozenset[str], key: str, *, descending: bool) -> Statement:
    return Statement(page_select(bounds, key, descending=descending))


def is_from_below(has_lower: bool, order: str | None, bounds: Collection[Any]) -> bool:
    """Whether a page of these bounds begins at the oldest message."""
    return has_lower or (order == "asc" and all(bound is None for bound in bounds))


def cut_page(rows: Sequence[Row], limit: int, max_bytes: int) -> tuple[list[MessageRecord], bool]:
    """The rows that fit, at least one, and whether there are more."""
    records: list[MessageRecord] = []
    size = 0
    for row in rows[:limit]:
        record = MessageRecord(*row[:-1])
        size += OVERHEAD
        for name in BULK:
            value = getattr(record, name)
            size += 0 if value is None else len(to_json(value).encode())
        if records and size > max_bytes:
            break
        records.append(record)
    return records, bool(rows) and len(records) < rows[0][-1]


class Messages:
    """Every method raises StorageUnavailable. A session or message that is missing gives an empty answer."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, message_id: str) -> MessageRecord | None:
        row = await self._db.fetch_one(_GET, id=message_id)
        return None if row is None else MessageRecord(*row)

    async def by_client_id(
        self, session_id: str, sender_type: str, sender_id: str, client_message_id: str
    ) -> MessageRecord | None:
        """A message by its sender's own id."""
        row = await self._db.fetch_one(
            _BY_SENDER,
            session_id=session_id,
            sender_type=sender_type,
            sender_id=sender_id,
            client_message_id=client_message_id,
        )
        return None if row is None else MessageRecord(*row)

    async def counts(self, session_id: str) -> tuple[int, int, int]:
        """(messages, tombstones among them; last_seq; last_revision) of a session."""
        row = await self._db.fetch_one(_COUNTS, session_id=session_id)
        return (row[0], row[1], row[2]) if row else (0, 0, 0)

    async def page(
        self,
        session_id: str,
        *,
        before_seq: int | None = None,
        after_seq: int | None = None,
        before: datetime | None = None,
        after: datetime | None = None,
        order: str | None = None,
        limit: int,
        max_bytes: int,
    ) -> tuple[list[MessageRecord], bool]:
        """At most `limit` messages and `max_bytes` of JSON, at least one; and whether there are more.

        Bounds exclude what they name. "desc": the newest within the bounds, newest first. Otherwise
        oldest first: those next to the lower bound if there is one, or with "asc" and no bound the very
        first; else the newest.
        """
        given = {"before_seq": before_seq, "after_seq": after_seq, "before": before, "after": after}
        bounds = {name: value for name, value in given.items() if value is not None}
        from_below = is_from_below("after_seq" in bounds or "after" in bounds, order, given.values())
        descending = order == "desc" or not from_below
        records, more = await self._read(session_id, bounds, "seq", descending, limit, max_bytes)
        if descending and order != "desc":
            records.reverse()
        return records, more

    async def changes(
        self, session_id: str, after_revision: int, limit: int, max_bytes: int
    ) -> tuple[list[MessageRecord], bool, int]:
        """What has a higher revision, by revision; whether there is more; the session's last_revision.

        `last_revision` is read first: there may already be later ones among the messages, but none up
        to it is missing (unless there is more).
        """
        _, _, last_revision = await self.counts(session_id)
        if last_revision <= after_revision:
            return [], False, last_revision
        bounds = {"after_revision": after_revision}
        records, more = await self._read(session_id, bounds, "revision", False, limit, max_bytes)
        return records, more, last_revision

    async def _read(
        self,
        session_id: str,
        bounds: dict[str, Any],
        key: str,
        descending: bool,
        limit: int,
        max_bytes: int,
    ) -> tuple[list[MessageRecord], bool]:
        statement = _page(frozenset(bounds), key, descending=descending)
        clamped = {
            name: min(value, 2**62) if isinstance(value, int) else value for name, value in bounds.items()
        }
        rows = await self._db.fetch_all(
            statement, session_id=session_id, rows=limit + 1, max_bytes=max_bytes, **clamped
        )
        return cut_page(rows, limit, max_bytes)

    async def context(
        self, session_id: str, before_seq: int, limit: int, max_bytes: int
    ) -> list[MessageRecord]:
        """The conversation before a message, for an agent (`storage.context`)."""
        return await context(self._db, session_id, before_seq, limit, max_bytes)

    async def revisions(self, message_ids: Sequence[str]) -> dict[str, tuple[int, datetime | None]]:
        """By message_id, and when it was edited last; one that is not there is missing."""
        rows = await self._db.fetch_all(_REVISIONS, ids=list(message_ids))
        return {row[0]: (row[1], row[2]) for row in rows}

    async def taken(self, session_id: str, revisions: Sequence[int]) -> set[int]:
        """Those of a session's revisions that are the newest of some message."""
        rows = await self._db.fetch_all(_TAKEN, session_id=session_id, revisions=list(revisions))
        return {row[0] for row in rows}

    async def files_of(self, message_ids: Iterable[str]) -> dict[str, list[FileRecord]]:
        """By message_id; a message without files is missing."""
        found: dict[str, list[FileRecord]] = {}
        for row in await self._db.fetch_all(_FILES, ids=list(message_ids)):
            record = FileRecord(*row)
            found.setdefault(str(record.message_id), []).append(record)
        return found

    async def files_with(self, records: Sequence[MessageRecord]) -> dict[str, list[FileRecord]]:
        """The same of messages that were read; another version of a message has the files of the first."""
        ids = [r.message_id for r in records if not r.deleted_at and has_files(r)]
        found = await self.files_of(ids) if ids else {}
        later = [r for r in records if r.parent_seq is not None and r.message_type == "file"]
        lacking = {file_id for r in later if r.message_id not in found for file_id in file_ids(r.parts)}
        if lacking:
            rows = await self._db.fetch_all(_FILES_BY_ID, ids=sorted(lacking))
            shared = {record.file_id: record for record in (FileRecord(*row) for row in rows)}
            for r in later:
                mine = [shared[file_id] for file_id in file_ids(r.parts) if file_id in shared]
                found.setdefault(r.message_id, [file for file in mine if file.session_id == r.session_id])
        return found

    async def open_streams(self, session_id: str | None = None) -> list[OpenStream]:
        """Messages that are being written, in one session or in all."""
        if session_id is None:
            rows = await self._db.fetch_all(_OPEN_ALL)
        else:
            rows = await self._db.fetch_all(_OPEN_IN, session_id=session_id)
        return [OpenStream(*row) for row in rows]

    async def open_stream_ids(self) -> list[str]:
        """Of all messages that are being written."""
        return [row[0] for row in await self._db.fetch_all(_OPEN_IDS)]

    async def checkpoint(self, batch: Sequence[tuple[str, str, list[dict[str, Any]] | None]]) -> set[str]:
        """Save what open streams consist of so far: (message_id, content, parts). Moves no revision.

        Returns the message_ids that are still open; the others are not touched.
        """
        if not batch:
            return set()
        if self._db.dialect == "postgresql":
            arrays = zip(*[(id, text, parts and to_json(parts)) for id, text, parts in batch], strict=True)
            rows = await self._db.use(lambda c: c.raw.fetch(_CHECKPOINT_POSTGRESQL, *arrays))
        else:
            given = (to_json({id: (text, parts) for id, text, parts in batch}),)
            rows = await self._db.transact(lambda c: c.raw.execute_fetchall(_CHECKPOINT_SQLITE, given))
        return {row[0] for row in rows}

    async def erase_user(self, user_id: str, *, now: datetime, limit: int = ERASED) -> list[MessageRecord]:
        """Make tombstones of a user's messages, in whatever state their sessions are.

        At most `limit` and `ERASED_BYTES` at a time: returns the tombstones, with the revisions they took;
        nothing when done.
        """
        erased: list[MessageRecord] = []
        while not erased:
            found = await self._db.fetch_all(_OF_USER, user_id=user_id, limit=limit, max_bytes=ERASED_BYTES)
            if not found:
                break
            ops = [DeleteMessage(row[0], row[1], erase=True) for row in found]
            erased = await self._db.transact(partial(_erase, ops=ops, now=now))
        return erased

    async def erase_answers(self, key: str, *, now: datetime, limit: int = ERASED) -> list[MessageRecord]:
        """The same of what an identity has answered where messages waited for people."""
        found = await self._db.fetch_all(_ANSWERED_BY, user_id=key, limit=limit)
        ops = [ForgetAnswers(row[0], row[1], key) for row in found]
        return await self._db.transact(partial(_erase, ops=ops, now=now)) if ops else []


async def _erase(
    connection: SqlConnection, ops: Sequence[DeleteMessage | ForgetAnswers], now: datetime
) -> list[MessageRecord]:
    store = batch_postgresql if connection.dialect == "postgresql" else batch_sqlite
    needs = Needs(ops)
    sessions, messages, files = await store.read(connection, needs)
    batch = Batch(now, sessions, messages, files, turns=await lock_turns(connection, needs, messages))
    erased: list[MessageRecord] = []
    for op in ops:
        # Its sender may have deleted it meanwhile.
        with suppress(MessageMissing):
            erased.append(batch.apply(op).record)
    await store.write(connection, batch)
    await write_turns(connection, batch)
    return erased
