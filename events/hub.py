"""A node's rooms and connections, for all transports: who is in a room, and the one way to its members.

Encodes an event once per codec and hands every member the same bytes. Knows no wire format.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from events.access import Caller, SessionRole
from events.event import Codec, Event, Kind, clip, retold
from events.outbox import Flusher, Sink
from storage.interfaces import Mark

if TYPE_CHECKING:
    from events.sessions import LiveSession
    from events.snapshots import Known

#: A stream floor: nothing of this stream any more.
NEVER = 1 << 62
#: Volatile events that tell how things are until the next one does: who waits is not to miss them.
LASTING = frozenset({"presence", "system", "typing"})


class Seat(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where a membership begins: all above `pos`, durable events above `rev`, chunks from `idx` on; it knows
    of the messages up to number `seq`."""

    pos: int
    rev: int
    idx: dict[str, int] | None = None
    seq: int = 0


class Hole(Exception):
    """What came is not next: something before it is missing."""


class Connection:
    """One socket or event stream. `held` collects, while a join or a recovery runs, what comes for any of
    its rooms, in order: a later position must not overtake an earlier one."""

    __slots__ = (
        "address",
        "away",
        "caller",
        "codec",
        "connected_at",
        "fenced",
        "generation",
        "heard_at",
        "held",
        "held_size",
        "id",
        "line",
        "noticed",
        "pid",
        "rooms",
        "sink",
        "spoiled",
        "transport",
        "version",
        "warned",
    )

    def __init__(self, id: str, caller: Caller, codec: Codec, sink: Sink, transport: str, now: float) -> None:
        self.id, self.caller, self.codec, self.sink = id, caller, codec, sink
        self.transport = transport
        self.address = ""  # its client's, as its door found it
        self.connected_at = self.heard_at = now  # epoch seconds; when it said something last
        self.line: Any = None  # its commands, in order (`events.dispatch.Line`)
        self.noticed = False  # told that its token will expire
        self.rooms: tuple[Member, ...] = ()
        self.held: list[tuple[Member, Event]] | None = None
        self.held_size = 0
        self.pid: str | None = None  # names its recovery record; a secret
        self.generation = 0  # counts the takeovers of that record
        self.version = 0  # counts this node's writes of it
        self.away = False  # its user's status on it
        self.fenced = False  # taken over: nothing of what it said is begun any more
        self.spoiled = False  # its positions cannot be recovered from any more
        self.warned = False  # and it was told so

    def member(self, room: str) -> "Member | None":
        return next((m for m in self.rooms if m.room.name == room), None)

    def send(self, event: Event) -> None:
        """A direct event, or one that only this connection gets in this form."""
        self.sink.give(event, self.codec, self.codec.encode(event))


