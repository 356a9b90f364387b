"""Queries on sessions: one at a time, and their life. Lists are in `storage.listing`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from storage import caps
from storage.batch_loader import BatchLoader
from storage.database import Database, Row, SqlConnection
from storage.listing import list_sessions
from storage.notes import Notes, of_session
from storage.recency import PageEnd
from storage.records import FileRecord, ParticipantRecord, SessionRecord, SessionState, SessionSummary
from storage.repeating import insert_once
from storage.rows import FILE, PARTICIPANT, SESSION
from storage.statement import Statement, among
from storage.tables import files, participants, sessions
from storage.tallies import Tallies
from storage.types import Time

_INSERT = Statement(
    sessions.insert().values(
        {column.name: sa.bindparam(column.name) for column in SESSION}
        | {"listed_at": sa.bindparam("last_activity", type_=Time)}
    )
)
_GET = Statement(
    sa.select(*SESSION).where(sessions.c.session_id == sa.bindparam("id"), sessions.c.status != "deleted")
)
#: A row for each session and each of the users who takes part in it; without a user where none does.
_GET_FOR = Statement(
    sa.select(*SESSION, *PARTICIPANT)
    .select_from(
        sessions.outerjoin(
            participants,
            sa.and_(
                participants.c.session_id == sessions.c.session_id,
                among(participants.c.user_id, "user_ids"),
                participants.c.joined_at.is_not(None),
            ),
        )
    )
    .where(among(sessions.c.session_id, "ids"), sessions.c.status != "deleted")
)
_GET_ALL = Statement(
    sa.select(*SESSION).where(among(sessions.c.session_id, "ids"), sessions.c.status != "deleted")
)
_NOW = sa.bindparam("now", type_=Time)
_ALIVE = sa.and_(sessions.c.status == "active", sessions.c.ended_at.is_(None), sessions.c.expires_at > _NOW)

_COUNT_ACTIVE = Statement(sa.select(sa.func.count()).select_from(sessions).where(_ALIVE))

_COUNT_OF = Statement(
    sa.select(sa.func.count()).select_from(
        sa.select(sessions.c.session_id)
        .where(sessions.c.user_id == sa.bindparam("user_id"), sessions.c.status != "deleted")
        .limit(sa.bindparam("most", type_=sa.Integer))
        .subquery()
    )
)

_ENDING = (
    sa.select(sessions.c.session_id)
    .where(sessions.c.status == "active", sessions.c.ended_at.is_(None), sessions.c.expires_at <= _NOW)
    .order_by(sessions.c.expires_at)
    .limit(sa.bindparam("limit", type_=sa.Integer))
    # A session that is being written to may be about to live on: leave it for the next round.
    .with_for_update(skip_locked=True)
)
_END = Statement(
    sessions.update()
    .where(sessions.c.session_id.in_(_ENDING))
    .values(ended_at=_NOW)
    .returning(sessions.c.session_id)
)

_CUTOFF = sa.bindparam("cutoff", type_=Time)
_PURGEABLE = Statement(
    sa.select(sessions.c.session_id)
    .where(
        sa.or_(
            sessions.c.status == "deleted",
            sa.and_(
                sessions.c.status == "archived",
                sa.func.coalesce(sessions.c.ended_at, sessions.c.updated_at) < _CUTOFF,
            ),
            sa.and_(sessions.c.status == "active", sessions.c.expires_at < _CUTOFF),
        )
    )
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_LOCK = Statement(
    sa.select(
        sessions.c.session_id,
        sessions.c.ttl_hours,
        sessions.c.last_activity,
        sessions.c.expires_at,
        sa.and_(sessions.c.status == "active", sessions.c.ended_at.is_(None)),
    )
    .where(among(sessions.c.session_id, "ids"))
    .order_by(sessions.c.session_id)
    .with_for_update()
)
_FILES = Statement(sa.select(*FILE).where(among(files.c.session_id, "ids")))
_PURGE = Statement(sessions.delete().where(among(sessions.c.session_id, "ids")))

_TOUCH_ONE = Statement(
    sessions.update()
    .where(sessions.c.session_id == sa.bindparam("which"))
    .values(
        request_count=sessions.c.request_count + sa.bindparam("count"),
        last_activity=sa.bindparam("last_activity"),
        expires_at=sa.bindparam("expires_at"),
    )
)
_TOUCH_ALL = """
WITH locked AS (
    SELECT session_id FROM chat_sessions WHERE session_id = ANY ($1::text[])
    ORDER BY session_id FOR NO KEY UPDATE
)
UPDATE chat_sessions s
SET request_count = s.request_count + n.count,
    last_activity = CASE WHEN s.status = 'active' AND s.ended_at IS NULL AND s.expires_at > n.at
        THEN greatest(s.last_activity, n.at) ELSE s.last_activity END,
    expires_at = CASE WHEN s.status = 'active' AND s.ended_at IS NULL AND s.expires_at > n.at
        THEN greatest(s.expires_at, n.at + s.ttl_hours * interval '1 hour') ELSE s.expires_at END
