"""Joining: one snapshot, then live events, nothing between lost.

The rule: what comes while a member gets its seat (`events.seating`) waits, and follows the reply.
`tests/model/` checks it over random schedules.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from events.access import SessionRole
from events.delivery import Delivery
from events.errors import Unavailable, ValidationFailed
from events.feedback import FeedbackService
from events.membership import Membership
from events.observer import Observer
from events.presence import Presence
from events.records import ConnectionRecords
from events.recovery import Replay
from events.room import Connection, Member, Room
from events.seating import Seated, Seating, Wish
from events.snapshots import Snapshot, Snapshots, are_long, is_past, part
from events.tasks import Tasks
from storage.errors import BusUnavailable, StorageUnavailable
from storage.records import SessionRecord


@dataclass(slots=True)
class Joined:
    """A join's reply, and what has to happen right after it was sent."""

    reply: dict[str, Any]
    then: Callable[[], None]
    recovered: bool = False


class Joining:
    """`replay_limit` in bytes: what was missed beyond it is not replayed."""

    def __init__(
        self,
        membership: Membership,
        records: ConnectionRecords,
        delivery: Delivery,
        snapshots: Snapshots,
        presence: Presence,
        feedback: FeedbackService,
        observer: Observer,
        tasks: Tasks,
        *,
        max_rooms: int,
        replay_limit: int,
    ) -> None:
        self._membership, self._records = membership, records
        self._delivery, self._hub = delivery, delivery.hub
        self._snapshots = snapshots
        self._presence, self._feedback, self._tasks = presence, feedback, tasks
        self._max_rooms = max_rooms
        self._seating = Seating(records, delivery, snapshots, observer, replay_limit=replay_limit)

    async def join(
        self,
        conn: Connection,
        session_id: str,
        after_revision: int | None = None,
        limit: int = 50,
        lineage: str | None = None,
        *,
        after: str | None = None,
        hidden: bool = False,
    ) -> Joined:
        """Become a member. With `after` (a position): what came since, if the log still has all of it.

        Raises SessionNotFound, SessionExpired, SessionArchived, ValidationFailed, Unavailable.
        """
        known_room = self._hub.rooms.get(session_id)
        record, role = await self._snapshots.joinable(conn.caller, known_room, session_id)
        if conn.member(session_id) is None and len(conn.rooms) >= self._max_rooms:
            raise self._too_many()
        was_member = conn.member(session_id) is not None
        self._hub.hold(conn)
        try:
            wish = Wish((after_revision, lineage), limit, after)
            return await self._join(conn, record, role, wish, hidden)
        except BaseException:
            if not was_member:
                self._membership.part(conn, session_id)
            self._hub.release(conn)
            raise

    def at_once(
        self,
        conn: Connection,
        session_id: str,
        after_revision: int | None,
        limit: int,
        lineage: str | None = None,
    ) -> Joined | None:
        """The same, where nothing has to be asked for: the log is in this process, and the session was read
        a moment ago for somebody who joined before. None where it has.

        Raises SessionNotFound, SessionExpired, SessionArchived, ValidationFailed.
        """
        room = self._hub.rooms.get(session_id)
        if room is None or room.live is None or not room.ready:
            return None
        if not self._delivery.live or conn.held is not None or not self._here(conn):
            return None
        cut = self._delivery.log.at_hand(session_id)
        state = cut.rooms[session_id] if cut is not None else None
        if cut is None or state is None or cut.epoch != self._delivery.epoch:
            return None
        known = self._snapshots.at_hand(room, state, after_revision or 0)
        if known is None or known.record.rated or conn.member(session_id) is not None:
            return None
        role = self._snapshots.role(conn.caller, known, room.live)
        if len(conn.rooms) >= self._max_rooms:
            raise self._too_many()
        reset = is_past(known, after_revision, lineage)
        page = part(known.page, None if reset else after_revision, limit)
        if page is None or are_long(state):
            return None
        if conn.caller.person is not None:
            known.people.met(conn.caller)
        snapshot = self._snapshots.made(room, known, role, cut, state, page, reset)
        snapshot.brought = self._snapshots.brought() if after_revision and not reset else None
        member = self._hub.enter(conn, session_id)
        try:
            member.role = role
            self._seating.sit(member, cut, state, snapshot.seat, snapshot.brought)
            tell = self._presence.enter(member)
            snapshot.reply["online"] = self._presence.at_hand(session_id)
            return self._joined(member, snapshot, None, tell)
        except BaseException:
            self._membership.part(conn, session_id)
            raise

    def _too_many(self) -> ValidationFailed:
        return ValidationFailed(f"at most {self._max_rooms} sessions per connection", field="session_id")

    async def _join(
        self,
        conn: Connection,
        record: SessionRecord,
        role: SessionRole,
        wish: Wish,
        hidden: bool,
    ) -> Joined:
        name = record.session_id
        was_member = conn.member(name) is not None
        while True:
            if not self._here(conn):
                raise Unavailable("the connection has gone")
            member = self._hub.enter(conn, name)
            member.role = role
            member.hidden = hidden
            room = member.room
            room.know(record)
            seated = await self._seat(member, record, wish)
            if seated is not None:
                break
        snapshot = seated.snapshot
        if snapshot.rated is not None:
            told = await self._feedback.shown(snapshot.rated, conn.caller, member.role, name)
            snapshot.reply["messages"] = told
        if not self._here(conn):
            raise Unavailable("the connection has gone")
        tell = self._presence.enter(member) if not was_member and not hidden else None
        if not hidden:
            snapshot.reply["online"] = await self._presence.welcome(member)
        return self._joined(member, snapshot, seated.replay, tell)

    async def _seat(self, member: Member, record: SessionRecord, wish: Wish) -> Seated | None:
        if not self._delivery.live:
            return await self._seating.away(member, wish)
        try:
            return await self._seating.live(member, record, wish)
        except BusUnavailable:
            self._delivery.lost()
            return None

    def _joined(
        self,
        member: Member,
        snapshot: Snapshot,
        replay: Replay | None,
        tell: Callable[[], None] | None,
    ) -> Joined:
        conn, room = member.conn, member.room
        if conn.spoiled:
            self._records.spoil(conn)  # before it was in any room: it has not been told

        def then() -> None:
            if replay is not None:
                for event in replay.events:
                    conn.send(event)
            self._hub.release(conn)
            if tell is not None:
                tell()
            if self._delivery.live and member.rev > room.delivered:
                # A commit that is not in the log yet: see to it soon, not with the next poll.
                self._tasks.spawn(self._hurry(room, member.rev))

        return Joined(snapshot.reply, then, recovered=replay is not None)

    async def _hurry(self, room: Room, revision: int) -> None:
        await asyncio.sleep(0.25)
        if room.delivered < revision and self._delivery.live:
            try:
                await self._delivery.logs.fill(room.name)
            except BusUnavailable:
                self._delivery.lost()
            except StorageUnavailable:
                pass  # the poll will, when SQL is back

    def _here(self, conn: Connection) -> bool:
        """Whether the connection has not gone while something was waited for."""
        return self._hub.connections.get(conn.id) is conn