class Member:
    """A connection in a room. `pos`, `rev`, `seq`, `idx` are floors: it has everything up to there."""

    __slots__ = ("conn", "hidden", "idx", "pos", "present", "rev", "role", "room", "seat", "seq")

    def __init__(self, conn: Connection, room: "Room") -> None:
        self.conn, self.room = conn, room
        self.role: SessionRole = "viewer"
        self.pos = self.rev = self.seq = 0
        self.idx: dict[str, int] | None = None  # stream -> next chunk index
        self.seat: Seat | None = None  # where its membership begins, as its connection's record holds it
        self.hidden = False  # a reader of one stream: not present, not counted
        self.present = False  # counted by presence

    def behind(self) -> bool:
        """Whether an event may come that it already has: the slow way checks."""
        room = self.room
        if self.conn.held is not None or self.pos > room.pos or self.rev > room.delivered:
            return True
        if self.seq > room.seq:
            return True
        # A stream is level once the room as a whole has delivered what this member has.
        if self.idx and any(s in room.have and room.have[s] != n for s, n in self.idx.items()):
            return True
        self.idx = None
        return False

    def take(self, event: Event, limit: int) -> None:
        """The slow way: hold, skip or clip."""
        conn = self.conn
        if event.skip == conn.id and conn.transport != "websocket":
            if event.sizes and self.idx and event.stream in self.idx:
                self.idx[event.stream] = max(self.idx[event.stream], event.index + len(event.sizes))
            return
        if conn.held is not None:
            if event.kind >= Kind.VOLATILE and event.name not in LASTING:
                return
            conn.held_size += len(event.data)
            if conn.held_size > limit:
                conn.held = []
                conn.sink.cut()
                return
            conn.held.append((self, event))
            return
        if event.pos and event.pos <= self.pos:
            return
        if event.kind == Kind.DURABLE:
            if event.rev <= self.rev:
                return
            if event.seq and event.seq <= self.seq:
                event = retold(event)
            if event.closed and event.final >= 0 and self._lacks(event):
                raise Hole
            if event.stream:
                if self.idx is None:
                    self.idx = {}
                self.idx[event.stream] = NEVER if event.closed else self.idx.get(event.stream, 0)
        elif event.sizes:
            # Of whose start it was not told, it was told the end: with the snapshot.
            have = (self.idx or {}).get(event.stream, NEVER)
            if have == NEVER:
                return
            try:
                part = clip(event, have)
            except ValueError as error:
                raise Hole from error
            if part is None:
                return
            if self.idx is None:
                self.idx = {}
            self.idx[event.stream] = part.index + len(part.sizes)
            event = part
        conn.send(event)

    def _lacks(self, end: Event) -> bool:
        """Whether a stream's end would come without all of its text."""
        have = (self.idx or {}).get(end.stream, end.final)
        return have not in (end.final, NEVER)


class Here(NamedTuple):
    """A user's connections in a room on this node."""

    connections: int
    away: int  # of them

    @classmethod
    def of(cls, before: "Here | None", connections: int, away: int) -> "Here":
        """With so many more of each."""
        if before is not None:
            connections, away = connections + before.connections, away + before.away
        return _ONCE if (connections, away) == (1, 0) else cls(connections, away)

    @property
    def status(self) -> str:
        return "online" if self.connections > self.away else "away"


#: What nearly everybody is: one object, not one each.
_ONCE = Here(1, 0)


