"""A node's rooms and connections, for all transports: the members of a room, and the one way to them.

Encodes an event once per codec and hands every member the same bytes. Knows no wire format.
"""

from collections.abc import Collection, Iterable, Sequence

from events import guarded
from events.access import Caller
from events.event import Codec, Event, Kind
from events.outbox import Flusher
from events.room import Connection, Member, Room
from events.seat import Hole
from storage.records import Person

#: Rooms that everybody left, and whose last events were not compared with the database since: more than are
#: left in the seconds between two comparisons, but where all of a node's connections end.
LEFT_MAX = 1000


class Hub:
    """The rooms and connections of one node. `hold_limit` in bytes bounds what waits during a join."""

    def __init__(self, flusher: Flusher | None = None, hold_limit: int = 1 << 20) -> None:
        self.flusher = flusher or Flusher()
        self.hold_limit = hold_limit
        self.rooms: dict[str, Room] = {}
        #: What their members were told of is known here alone, perhaps; the newest are kept.
        self.left: dict[Room, None] = {}
        self.connections: dict[str, Connection] = {}
        # By key of a user: the one connection that most have, or all of them, which may be thousands.
        self._users: dict[str, Connection | dict[Connection, None]] = {}

    # --- connections

    def add(self, conn: Connection) -> bool:
        """True if it is the user's first on this node."""
        self.connections[conn.id] = conn
        mine = self._users.setdefault(conn.caller.key, conn)
        if mine is conn:
            return True
        if isinstance(mine, dict):
            mine[conn] = None
        else:
            self._users[conn.caller.key] = {mine: None, conn: None}
        return False

    def remove(self, conn: Connection) -> bool:
        """Leaves its rooms too. True if it was the user's last on this node."""
        for member in conn.rooms:
            self.leave(conn, member.room.name)
        if self.connections.get(conn.id) is conn:
            del self.connections[conn.id]
        key = conn.caller.key
        mine = self._users.get(key)
        if mine is conn:
            del self._users[key]
            return True
        if isinstance(mine, dict):
            mine.pop(conn, None)
            if len(mine) == 1:
                self._users[key] = next(iter(mine))
        return False

    @property
    def users(self) -> Collection[str]:
        """Keys of those who have a connection here."""
        return self._users.keys()

    def of_user(self, key: str) -> tuple[Connection, ...]:
        """A user's connections."""
        found = self._users.get(key)
        if found is None:
            return ()
        return tuple(found) if isinstance(found, dict) else (found,)

    def person(self, key: str) -> Person | None:
        """What a user is called who has a connection here."""
        for conn in self.of_user(key):
            if conn.caller.person is not None:
                return conn.caller.person
        return None

    def of_account(self, caller: Caller) -> tuple[Connection, ...]:
        """Those of `of_user` that are counted for the same account."""
        mine = self.of_user(caller.key)
        return tuple([c for c in mine if c.caller.account == caller.account]) if mine else ()

    def of_link(self, caller: Caller) -> tuple[Connection, ...]:
        """Those of `of_user` that came with the same share link, from wherever."""
        return tuple(c for c in self.of_user(caller.key) if c.caller.link == caller.link)

    # --- rooms

    def enter(self, conn: Connection, name: str) -> Member:
        """A member from now on (idempotent); the room is made if it is the first here."""
        member = conn.member(name)
        if member is None:
            room = self.rooms.get(name)
            if room is None:
                room = self.rooms[name] = Room(name)
            member = Member(conn, room)
            room.members[conn] = member
            conn.rooms = (*conn.rooms, member)
            room.level(member)
        return member

    def leave(self, conn: Connection, name: str) -> Room | None:
        """The room it left; None if it was not in it. Of an empty room only what it was told is kept."""
        member = conn.member(name)
        if member is None:
            return None
        conn.rooms = tuple(m for m in conn.rooms if m is not member)
        if conn.held:
            conn.held = [(m, e) for m, e in conn.held if m is not member]
        room = member.room
        room.drop(conn)
        if not room.members and self.rooms.get(name) is room:
            del self.rooms[name]
            self._keep(room)
        return room

    def _keep(self, room: Room) -> None:
        if room.tail is not None:
            room.changed()  # its snapshot is large
            self.left[room] = None
            if len(self.left) > LEFT_MAX:
                del self.left[next(iter(self.left))]

    def proved(self, rooms: Iterable[Room]) -> None:
        """The database has what was told in these, which everybody has left."""
        for room in rooms:
            self.left.pop(room, None)

    # --- holding

    def hold(self, conn: Connection) -> None:
        """From here on what comes for any of its rooms waits."""
        if conn.held is None:
            conn.held, conn.held_size = [], 0
            for member in conn.rooms:
                member.room.level(member)

    def release(self, conn: Connection) -> None:
        """Send what waited, without what the members' floors cover; then members are served as events
        come."""
        held, conn.held = conn.held or [], None
        conn.held_size = 0
        # One offset stands for all rooms of a connection: in order of position, where all have one (but for
        # what tells of people: it has none, and goes first).
        if all(event.pos or event.kind >= Kind.VOLATILE for _, event in held):
            held.sort(key=_position)
        for member, event in held:
            if member in conn.rooms:
                self._give(member, event)
        for member in conn.rooms:
            member.room.level(member)

    def spoil(self, conn: Connection, codec: Codec) -> None:
        """From here on it is served by a codec that gives out no position to recover from."""
        conn.spoiled = True
        fast = [member.room for member in conn.rooms if member.room.ungroup(conn)]
        conn.codec = codec
        for room in fast:
            room.groups.setdefault(codec, {})[conn] = conn.sink

    # --- delivery

    def broadcast(self, room: Room, event: Event, whole: Event | None = None) -> int:
        """Give an event to the room's members; how many. `whole` is the event for those who may lack more
        of it than the others (chunks that were clipped for them)."""
        if event.only_user:
            return self._to_user(room, event)
        left_out = self.connections.get(event.not_to) if event.not_to else None
        if left_out is not None and event.sizes and left_out.hears_its_own_chunks:
            left_out = None
        for codec, group in list(room.groups.items()):
            sinks = list(group.values())
            if left_out is not None and left_out in group:
                sinks.remove(group[left_out])
            self.flusher.fan_out(sinks, codec.encode(event), event, codec)
        if room.guarded:
            self.give_guarded(room, whole or event)
        return len(room.members)

    def tell(self, room: Room, events: Sequence[Event]) -> int:
        """Give everybody in a room the same volatile events, all at once; how many are there."""
        for codec, sinks in list(room.groups.items()):
            data = b"".join([codec.encode(event) for event in events])
            self.flusher.fan_out(list(sinks.values()), data, events[0], codec)
        if room.guarded:
            for event in events:
                self.give_guarded(room, event)
        return len(room.members)

    def give_guarded(self, room: Room, event: Event) -> None:
        """To those who hold, skip or clip."""
        for member in list(room.guarded.values()):
            self._give_guarded(member, event)

    def _give_guarded(self, member: Member, event: Event) -> None:
        self._give(member, event)
        member.room.level(member)

    def _give(self, member: Member, event: Event) -> None:
        try:
            guarded.take(member, event, self.hold_limit)
        except Hole:
            # It cannot be made whole from here; it comes back and asks for all it lacks.
            member.conn.sink.cut()

    def _to_user(self, room: Room, event: Event) -> int:
        members = [m for m in list(room.members.values()) if m.conn.caller.key == event.only_user]
        for member in members:
            if member.conn in room.guarded:
                self._give_guarded(member, event)
            else:
                member.conn.send(event)
        return len(members)

    def to_user(self, key: str, event: Event, outside: str = "") -> int:
        """To a user's connections, but for those whose token is for named sessions; with `outside`, a room,
        to those that are not in it but might be. How many got it."""
        if outside:
            conns = self.outside(key, outside)
        else:
            conns = tuple(c for c in self.of_user(key) if c.caller.sessions is None)
        for conn in conns:
            conn.send(event)
        return len(conns)

    def outside(self, key: str, room: str) -> tuple[Connection, ...]:
        """A user's connections that are not in a room but might be."""
        mine = self.of_user(key)
        return tuple(c for c in mine if c.member(room) is None and c.caller.reaches(room)) if mine else ()


def _position(held: tuple[Member, Event]) -> tuple[str, int]:
    return held[1].epoch, held[1].pos  # later epochs sort after earlier ones
