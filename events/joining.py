"""Membership: join, leave, and what ends it. One snapshot, then live events, nothing between lost.

The rules (cut first, then the snapshot; what comes meanwhile waits; the record before the reply) are
those of the model in `tests/model/`.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from events import recovery
from events.access import Caller, SessionRole
from events.clock import Clock
from events.delivery import Delivery
from events.errors import (
    ChatError,
    SessionArchived,
    SessionExpired,
    SessionNotFound,
    Unavailable,
    ValidationFailed,
)
from events.event import Event, Kind, make
from events.hub import NEVER, Connection, Member, Room, Seat
from events.observer import Observer
from events.presence import Presence
from events.sessions import LiveSession, SessionManager
from events.snapshots import Snapshot, Snapshots
from events.typing import Typing
from storage.errors import BusUnavailable
from storage.errors import Unavailable as StorageUnavailable
from storage.interfaces import Cut, Records, RoomState
from storage.messages import Messages as Store
from storage.records import MessageRecord, SessionRecord

_EVERYTHING = 1 << 60


@dataclass(slots=True)
class Joined:
    """A join's reply, and what has to happen right after it was sent."""

    reply: dict[str, Any]
    then: Callable[[], None]
    recovered: bool = False


class Membership:
    """Who is in which room on this node. `window` is RECOVERY_WINDOW in seconds; `replay_limit` in bytes."""

    def __init__(
        self,
        delivery: Delivery,
        sessions: SessionManager,
        snapshots: Snapshots,
        store: Store,
        records: Records,
        presence: Presence,
        typing: Typing,
        observer: Observer,
        clock: Clock,
        *,
        max_rooms: int,
        window: float,
        replay_limit: int,
    ) -> None:
        self._delivery, self._hub = delivery, delivery.hub
        self._sessions, self._snapshots, self._store = sessions, snapshots, store
        self._records = records
        self._presence, self._typing = presence, typing
        self._observer, self._clock = observer, clock
        self._max_rooms, self._window, self._replay_limit = max_rooms, window, replay_limit
        self.on_removed: Callable[[Connection, str, ChatError], None] = lambda conn, room, error: None
        self.on_left: Callable[[Connection, str], None] = lambda conn, room: None
        delivery.on_session = self._on_session

    # --- connections

    async def connected(self, conn: Connection) -> None:
        """A new connection with a record of its own, if it has a `pid` and the bus is there."""
        self._hub.add(conn)
        if self._delivery.mode == "live":
            try:
                if conn.pid is not None:
                    await self._save(conn, {})
                await self._delivery.bus.subscribe([f"user:{conn.caller.key}"])
                return
            except StorageUnavailable:
                self._delivery.lost()
            except BaseException:  # its socket went away meanwhile
                self.disconnected(conn)
                raise
        conn.pid = None

    def disconnected(self, conn: Connection) -> None:
        """It is gone; its record stays for the window."""
        rooms = [(m.room, m.present) for m in conn.rooms]
        if conn.pid is not None:
            last = None if self._records.shared or conn.spoiled else self._record(conn, recovery.seats(conn))
            self._delivery.spawn(self._retire(conn.pid, last))
            conn.pid = None
        if self._hub.remove(conn):
            self._delivery.bus.unsubscribe(f"user:{conn.caller.key}")
        for room, present in rooms:
            self._after_leave(conn, room, present, at_once=False)

    async def _retire(self, pid: str, last: tuple[str, int, int, bytes] | None) -> None:
        with suppress(StorageUnavailable):  # it has an expiry of its own
            if last is not None:
                await self._records.put(pid, *last)
            await self._records.expire([pid], self._window)

    def _record(self, conn: Connection, rooms: dict[str, Seat]) -> tuple[str, int, int, bytes]:
        """What `Records.put` takes, with the next version."""
        conn.version += 1
        return self._delivery.epoch, conn.generation, conn.version, recovery.write_record(conn, rooms)

    async def _save(self, conn: Connection, rooms: dict[str, Seat]) -> None:
        """Write the record, if somebody else may ask for it. Raises Unavailable."""
        if self._records.shared:
            await self._write(conn, rooms)

    async def _write(self, conn: Connection, rooms: dict[str, Seat]) -> None:
        """Cuts the connection if another node has taken it over. Raises Unavailable."""
        if conn.pid is None or conn.spoiled:
            return
        answer = await self._records.put(conn.pid, *self._record(conn, rooms))
        if answer == "taken":
            conn.pid = None
            conn.sink.cut()
        elif answer != "ok":
            self._delivery.lost()

    async def remember(self, conn: Connection) -> None:
        """The connection's status has changed: it is to come back with it. Only in the order of its commands:
        a join that is under way writes the record, too."""
        if self._delivery.mode == "live":
            try:
                await self._save(conn, recovery.seats(conn))
            except StorageUnavailable:
                self._delivery.lost()

    def alive(self, pid: str) -> Connection | None:
        """The connection here that has this record, dead or alive."""
        conn = self._hub.connections.get(recovery.sid_of(pid))
        return conn if conn is not None and conn.pid == pid else None

    async def give_up(self, pid: str) -> None:
        """Somebody asks for this record: its connection, if it is one of ours, has it written."""
        conn = self.alive(pid)
        if conn is not None and not self._records.shared:
            await self._write(conn, recovery.seats(conn))

    def taken_over(self, pid: str, generation: int) -> None:
        """The record belongs to a newer connection: the old socket goes, without its client being told."""
        conn = self.alive(pid)
        if conn is not None and conn.generation < generation:
            conn.pid = None
            self.disconnected(conn)
            conn.sink.cut()

    def spoil(self, conn: Connection) -> None:
        """Its record or its offset cannot be trusted: make the offset unusable, and say so."""
        if not conn.spoiled:
            self._hub.spoil(conn, getattr(conn.codec, "poisoned", conn.codec))
        if conn.pid is not None and conn.rooms and not conn.warned:
            conn.warned = True
            name = conn.rooms[0].room.name
            # An event with an unusable position; an application fetches the session again: no harm.
            conn.send(make(name, "session", Kind.LOGGED, {"event": "updated"}, self._clock()))

    def spoil_all(self) -> None:
        """The bus was lost."""
        for room in self._hub.rooms.values():
            room.known = None
        for conn in list(self._hub.connections.values()):
            self.spoil(conn)

    # --- join

    async def join(
        self,
        conn: Connection,
        session_id: str,
        after_revision: int | None = None,
        limit: int = 50,
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
            raise ValidationFailed(f"at most {self._max_rooms} sessions per connection", field="session_id")
        was_member = conn.member(session_id) is not None
        self._hub.hold(conn)
        try:
            return await self._join(conn, record, role, after_revision, limit, after, hidden)
        except BaseException:
            if not was_member:
                self._part(conn, session_id)
            self._hub.release(conn)
            raise

    async def _join(
        self,
        conn: Connection,
        record: SessionRecord,
        role: SessionRole,
        after_revision: int | None,
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
            if room.live is None:
                room.live = LiveSession.of(record)
            replay: recovery.Replay | None = None
            if self._delivery.mode == "live":
                try:
                    seated = await self._seat_live(member, record, role, after_revision, limit, after)
                except BusUnavailable:
                    self._delivery.lost()
                    continue
                if seated is None:
                    continue
                snapshot, replay = seated
            else:
                away = await self._seat_away(member, record, role, after_revision, limit)
                if away is None:
                    continue
                snapshot = away
            break
        if not self._here(conn):
            raise Unavailable("the connection has gone")
        if conn.spoiled:
            self.spoil(conn)  # before it was in any room: it has not been told
        if not was_member and not hidden:
            self._presence.enter(member)
        if not hidden:
            snapshot.reply["online"] = await self._presence.online(name)

        def then() -> None:
            if replay is not None:
                for event in replay.events:
                    conn.send(event)
            self._hub.release(conn)
            if self._delivery.mode == "live" and member.rev > room.delivered:
                # A commit that is not in the log yet: see to it soon, not with the next poll.
                self._delivery.spawn(self._hurry(room, member.rev))

        return Joined(snapshot.reply, then, recovered=replay is not None)

    async def _hurry(self, room: Room, revision: int) -> None:
        await asyncio.sleep(0.25)
        if room.delivered < revision and self._delivery.mode == "live":
            try:
                await self._delivery.fill(room.name)
            except BusUnavailable:
                self._delivery.lost()
            except StorageUnavailable:
                pass  # the poll will, when SQL is back

    async def _seat_live(
        self,
        member: Member,
        record: SessionRecord,
        role: SessionRole,
        after_revision: int | None,
        limit: int,
        after: str | None,
    ) -> tuple[Snapshot, recovery.Replay | None] | None:
        """Cut, then snapshot: all that the log holds at the cut is in the snapshot. None: begin anew."""
        conn, room, name = member.conn, member.room, record.session_id
        departures = self._delivery.departures
        await self._delivery.bus.subscribe([f"session:{name}"])
        asked = recovery.parse_position(after) if after else None
        if asked is not None and asked.epoch != self._delivery.epoch:
            asked = None
        while True:
            cut = await self._delivery.log.read({name: asked.pos if asked else _EVERYTHING})
            state = cut.rooms[name]
            if state is None:
                await self._delivery.open(name)
            elif asked is None or not await self.fill_behind(cut):
                break
        if not self.still(room, departures):
            return None
        if cut.epoch != self._delivery.epoch:
            self._delivery.lost()
            return None
        if room.ready and cut.pos < room.began:
            return None
        replay = None
        if asked is not None and asked.pos <= cut.pos:
            seats = {name: Seat(asked.pos, asked.rev)}
            replay = recovery.missed({name: state}, seats, cut.pos, conn.id, conn.caller.key)
            if replay is not None and replay.size > self._replay_limit:
                replay = None
        if after is not None:
            self._observer.recovered("recovered" if replay else "incomplete")
        if not room.ready:
            rows = await self._store.open_streams(name)
            if not self.still(room, departures):
                return None  # a cut of another epoch says nothing
            self.begin(room, cut, state, rows)
            if cut.pos < room.began:
                return None  # somebody else was faster, with a later cut
        if replay is not None:
            floor = replay.floors[name]
            snapshot = await self._snapshots.recovered(room, record, role, cut, floor, state)
        else:
            snapshot = await self._snapshots.read(room, record, role, cut, state, after_revision, limit)
        seat = snapshot.seat
        await self._save(conn, {**recovery.seats(conn), name: seat})
        if not self.still(room, departures):
            return None
        member.pos, member.rev, member.seq = seat.pos, seat.rev, seat.seq
        member.idx, member.seat = dict(seat.idx or {}) or None, seat
        if conn.held:
            # What waits of this room is served by floors that are now known.
            conn.held = [(m, e) for m, e in conn.held if m is not member or e.pos > cut.pos]
        return snapshot, replay

    async def fill_behind(self, cut: Cut) -> bool:
        """Whether SQL had delivered something here that the log did not hold yet: who goes by the log alone
        would never get it. Raises Unavailable."""
        behind = []
        for name, state in cut.rooms.items():
            room = self._hub.rooms.get(name)
            if state is not None and room is not None and room.ready and room.delivered > state.last.rev:
                behind.append(name)
        for name in behind:
            await self._delivery.fill(name)
        return bool(behind)

    def _here(self, conn: Connection) -> bool:
        """Whether the connection has not gone while something was waited for."""
        return self._hub.connections.get(conn.id) is conn

    def still(self, room: Room, departures: int) -> bool:
        """Whether what was read of a room still holds: the bus was not lost, and the room is the same."""
        delivery = self._delivery
        return (
            delivery.mode == "live"
            and delivery.departures == departures
            and self._hub.rooms.get(room.name) is room
        )

    def begin(self, room: Room, cut: Cut, state: RoomState, open_streams: Sequence[MessageRecord]) -> None:
        """A room's first cut on this node."""
        if room.ready:
            return
        room.ready, room.began, room.pos = True, cut.pos, cut.pos
        room.delivered, room.seq = state.last.rev, state.last.seq
        for stream, text in state.streams.items():
            room.have[stream], room.chars[stream] = text.next_index, len(text.text)
        for row in open_streams:
            if row.revision <= state.last.rev and row.message_id not in room.have:
                room.have[row.message_id] = room.chars[row.message_id] = 0
        early, room.early = room.early, []
        for event in early:
            self._delivery.on_event(event)

    async def _seat_away(
        self, member: Member, record: SessionRecord, role: SessionRole, after_revision: int | None, limit: int
    ) -> Snapshot | None:
        """SQL alone. The connection's record does not hold this room: it cannot be recovered from.
        None: begin anew, the bus is back and may not know of the room."""
        room, conn = member.room, member.conn
        snapshot = await self._snapshots.read(room, record, role, None, None, after_revision, limit)
        if self._hub.rooms.get(room.name) is not room:
            return None
        if self._delivery.mode == "live":
            return None
        if room.ready and room.delivered > snapshot.seat.rev:
            return None  # somebody else opened the room with a later snapshot
        if not room.ready:
            room.ready, room.delivered = True, snapshot.seat.rev
            room.seq = snapshot.reply["last_seq"]
            for stream in snapshot.reply["streams"]:
                room.have[stream["message_id"]] = stream["next_index"]
                room.chars[stream["message_id"]] = len(stream["content"])
            room.early.clear()
        floors = dict(snapshot.seat.idx or {})
        for stream in room.have:
            floors.setdefault(stream, NEVER)
        member.pos, member.rev, member.seq = 0, snapshot.seat.rev, snapshot.seat.seq
        member.idx = floors or None
        member.seat = None
        self.spoil(conn)
        return snapshot

    # --- leaving, and what ends a membership

    async def leave(self, conn: Connection, session_id: str) -> None:
        """Idempotent."""
        if conn.member(session_id) is None:
            return
        self._part(conn, session_id)
        if self._delivery.mode == "live":
            try:
                await self._save(conn, recovery.seats(conn))
                return
            except StorageUnavailable:
                self._delivery.lost()
        self.spoil(conn)

    def _part(self, conn: Connection, name: str, *, at_once: bool = True) -> None:
        member = conn.member(name)
        if member is None:
            return
        room = self._hub.leave(conn, name)
        if room is not None:
            self._after_leave(conn, room, member.present, at_once=at_once)

    def part_all(self, conn: Connection) -> None:
        """Out of every room, as if it had never been in."""
        for member in conn.rooms:
            self._part(conn, member.room.name)
        self._hub.release(conn)

    def _after_leave(self, conn: Connection, room: Room, present: bool, *, at_once: bool) -> None:
        if present:
            self._typing.clear(room.name, conn.caller.key, conn.id)
            self._presence.leave(room, conn, at_once=at_once)
        self.on_left(conn, room.name)
        if not room.members and room.name not in self._hub.rooms:
            self._delivery.bus.unsubscribe(f"session:{room.name}")

    def _on_session(self, room: Room, event: Event) -> None:
        """A `session` event was delivered here: archived and expired end every membership."""
        room.known = None
        what = b'"event":"archived"' in event.data and "archived"
        what = what or (b'"event":"expired"' in event.data and "expired")
        if not what:
            if not event.only:
                self._delivery.spawn(self._reload(room))
            return
        if room.live is not None:
            room.live.status = "archived" if what == "archived" else room.live.status
        for member in list(room.members.values()):
            self._remove(member, what)

    async def _reload(self, room: Room) -> None:
        try:
            record = await self._sessions.validate_session(room.name)
        except (ChatError, StorageUnavailable):
            return
        room.live = LiveSession.of(record)

    def _remove(self, member: Member, what: str) -> None:
        error: ChatError = {"archived": SessionArchived, "expired": SessionExpired}.get(
            what, SessionNotFound
        )()
        conn, name = member.conn, member.room.name
        self._part(conn, name)
        self._delivery.spawn(self._forget(conn))
        self.on_removed(conn, name, error)

    async def _forget(self, conn: Connection) -> None:
        """The record must not bring it back in."""
        try:
            await self._save(conn, recovery.seats(conn))
        except StorageUnavailable:
            self._delivery.lost()

    def event_streams(self, caller: Caller) -> list[Connection]:
        """A caller's SSE event streams: what its requests without a connection speak for."""
        return [c for c in self._hub.users.get(caller.key, ()) if c.transport == "sse"]

    def event_stream_of(self, caller: Caller, session_id: str) -> str:
        """The id of the caller's one event stream in a session; "" if there is none, or several."""
        mine = [c.id for c in self.event_streams(caller) if c.member(session_id) is not None]
        return mine[0] if len(mine) == 1 else ""

    async def access_changed(self, session_id: str, user_id: str) -> None:
        """A participant was added, changed or removed: see what that means for members here."""
        room = self._hub.rooms.get(session_id)
        if room is None:
            return
        room.known = None
        members = [m for m in list(room.members.values()) if m.conn.caller.key == user_id]
        for member in members:
            await self.check(member, member.conn.caller)

    async def check(self, member: Member, caller: Caller) -> None:
        """Whether `caller` still may be in the room; removes the member if not."""
        try:
            _, role = await self._sessions.joinable(caller, member.room.name)
        except (Unavailable, StorageUnavailable):
            return  # nobody is told that a session does not exist because the database is away
        except ChatError:
            if member in member.conn.rooms:
                payload = {"event": "removed", "user_id": caller.key}
                event = make(member.room.name, "session", Kind.DIRECT, payload, self._clock())
                if member.conn.held is None:
                    member.conn.send(event)
                self._remove(member, "removed")
            return
        member.role = role

    async def check_all(self, conn: Connection) -> None:
        """After an `auth_refresh` that may open less."""
        for member in conn.rooms:
            await self.check(member, conn.caller)