class Room:
    """A session's members on this node, and up to where they have been served."""

    __slots__ = (
        "ahead",
        "began",
        "changes",
        "chars",
        "delivered",
        "doubt",
        "early",
        "groups",
        "guarded",
        "have",
        "known",
        "live",
        "members",
        "name",
        "online",
        "pos",
        "ready",
        "reset",
        "seq",
        "tail",
        "users",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[Connection, Member] = {}
        self.groups: dict[Codec, dict[Connection, Sink]] = {}  # those who take every event as it comes
        self.guarded: dict[Connection, Member] = {}  # those who hold, skip or clip
        self.online = 0  # users over all nodes, as last heard
        self.users: dict[str, Here] = {}  # by key: who is present
        self.live: LiveSession | None = None
        self.known: Known | None = None  # what a join is told, while nothing changes
        self.changes = 0  # how often something has: what is being read just then is not kept
        self.ready = False  # `pos` and `delivered` are known
        self.began = 0  # the cut it was begun with
        self.early: list[Event] = []  # what the bus brought before it was ready
        self.pos = 0
        self.delivered = 0  # last revision delivered
        self.tail: Event | None = None  # the event that told of it, where it was one
        self.reset: Event | None = None  # what members were told when the database went back last
        self.doubt: Event | None = None  # one before it that is to be found in the database, too
        self.seq = 0  # every message up to this number was told of
        self.ahead: set[int] = set()  # and these above it: an edit puts a message behind later ones
        self.have: dict[str, int] = {}  # open stream -> chunks delivered
        self.chars: dict[str, int] = {}  # the same in characters

    def changed(self) -> None:
        """What was read of the session may not be so any more."""
        self.known = None
        self.changes += 1

    def told(self, seq: int) -> bool:
        """A message is told of; False if it was before."""
        if seq <= self.seq or seq in self.ahead:
            return False
        self.ahead.add(seq)
        while self.seq + 1 in self.ahead:
            self.seq += 1
            self.ahead.remove(self.seq)
        return True

    def rebase(self, mark: Mark) -> None:
        """What was delivered above is of a history that is lost."""
        self.delivered, self.seq, self.tail, self.doubt = mark.rev, mark.seq, None, None
        self.ahead.clear()
        self.changed()
        for member in list(self.members.values()):
            member.rev, member.seq = min(member.rev, mark.rev), min(member.seq, mark.seq)
            member.seat = None
            # Who is guarded may lack what the others have of open streams: it is cut off with the next chunk.
            member.idx = dict.fromkeys(self.have, 0) if member.conn in self.guarded and self.have else None
            self.level(member)

    @property
    def mark(self) -> Mark:
        """How far durable events were delivered here."""
        return Mark(self.delivered, self.seq)

    def level(self, member: Member) -> None:
        """Put a member where it belongs: with those who are served fast, or with the guarded."""
        conn = member.conn
        if self.members.get(conn) is not member:
            return  # it was cut off, or has left
        if member.behind():
            if self.ungroup(conn) and self.have:
                # It was served fast: of every open stream it has what the room has delivered.
                member.idx = {**self.have, **(member.idx or {})}
            self.guarded[conn] = member
        else:
            self.guarded.pop(conn, None)
            self.groups.setdefault(conn.codec, {})[conn] = conn.sink

    def ungroup(self, conn: Connection) -> bool:
        """Whether it was among those who are served fast."""
        group = self.groups.get(conn.codec)
        if group is None or group.pop(conn, None) is None:
            return False
        if not group:
            del self.groups[conn.codec]
        return True

    def drop(self, conn: Connection) -> None:
        self.members.pop(conn, None)
        self.guarded.pop(conn, None)
        self.ungroup(conn)


class Hub:
    """The rooms and connections of one node. `hold_limit` in bytes bounds what waits during a join."""

    def __init__(self, flusher: Flusher | None = None, hold_limit: int = 1 << 20) -> None:
        self.flusher = flusher or Flusher()
        self.hold_limit = hold_limit
        self.rooms: dict[str, Room] = {}
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
        """The room it left; None if it was not in it. An empty room is forgotten."""
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
        return room

    # --- holding

    def hold(self, conn: Connection) -> None:
        """From here on what comes for any of its rooms waits."""
        if conn.held is None:
            conn.held, conn.held_size = [], 0
            for member in conn.rooms:
                member.room.level(member)

    def release(self, conn: Connection) -> None:
        """What waited goes out, less what the floors cover; then it is served as it comes."""
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
        if event.only:
            return self._to_user(room, event)
        skipped = self.connections.get(event.skip) if event.skip else None
        if skipped is not None and event.sizes and skipped.transport == "websocket":
            skipped = None  # a producer gets its own chunks back on the raw WebSocket
        for codec, group in list(room.groups.items()):
            sinks = list(group.values())
            if skipped is not None and skipped in group:
                sinks.remove(group[skipped])
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
            member.take(event, self.hold_limit)
        except Hole:
            # It cannot be made whole from here; it comes back and asks for all it lacks.
            member.conn.sink.cut()

    def _to_user(self, room: Room, event: Event) -> int:
        members = [m for m in list(room.members.values()) if m.conn.caller.key == event.only]
        for member in members:
            if member.conn in room.guarded:
                self._give_guarded(member, event)
            else:
                member.conn.send(event)
        return len(members)

    def to_user(self, key: str, event: Event, outside: str = "") -> int:
        """To a user's connections, but for those whose token is for named sessions; with `outside`, a room,
        to those that are not in it but might be. How many got it."""
        conns = self.of_user(key)
        if outside:
            conns = tuple(c for c in conns if c.member(outside) is None and c.caller.reaches(outside))
        else:
            conns = tuple(c for c in conns if c.caller.sessions is None)
        for conn in conns:
            conn.send(event)
        return len(conns)


def _position(held: tuple[Member, Event]) -> tuple[str, int]:
    return held[1].epoch, held[1].pos  # later epochs sort after earlier ones
