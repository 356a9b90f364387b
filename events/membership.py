"""Members of rooms on this node: connections that come and go, leaving, and the end of memberships.

Joining is in `events/joining.py`; `tests/model/` checks the rules of both.
"""

from collections.abc import Coroutine
from typing import Any

import msgspec

from events import recovery
from events.access import Caller
from events.clock import Clock
from events.delivery import Delivery
from events.errors import ChatError, Unavailable
from events.event import Event, Kind, make
from events.live import Ending
from events.presence import Presence
from events.records import ConnectionRecords
from events.room import Connection, Member, Room
from events.sessions import SessionManager
from events.tasks import Tasks
from events.typing import Typing
from storage.errors import StorageUnavailable
from storage.turns import in_steps

#: Memberships that end in one turn of the loop: each takes some 50 µs, and a room may have thousands.
STEP = 50


class _Happened(msgspec.Struct):
    """Of a `session` event's payload."""

    event: str = ""


def _happened(event: Event) -> str:
    try:
        return msgspec.json.decode(event.data, type=_Happened).event
    except msgspec.DecodeError:
        return ""  # anybody who can write to Redis can put anything there


class Membership:
    """`lease` is NODE_LEASE in seconds."""

    def __init__(
        self,
        delivery: Delivery,
        sessions: SessionManager,
        records: ConnectionRecords,
        presence: Presence,
        typing: Typing,
        clock: Clock,
        tasks: Tasks,
        *,
        lease: float = 10.0,
    ) -> None:
        self._delivery, self._hub = delivery, delivery.hub
        self._sessions, self._records = sessions, records
        self._presence, self._typing = presence, typing
        self._clock, self._tasks, self._lease = clock, tasks, lease
        delivery.on_session = self._on_session

    # --- connections

    def connected(self, conn: Connection) -> Coroutine[Any, Any, None] | None:
        """A new connection, with a record if it has a `pid` and the bus is there. The caller has to await the
        result: other nodes have to hear of it."""
        self._hub.add(conn)
        if not self._delivery.live:
            conn.pid = None
        elif self._records.store.shared:
            return self._connected(conn)
        return None

    async def _connected(self, conn: Connection) -> None:
        try:
            if conn.pid is not None:
                await self._records.save(conn, {})
            await self._delivery.bus.subscribe([f"user:{conn.caller.key}"])
        except StorageUnavailable:
            self._delivery.lost()
            conn.pid = None
        except BaseException:  # its socket went away meanwhile
            self.disconnected(conn)
            raise

    def disconnected(self, conn: Connection) -> None:
        """It is gone; its record stays for the window."""
        rooms = [(m.room, m.present) for m in conn.rooms]
        self._records.retire(conn)
        if self._hub.remove(conn):
            self._delivery.bus.unsubscribe(f"user:{conn.caller.key}")
        self._typing.gone(conn.id)
        for room, present in rooms:
            self._after_leave(conn, room, present, at_once=False)

    async def remember(self, conn: Connection) -> None:
        """The connection's status has changed: it is to come back with it. Only in the order of its commands:
        a join that is under way writes the record, too."""
        if self._delivery.live:
            await self._records.save_as_is(conn)

    def alive(self, pid: str) -> Connection | None:
        """The connection here that has this record, dead or alive."""
        conn = self._hub.connections.get(recovery.sid_of(pid))
        return conn if conn is not None and conn.pid == pid else None

    async def give_up(self, pid: str) -> None:
        """A node asks for this record: if its connection is on this node, the record is written."""
        conn = self.alive(pid)
        if conn is not None:
            await self._records.give_up(conn)

    def taken_over(self, pid: str, generation: int) -> None:
        """The record belongs to a newer connection: the old socket goes, without its client being told."""
        conn = self.alive(pid)
        if conn is not None and conn.generation < generation:
            self._lost_to_another(conn)

    def _lost_to_another(self, conn: Connection) -> None:
        conn.fenced = True
        conn.pid = None
        self.disconnected(conn)
        conn.sink.cut()

    async def find_out(self, lasted: float) -> None:
        """This process stood still for so many seconds: which connections are still its own? Where nobody can
        say and it was long enough for a lease to lapse, none is."""
        mine = [conn.pid for conn in self._hub.connections.values() if conn.pid is not None]
        try:
            for pid, generation in (await self._records.store.generations(mine)).items():
                self.taken_over(pid, generation)
        except StorageUnavailable:
            self._delivery.lost()
            if lasted > self._lease:
                for pid in mine:
                    if (conn := self.alive(pid)) is not None:
                        self._lost_to_another(conn)

    # --- leaving, and what ends a membership

    async def leave(self, conn: Connection, session_id: str) -> None:
        """Idempotent. Presence has its grace, as after a disconnect: coming and going is not told of."""
        if conn.member(session_id) is None:
            self._typing.clear(session_id, conn.caller.key, conn.id)
            return
        self.part(conn, session_id, at_once=False)
        if not self._delivery.live or not await self._records.save_as_is(conn):
            self._records.spoil(conn)

    def part(self, conn: Connection, name: str, *, at_once: bool = True) -> None:
        member = conn.member(name)
        if member is None:
            return
        room = self._hub.leave(conn, name)
        if room is not None:
            self._after_leave(conn, room, member.present, at_once=at_once)

    def part_all(self, conn: Connection) -> None:
        """Out of every room, as if it had never been in."""
        for member in conn.rooms:
            self.part(conn, member.room.name)
        self._hub.release(conn)

    def _after_leave(self, conn: Connection, room: Room, present: bool, *, at_once: bool) -> None:
        if present:
            self._typing.clear(room.name, conn.caller.key, conn.id)
            self._presence.leave(room, conn, at_once=at_once)
            if conn.caller.key not in room.users:  # what was said by a request ends with the last
                self._typing.clear(room.name, conn.caller.key)
        if not room.members and room.name not in self._hub.rooms:
            self._delivery.bus.unsubscribe(f"session:{room.name}")

    def _on_session(self, room: Room, event: Event) -> None:
        """A `session` event was delivered here: archived and expired end every membership."""
        room.changed()
        happened = _happened(event)
        if happened in (Ending.ARCHIVED, Ending.EXPIRED):
            self._tasks.spawn(self._ended(room, Ending(happened)))
        elif not event.only_user:
            self._tasks.spawn(self._reload(room))

    async def _ended(self, room: Room, ending: Ending) -> None:
        """The database decides: a forged event in Redis ends nobody's membership."""
        try:
            await self._sessions.validate_session(room.name)
        except StorageUnavailable:
            return  # later commands get the error
        except ChatError:
            pass
        else:
            return
        if room.live is not None and ending is Ending.ARCHIVED:
            room.live.status = "archived"
        async for some in in_steps(list(room.members.values()), STEP):
            for member in some:
                if member in member.conn.rooms:
                    self._remove(member, ending)

    async def _reload(self, room: Room) -> None:
        try:
            record = await self._sessions.validate_session(room.name)
        except (ChatError, StorageUnavailable):
            return
        room.know_anew(record)

    def _remove(self, member: Member, ending: Ending) -> None:
        conn, name = member.conn, member.room.name
        self.part(conn, name)
        self._tasks.spawn(self._forget(conn))
        if conn.ends_with_its_session:
            conn.end(ending.error())

    async def _forget(self, conn: Connection) -> None:
        """The record must not bring it back in."""
        await self._records.save_as_is(conn)

    def event_streams(self, caller: Caller) -> list[Connection]:
        """A caller's SSE event streams, for which its requests speak. Not those of the same user with another
        restriction: the holder of a share link is somebody else."""
        mine = self._hub.of_user(caller.key)
        return [c for c in mine if c.speaks_by_requests and c.caller.sessions == caller.sessions]

    def event_stream_of(self, caller: Caller, session_id: str) -> str:
        """The id of the caller's one event stream in a session; "" if there is none, or several."""
        mine = [c.id for c in self.event_streams(caller) if c.member(session_id) is not None]
        return mine[0] if len(mine) == 1 else ""

    async def access_changed(self, session_id: str, user_id: str) -> None:
        """A participant was added, changed or removed: see what that means for members here."""
        room = self._hub.rooms.get(session_id)
        if room is None:
            return
        room.changed()
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
                payload = {"event": Ending.REMOVED, "user_id": caller.key}
                event = make(member.room.name, "session", Kind.DIRECT, payload, self._clock())
                if member.conn.held is None:
                    member.conn.send(event)
                self._remove(member, Ending.REMOVED)
            return
        member.role = role

    async def check_all(self, conn: Connection) -> None:
        """After an `auth_refresh` that may open less."""
        for member in conn.rooms:
            await self.check(member, conn.caller)
