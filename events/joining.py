"""Joining: one snapshot, then live events, nothing between lost.

The rules: cut first, then the snapshot; what comes meanwhile waits; the record before the reply.
`tests/model/` checks them over random schedules.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from events import recovery
from events.access import SessionRole
from events.delivery import Delivery
from events.errors import Unavailable, ValidationFailed
from events.live import Known
from events.membership import Membership
from events.observer import Observer
from events.presence import Presence
from events.room import Connection, Member, Room
from events.seat import ENDED, Seat
from events.snapshots import Has, Snapshot, Snapshots, are_long, is_past, part
from events.tasks import Tasks
from storage.errors import BusUnavailable
from storage.errors import Unavailable as StorageUnavailable
from storage.interfaces import NO_ENTRIES, Cut, Mark, RoomState
from storage.records import SessionRecord

#: How often a session is read for one join because it changes meanwhile: read marks may all the time.
READINGS = 3


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
        delivery: Delivery,
        snapshots: Snapshots,
        presence: Presence,
        observer: Observer,
        tasks: Tasks,
        *,
        max_rooms: int,
        replay_limit: int,
    ) -> None:
        self._membership = membership
        self._delivery, self._hub = delivery, delivery.hub
        self._snapshots = snapshots
        self._presence, self._observer, self._tasks = presence, observer, tasks
        self._max_rooms, self._replay_limit = max_rooms, replay_limit

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
            return await self._join(conn, record, role, (after_revision, lineage), limit, after, hidden)
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
        if known is None or conn.member(session_id) is not None:
            return None
        role = self._snapshots.role(conn.caller, known, room.live)
        if len(conn.rooms) >= self._max_rooms:
            raise self._too_many()
        reset = is_past(known, after_revision, lineage)
        page = part(known.page, None if reset else after_revision, limit)
        if page is None or are_long(state):
            return None
        snapshot = self._snapshots.made(room, known, role, cut, state, page, reset)
        member = self._hub.enter(conn, session_id)
        try:
            member.role = role
            self._seat(member, cut, state, snapshot.seat)
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
        has: Has,
        limit: int,
        after: str | None,
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
            replay: recovery.Replay | None = None
            if self._delivery.live:
                try:
                    seated = await self._seat_live(member, record, has, limit, after)
                except BusUnavailable:
                    self._delivery.lost()
                    continue
                if seated is None:
                    continue
                snapshot, replay = seated
            else:
                away = await self._seat_away(member, has, limit)
                if away is None:
                    continue
                snapshot = away
            break
        if not self._here(conn):
            raise Unavailable("the connection has gone")
        tell = self._presence.enter(member) if not was_member and not hidden else None
        if not hidden:
            snapshot.reply["online"] = await self._presence.welcome(member)
        return self._joined(member, snapshot, replay, tell)

    def _joined(
        self,
        member: Member,
        snapshot: Snapshot,
        replay: recovery.Replay | None,
        tell: Callable[[], None] | None,
    ) -> Joined:
        conn, room = member.conn, member.room
        if conn.spoiled:
            self._membership.spoil(conn)  # before it was in any room: it has not been told

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

    async def _seat_live(
        self,
        member: Member,
        record: SessionRecord,
        has: Has,
        limit: int,
        after: str | None,
    ) -> tuple[Snapshot, recovery.Replay | None] | None:
        """Cut, then snapshot: all that the log holds at the cut is in the snapshot. None: begin anew."""
        conn, room, name = member.conn, member.room, record.session_id
        fence = self._delivery.fence
        await self._delivery.bus.subscribe([f"session:{name}"])
        asked = recovery.parse_position(after) if after else None
        if asked is not None and asked.epoch != self._delivery.epoch:
            asked = None
        while True:
            given = (asked.pos, asked.mark) if asked is not None else (0, "")
            cut = await self._delivery.log.read({name: asked.pos if asked else NO_ENTRIES}, given=given)
            state = cut.rooms[name]
            if state is None and not room.ready:
                await self._delivery.log.open(name, Mark(record.last_revision, record.last_seq))
            elif state is None:
                await self._delivery.logs.open(name)
            elif asked is None or not await self._delivery.logs.fill_behind(cut):
                break
        if not fence.holds(room):
            return None
        if cut.epoch != self._delivery.epoch:
            self._delivery.lost()
            return None
        if room.ready and cut.pos < room.began:
            return None
        replay = None
        if asked is not None and asked.pos <= cut.pos and cut.genuine:
            seats = {name: Seat(asked.pos, asked.rev)}
            replay = recovery.missed({name: state}, seats, cut.pos, conn.id, conn.caller.key)
            if replay is not None and replay.size > self._replay_limit:
                replay = None
            if replay is not None and not await self._delivery.agreed(fence, room):
                return None
        served = room.delivered if room.ready else 0
        known = await self._known(member, state, has[0] or 0)
        if known.page.last_revision < served and not await self._delivery.proved(room):
            return None
        if not fence.holds(room):
            return None  # a cut of another epoch says nothing
        if known.page.last_revision < state.last.rev:
            text = f"a session is at revision {known.page.last_revision}, its log at {state.last.rev}"
            if self._snapshots.is_young(known):
                self._delivery.log.forget(name)  # it was of another session under this id
            else:
                await self._delivery.behind(text)
            return None
        self._delivery.begin(room, cut, state, known.page.open_streams)
        if cut.pos < room.began:
            return None  # somebody else was faster, with a later cut
        lost = recovery.lacks_text(recovery.begun(known.page.open_streams, state), state)
        if lost:
            replay = None
        if after is not None:
            self._observer.recovered("recovered" if replay else "incomplete")
        if replay is not None:
            snapshot = self._snapshots.recovered(room, known, member.role, cut, replay.floors[name], state)
        else:
            snapshot = await self._snapshots.of(room, known, member.role, cut, state, has, limit)
        if lost:
            # What it shows of that stream is not where the log goes on: nobody recovers from there.
            snapshot.reply["position"] = "-"
            self._membership.spoil(conn)
        seat = snapshot.seat
        await self._membership.save(conn, {**recovery.seats(conn), name: seat})
        if not fence.holds(room):
            return None
        self._seat(member, cut, state, seat)
        if conn.held:
            # What waits of this room is served by floors that are now known.
            conn.held = [(m, e) for m, e in conn.held if m is not member or e.pos > cut.pos]
        return snapshot, replay

    async def _known(self, member: Member, state: RoomState | None, seen: int = 0) -> Known:
        """The session, and what the member may do there, read when it is in the room already: a change of its
        access that is not in what was read finds it there (`Membership.access_changed`)."""
        room = member.room
        for _ in range(READINGS):
            changes = room.changes
            known = await self._snapshots.known(room, state, seen)
            if room.changes == changes:
                break
        if room.live is not None:
            member.role = self._snapshots.role(member.conn.caller, known, room.live)
        return known

    @staticmethod
    def _seat(member: Member, cut: Cut, state: RoomState, seat: Seat) -> None:
        """The member was told all that the log held at the cut."""
        member.room.advance(cut, state)
        member.sit(seat, seat)

    async def _seat_away(self, member: Member, has: Has, limit: int) -> Snapshot | None:
        """SQL alone. The connection's record does not hold this room: it cannot be recovered from.
        None: begin anew, the bus is back and may not know of the room."""
        room, conn = member.room, member.conn
        reset = room.reset
        known = await self._known(member, None)
        snapshot = await self._snapshots.of(room, known, member.role, None, None, has, limit)
        if self._hub.rooms.get(room.name) is not room or room.reset is not reset:
            return None
        if self._delivery.live:
            return None
        if room.ready and room.delivered > snapshot.seat.rev:
            await self._delivery.proved(room)
            return None  # somebody else opened the room with a later snapshot
        seat, streams = snapshot.seat, snapshot.reply["streams"]
        room.begin_from_sql(
            Mark(seat.rev, seat.seq), [(s["message_id"], s["next_index"], len(s["content"])) for s in streams]
        )
        floors = dict.fromkeys(room.have, ENDED) | (seat.idx or {})
        member.sit(Seat(0, seat.rev, floors, seat.seq), None)
        if conn.held:
            # Told after the snapshot, it would void what that holds of the history that there is now.
            conn.held = [(m, e) for m, e in conn.held if m is not member or e is not reset]
        self._membership.spoil(conn)
        return snapshot

    def _here(self, conn: Connection) -> bool:
        """Whether the connection has not gone while something was waited for."""
        return self._hub.connections.get(conn.id) is conn