FROM unnest($1::text[], $2::bigint[], $3::timestamptz[]) AS n (session_id, count, at)
JOIN locked USING (session_id)
WHERE s.session_id = n.session_id
"""

_STATES = Statement(
    sa.select(
        sessions.c.session_id, sessions.c.last_revision, sessions.c.status, sessions.c.expires_at
    ).where(among(sessions.c.session_id, "ids"))
)
_HEADS = Statement(
    sa.select(sessions.c.session_id, sessions.c.head_id).where(
        among(sessions.c.session_id, "ids"), sessions.c.head_id.is_not(None)
    )
)
_TITLES = Statement(
    sa.select(sessions.c.session_id, sessions.c.title).where(
        among(sessions.c.session_id, "ids"),
        sessions.c.updated_at >= sa.bindparam("since", type_=Time),
        sessions.c.updated_at > sessions.c.created_at,
        sessions.c.status == "active",
    )
)
_REMOVED = Statement(
    sa.select(participants.c.session_id, participants.c.user_id).where(
        among(participants.c.session_id, "ids"),
        participants.c.removed_at >= sa.bindparam("since", type_=Time),
    )
)

_EXTEND = Statement(
    sessions.update()
    .where(sessions.c.session_id == sa.bindparam("id"), sessions.c.status == "active")
    .values(
        expires_at=sa.case(
            (sessions.c.expires_at > sa.bindparam("until", type_=Time), sessions.c.expires_at),
            else_=sa.bindparam("until", type_=Time),
        ),
        # Never back: messages' times go by it.
        last_activity=sa.case(
            (sessions.c.last_activity > _NOW, sessions.c.last_activity),
            else_=_NOW,
        ),
        updated_at=_NOW,
        ended_at=None,
    )
    .returning(*SESSION)
)
_TTL = Statement(sa.select(sessions.c.ttl_hours).where(sessions.c.session_id == sa.bindparam("id")))


@lru_cache
def _update(names: frozenset[str]) -> Statement:
    changed = {name: sa.bindparam(name, type_=sessions.c[name].type) for name in names}
    return Statement(
        sessions.update()
        .where(sessions.c.session_id == sa.bindparam("id"), sessions.c.status != "deleted")
        .values(changed | {"updated_at": _NOW})
        .returning(*SESSION)
    )


_For = tuple[SessionRecord, ParticipantRecord | None]


def _values(record: SessionRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


async def insert(connection: SqlConnection, record: SessionRecord) -> None:
    """Within a transaction. Raises AlreadyExists (session_id or trace_id)."""
    await connection.execute(_INSERT, **_values(record))


async def note_begun(connection: SqlConnection, notes: Notes, name: str, record: SessionRecord) -> None:
    """For webhooks, with the session's insert."""
    data = of_session("created", record)
    await notes.note(connection, name, record.session_id, "session", data, record.created_at, record.user_id)


async def owned(connection: SqlConnection, user_id: str, most: int) -> int:
    """Sessions of an owner, whatever their status, counted up to `most`; nobody adds one to them until the
    transaction's end."""
    await caps.alone(connection, "sessions", user_id)
    row = await connection.fetch_one(_COUNT_OF, user_id=user_id, most=most)
    return int(row[0]) if row else 0


