"""A member's seat: where its membership begins, and what it is told of the session up to there.

The rules: cut first, then the snapshot; the record before the reply. `tests/model/` checks them over random
schedules. Knows no transport, and nothing of presence.
"""

from typing import NamedTuple

import msgspec

from events import recovery
from events.delivery import Delivery
from events.event import POISON
from events.live import Known
from events.observer import Observer
from events.records import ConnectionRecords
from events.room import Member, Room
from events.seat import ENDED, Seat
from events.snapshots import Has, Snapshot, Snapshots
from events.tails import shown
from storage.interfaces import NO_ENTRIES, NOT_GIVEN, Cut, Mark, RoomState
from storage.records import SessionRecord

#: How often a session is read for one join because it changes meanwhile: read marks may all the time.
READINGS = 3


class Wish(NamedTuple):
    """What a join asks for: what came since the client's revision, in at most `limit` messages; with `after`,
    what came since a position, if the log still has all of it."""

    has: Has
    limit: int
    after: str | None


class Seated(NamedTuple):
    """What the member is told. `replay`: what it missed, where it has to be told no more than that."""

    snapshot: Snapshot
    replay: recovery.Replay | None


class Seating:
    """`replay_limit` in bytes: what was missed beyond it is not replayed. None in place of a seat: something
    has changed meanwhile, it is to be asked for anew."""

    def __init__(
        self,
        records: ConnectionRecords,
        delivery: Delivery,
        snapshots: Snapshots,
        observer: Observer,
        *,
        replay_limit: int,
    ) -> None:
        self._records, self._delivery, self._snapshots = records, delivery, snapshots
        self._observer, self._replay_limit = observer, replay_limit

    @staticmethod
    def sit(member: Member, cut: Cut, state: RoomState, seat: Seat, brought: float | None) -> None:
        """The member was told all that the log held at the cut."""
        member.room.advance(cut, state)
        member.sit(seat, seat, brought)

    @staticmethod
    def _prove_by(room: Room, known: Known) -> None:
        """A room that was told of nothing yet is held against the database by what a member is shown."""
        if room.tail is None:
            room.tail = shown(room.name, known.page.messages, room.delivered)

    # --- the bus is there

    async def live(self, member: Member, record: SessionRecord, wish: Wish) -> Seated | None:
        """Cut, then snapshot: all that the log holds at the cut is in the snapshot. Raises Unavailable."""
        conn, room, name = member.conn, member.room, record.session_id
        fence = self._delivery.fence
        await self._delivery.bus.subscribe([f"session:{name}"])
        asked = recovery.parse_position(wish.after) if wish.after else None
        if asked is not None and asked.epoch != self._delivery.epoch:
            asked = None
        cut, state = await self._cut(room, record, asked)
        if not fence.holds(room):
            return None
        if cut.epoch != self._delivery.epoch:
            self._delivery.lost()
            return None
        if room.ready and cut.pos < room.began:
            return None
        replay = self._missed(member, cut, state, asked)
        if replay is not None and not await self._delivery.agreed(fence, room):
            return None
        served = room.delivered if room.ready else 0
        known = await self._known(member, state, wish.has[0] or 0)
        if known.page.last_revision < served and not await self._delivery.proved(room):
            return None
        if not fence.holds(room):
            return None  # a cut of another epoch says nothing
        if known.page.last_revision < state.last.rev:
            await self._log_is_ahead(name, known, state)
            return None
        self._delivery.begin(room, cut, state, known.page.open_streams)
        self._prove_by(room, known)
        if cut.pos < room.began:
            return None  # somebody else was faster, with a later cut
        lost = recovery.lacks_text(recovery.begun(known.page.open_streams, state), state)
        if lost:
            replay = None
        if wish.after is not None:
            self._observer.recovered("recovered" if replay else "incomplete")
        if replay is not None:
            snapshot = self._snapshots.recovered(room, known, member.role, cut, replay.floors[name], state)
        else:
            snapshot = await self._snapshots.of(room, known, member.role, cut, state, wish.has, wish.limit)
        if lost:
            # What it shows of that stream is not where the log goes on: nobody recovers from there.
            snapshot.reply["position"] = POISON
            self._records.spoil(conn)
        seat = snapshot.seat if member.seat is None else msgspec.structs.replace(snapshot.seat, again=True)
        await self._records.save(conn, {**recovery.seats(conn), name: seat})
        if not fence.holds(room):
            return None
        self.sit(member, cut, state, seat, snapshot.brought)
        if conn.held:
            # What waits of this room is served by floors that are now known.
            conn.held = [(m, e) for m, e in conn.held if m is not member or e.pos > cut.pos]
        return Seated(snapshot, replay)

    async def _cut(
        self, room: Room, record: SessionRecord, asked: recovery.Position | None
    ) -> tuple[Cut, RoomState]:
        """The room's log as of a cut; where there is none, it begins."""
        delivery, name = self._delivery, room.name
        while True:
            given = asked.given if asked is not None else NOT_GIVEN
            cut = await delivery.log.read({name: asked.pos if asked else NO_ENTRIES}, given=given)
            state = cut.rooms[name]
            if state is None and not room.ready:
                await delivery.log.open(name, Mark(record.last_revision, record.last_seq))
            elif state is None:
                await delivery.logs.open(name)
            elif asked is None or not await delivery.logs.fill_behind(cut):
                return cut, state

    def _missed(
        self, member: Member, cut: Cut, state: RoomState, asked: recovery.Position | None
    ) -> recovery.Replay | None:
        """What came since the asked position, if the log has all of it."""
        if asked is None or asked.pos > cut.pos or not cut.genuine:
            return None
        conn, name = member.conn, member.room.name
        seats = {name: Seat(asked.pos, asked.rev)}
        replay = recovery.missed({name: state}, seats, cut.pos, conn.id, conn.caller.key)
        return replay if replay is not None and replay.size <= self._replay_limit else None

    async def _log_is_ahead(self, name: str, known: Known, state: RoomState) -> None:
        """The log holds more than the database that was read after it."""
        if self._snapshots.is_young(known):
            self._delivery.log.forget(name)  # it was of another session under this id
        else:
            text = f"a session is at revision {known.page.last_revision}, its log at {state.last.rev}"
            await self._delivery.behind(text)

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
        known.people.met(member.conn.caller)
        return known

    # --- the bus is away

    async def away(self, member: Member, wish: Wish) -> Seated | None:
        """SQL alone. The connection's record does not hold this room: it cannot be recovered from."""
        room, conn = member.room, member.conn
        reset = room.reset
        known = await self._known(member, None)
        snapshot = await self._snapshots.of(room, known, member.role, None, None, wish.has, wish.limit)
        if self._delivery.hub.rooms.get(room.name) is not room or room.reset is not reset:
            return None
        if self._delivery.live or not self._snapshots.is_current(known):
            return None  # the bus is back, and may not know of the room; or the database went back
        if room.ready and room.delivered > snapshot.seat.rev:
            await self._delivery.proved(room)
            return None  # somebody else opened the room with a later snapshot
        seat = snapshot.seat
        room.begin_from_sql(Mark(seat.rev, seat.seq), snapshot.written)
        self._prove_by(room, known)
        floors = dict.fromkeys(room.have, ENDED) | (seat.idx or {})
        member.sit(Seat(0, seat.rev, floors, seat.seq), None, snapshot.brought)
        if conn.held:
            # Told after the snapshot, it would void what that holds of the history that there is now.
            conn.held = [(m, e) for m, e in conn.held if m is not member or e is not reset]
        self._records.spoil(conn)
        return Seated(snapshot, None)