class Sessions:
    """Every method raises StorageUnavailable; those that can raise something else say so."""

    def __init__(self, db: Database, tallies: Tallies | None = None, notes: Notes | None = None) -> None:
        self._db, self._tallies, self._notes = db, tallies or Tallies(db), notes or Notes(db)
        self._for = BatchLoader(self._get_for)
        _GET_FOR.on(db.dialect)  # now, not when the first one joins

    async def create(self, record: SessionRecord, most: int | None = None) -> SessionRecord:
        """Raises AlreadyExists (session_id or trace_id), CapReached (its owner has `most`)."""

        notes, name = self._notes, self._notes.name()

        async def work(connection: SqlConnection) -> None:
            if most is not None:
                caps.admit(await owned(connection, record.user_id, most), most)
            await insert(connection, record)
            if notes.on:
                await note_begun(connection, notes, name, record)

        async def store() -> None:
            if most is None and not notes.on:
                await self._db.execute(_INSERT, again=True, **_values(record))
            else:
                await self._db.transact(work, again=True)

        await insert_once(store, lambda: self._is_stored(record))
        notes.told([record.session_id])
        return record

    async def _is_stored(self, record: SessionRecord) -> bool:
        found = await self.get(record.session_id)
        return found is not None and found.trace_id == record.trace_id

    async def get(self, session_id: str) -> SessionRecord | None:
        """Also expired and archived ones; not those that await their purge."""
        row = await self._db.fetch_one(_GET, id=session_id)
        return None if row is None else SessionRecord(*row)

    async def get_for(
        self, session_id: str, user_id: str
    ) -> tuple[SessionRecord | None, ParticipantRecord | None]:
        """As `get`, with this user as a participant: also one that was removed."""
        return await self._for.get((session_id, user_id)) or (None, None)

    async def _get_for(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], _For]:
        ids, user_ids = {session_id for session_id, _ in pairs}, {user_id for _, user_id in pairs}
        rows = await self._db.fetch_all(_GET_FOR, ids=list(ids), user_ids=list(user_ids))
        found: dict[str, SessionRecord] = {}
        people: dict[tuple[str, str], ParticipantRecord] = {}
        for row in rows:
            session = SessionRecord(*row[: len(SESSION)])
            found[session.session_id] = session
            if row[len(SESSION)]:
                participant = ParticipantRecord(*row[len(SESSION) :])
                people[session.session_id, participant.user_id] = participant
        return {pair: (found[pair[0]], people.get(pair)) for pair in pairs if pair[0] in found}

    async def get_all(self, session_ids: Sequence[str]) -> dict[str, SessionRecord]:
        """Those that `get` would find, by id."""
        rows = await self._db.fetch_all(_GET_ALL, ids=list(session_ids))
        records = [SessionRecord(*row) for row in rows]
        return {record.session_id: record for record in records}

    async def update(
        self,
        session_id: str,
        *,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        status: str | None = None,
        ended_at: datetime | None = None,
        now: datetime,
    ) -> SessionRecord | None:
        """A column whose argument is None stays as it is; but `ended_at` is written whenever `status` is."""
        changes: dict[str, Any] = {}
        if title is not None:
            changes["title"] = title
        if metadata is not None:
            changes["metadata"] = dict(metadata)
        if status is not None:
            changes |= {"status": status, "ended_at": ended_at}
        statement, values = _update(frozenset(changes)), {"id": session_id, "now": now, **changes}
        if self._notes.on:
            return await self._update_noted(
                statement, values, "archived" if status == "archived" else "updated"
            )
        rows = await self._db.change(statement, again=True, **values)
        return SessionRecord(*rows[0]) if rows else None

    async def _update_noted(
        self, statement: Statement, values: dict[str, Any], event: str
    ) -> SessionRecord | None:
        name = self._notes.name()

        async def work(connection: SqlConnection) -> SessionRecord | None:
            row = await connection.fetch_one(statement, **values)
            if row is None:
                return None
            record = SessionRecord(*row)
            data = of_session(event, record)
            await self._notes.note(
                connection, name, record.session_id, "session", data, values["now"], record.user_id
            )
            return record

        record = await self._db.transact(work, again=True)
        self._notes.told([values["id"]])
        return record

    async def extend(self, session_id: str, hours: float | None, now: datetime) -> SessionRecord | None:
        """Live until `hours` (its own `ttl_hours` where None) from `now`, or longer if it would anyway.

        Also brings an expired session back; whether that is allowed is decided above. None: no such
        active session.
        """
        if hours is None:
            row = await self._db.fetch_one(_TTL, id=session_id)
            if row is None:
                return None
            hours = row[0]
        until = now + timedelta(hours=hours)
        rows = await self._db.change(_EXTEND, again=True, id=session_id, until=until, now=now)
        return SessionRecord(*rows[0]) if rows else None

    async def touch(self, batch: Mapping[str, tuple[int, datetime]]) -> None:
        """Add (accepted commands, time of the last one) to many sessions at once.

        Moves the sliding expiry with it; never brings back what has expired or ended.
        """
        if not batch:
            return
        if self._db.dialect == "postgresql":
            arrays = [[*batch], [count for count, _ in batch.values()], [at for _, at in batch.values()]]
            await self._db.use(lambda connection: connection.raw.execute(_TOUCH_ALL, *arrays), again=False)
            return
        await self._db.transact(lambda connection: _touch_each(connection, batch))

    async def list_for(
        self,
        caller: str,
        *,
        status: str | None,
        agent_id: int | None,
        limit: int,
        offset: int = 0,
        behind: PageEnd | None = None,
        now: datetime,
        everything: bool = False,
        as_agent: int | None = None,
        session_ids: Sequence[str] | None = None,
    ) -> tuple[list[SessionSummary], int | None, PageEnd | None]:
        """A page of what a caller may see, newest activity first; how many there are in all; and the page's
        end, where more follow. `behind` a session it costs the same anywhere, and has no such count (None).

        Whose: `everything`; the sessions of `as_agent`; `session_ids`, but for those the caller was
        removed from; else those that `caller` owns or takes part in. `status` is one of "active",
        "expired", "archived"; None is all of them.
        """
        return await list_sessions(
            self._db,
            self._tallies,
            caller,
            status=status,
            agent_id=agent_id,
            limit=limit,
            offset=offset,
            behind=behind,
            now=now,
            everything=everything,
            as_agent=as_agent,
            session_ids=session_ids,
        )

    async def health(self) -> str:
        """As `storage.database.Database.check`."""
        return await self._db.check()

    async def count_active(self, now: datetime) -> int:
        row = await self._db.fetch_one(_COUNT_ACTIVE, now=now)
        return int(row[0]) if row else 0

    async def end_expired(self, now: datetime, limit: int) -> list[str]:
        """Mark at most `limit` expired sessions as ended; each is returned once, over all nodes."""
        if not self._notes.on:
            return [row[0] for row in await self._db.change(_END, now=now, limit=limit)]

        async def work(connection: SqlConnection) -> list[str]:
            ids = [row[0] for row in await connection.fetch_all(_END, now=now, limit=limit)]
            await self._note_each(connection, ids, "expired", now)
            return ids

        ended = await self._db.transact(work)
        self._notes.told(ended)
        return ended

    async def _note_each(
        self, connection: SqlConnection, ids: Sequence[str], event: str, now: datetime
    ) -> None:
        """Of what there is nothing else to tell."""
        for session_id in ids:
            data = {"event": event, "session_id": session_id}
            await self._notes.note(connection, self._notes.name(), session_id, "session", data, now)

    async def purgeable(self, cutoff: datetime, limit: int) -> list[str]:
        """Sessions that ended before `cutoff`, and those marked "deleted"."""
        return [row[0] for row in await self._db.fetch_all(_PURGEABLE, cutoff=cutoff, limit=limit)]

    async def purge(self, session_ids: Sequence[str]) -> list[FileRecord]:
        """Remove sessions with all that is theirs. Returns their files, whose contents are to be removed."""
        ids, notes = list(session_ids), self._notes

        async def work(connection: SqlConnection) -> list[Row]:
            # The writer's order: sessions first.
            await connection.fetch_all(_LOCK, ids=ids)
            rows = await connection.fetch_all(_FILES, ids=ids)
            await connection.execute(_PURGE, ids=ids)
            await notes.forget(connection, ids)
            if notes.on:
                await self._note_each(connection, ids, "deleted", datetime.now(UTC))
            return rows

        found = [FileRecord(*row) for row in await self._db.transact(work, limit=60)]
        notes.told(ids)
        return found

    async def titles(self, session_ids: Collection[str], since: datetime) -> dict[str, str | None]:
        """Of these sessions, those that were changed at or after `since`."""
        rows = await self._db.fetch_all(_TITLES, ids=list(session_ids), since=since)
        return {row[0]: row[1] for row in rows}

    async def heads(self, session_ids: Collection[str]) -> dict[str, str]:
        """The messages at which their paths end, of those of these sessions that have branches."""
        return {row[0]: row[1] for row in await self._db.fetch_all(_HEADS, ids=list(session_ids))}

    async def poll(
        self, session_ids: Sequence[str], since: datetime
    ) -> tuple[dict[str, SessionState], list[tuple[str, str]]]:
        """The states of these sessions (a purged one is missing), and the (session_id, user_id) of
        those who were removed from them at or after `since`."""
        if not session_ids:
            return {}, []
        ids = list(session_ids)
        async with self._db.connection() as connection:
            states = await connection.fetch_all(_STATES, ids=ids)
            removed = await connection.fetch_all(_REMOVED, ids=ids, since=since)
        return {row[0]: SessionState(*row[1:]) for row in states}, [(row[0], row[1]) for row in removed]


async def _touch_each(connection: SqlConnection, batch: Mapping[str, tuple[int, datetime]]) -> None:
    changes = []
    for session_id, ttl_hours, last_activity, expires_at, running in await connection.fetch_all(
        _LOCK, ids=list(batch)
    ):
        count, at = batch[session_id]
        if running and expires_at > at:
            last_activity = max(last_activity, at)
            expires_at = max(expires_at, at + timedelta(hours=ttl_hours))
        changes.append(
            {"which": session_id, "count": count, "last_activity": last_activity, "expires_at": expires_at}
        )
    await connection.execute_many(_TOUCH_ONE, changes)
