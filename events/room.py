"""A session's members on this node, and how far they were served. Knows no bus and no database."""

from collections.abc import Awaitable, Iterable
from typing import Any, NamedTuple

from events.access import Caller, SessionRole
from events.bounds import Cap
from events.errors import ChatError
from events.event import Codec, Event
from events.live import Known, LiveSession
from events.outbox import Sink
from events.seat import Seat
from events.served import Served
from storage.interfaces import Cut, Mark
from storage.records import Person, SessionRecord


class Connection:
    """One socket or event stream. `held` collects, while a join or a recovery runs, what comes for any of
    its rooms, in order: a later position must not overtake an earlier one.

    A transport says what its connections can do by a subclass; `transport` is a name for people.
    """

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

    #: How many of its kind one user may have at a time, besides what connections of any kind share.
    cap: Cap | None = None
    #: It was opened for one session, and goes when its membership does.
    ends_with_its_session = False
    #: A producer on it gets its own chunks back.
    hears_its_own_chunks = False
    #: It says nothing itself: requests of its user speak for it.
    speaks_by_requests = False
    #: It can be asked, as a worker is.
    can_be_asked = False

    def __init__(self, id: str, caller: Caller, codec: Codec, sink: Sink, transport: str, now: float) -> None:
        self.id, self.caller, self.codec, self.sink = id, caller, codec, sink
        self.transport = transport
        self.address = ""  # its client's, as its door found it
        self.connected_at = self.heard_at = now  # epoch seconds; when it said something last
        self.line: Any = None  # its commands, in order (`events.line.Line`)
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
        for member in self.rooms:
            if member.room.name == room:
                return member
        return None

    def send(self, event: Event) -> None:
        """A direct event, or one that only this connection gets in this form."""
        self.sink.give(event, self.codec, self.codec.encode(event))

    @property
    def last_ping(self) -> float:
        """When its client was there last, in epoch seconds."""
        return self.heard_at

    def end(self, error: ChatError) -> None:
        """Close it; where its wire has a word for that, its client knows why, or comes back by itself."""
        self.sink.cut()

    def send_away(self, error: ChatError) -> None:
        """Close it, so that its client stays away where its protocol has a word for that."""
        self.end(error)

    def ask(self, name: str, payload: bytes) -> Awaitable[object]:
        """Send an event that is to be acknowledged. Raises ConnectionError, at once or when it is gone."""
        raise ConnectionError

    def at_rest(self) -> None:
        """It has been silent for a while: drop what it needs only when it speaks again."""


class Member:
    """A connection in a room. `pos`, `rev`, `seq`, `idx` are floors: it has everything up to there."""

    __slots__ = ("brought", "conn", "hidden", "idx", "pos", "present", "rev", "role", "room", "seat", "seq")

    def __init__(self, conn: Connection, room: "Room") -> None:
        self.conn, self.room = conn, room
        self.role: SessionRole = "viewer"
        self.pos = self.rev = self.seq = 0
        self.idx: dict[str, int] | None = None  # stream -> next chunk index
        self.seat: Seat | None = None  # where its membership begins, as its connection's record holds it
        self.brought: float | None = None  # when it came with messages that it had (monotonic seconds)
        self.hidden = False  # a reader of one stream: not present, not counted
        self.present = False  # counted by presence

    def sit(self, floor: Seat, seat: Seat | None, brought: float | None) -> None:
        """It has everything up to this floor. `seat`: where it may be recovered from; None: nowhere."""
        self.brought = brought
        self.pos, self.rev, self.seq = floor.pos, floor.rev, floor.seq
        self.idx = dict(floor.idx) if floor.idx else None
        self.seat = seat

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


class Here(NamedTuple):
    """A user's connections in a room on this node."""

    connections: int
    away: int  # of them
    status: str = "online"

    @classmethod
    def of(cls, before: "Here | None", connections: int, away: int) -> "Here":
        """With so many more of each."""
        if before is not None:
            connections, away = connections + before.connections, away + before.away
        if connections == 1 and not away:
            return _ONCE
        return cls(connections, away, "online" if connections > away else "away")


#: The ordinary case: one object for nearly all users, not one each.
_ONCE = Here(1, 0)


class Room(Served):
    """A session's members on this node, and what is known of the session."""

    __slots__ = (
        "all_named",
        "changes",
        "groups",
        "guarded",
        "introduced",
        "known",
        "live",
        "members",
        "name",
        "online",
        "reset",
        "users",
    )

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.members: dict[Connection, Member] = {}
        self.groups: dict[Codec, dict[Connection, Sink]] = {}  # those who take every event as it comes
        self.guarded: dict[Connection, Member] = {}  # those who hold, skip or clip
        self.online = 0  # users over all nodes, as last heard
        self.users: dict[str, Here] = {}  # present users, by key
        self.live: LiveSession | None = None
        self.known: Known | None = None  # the snapshot of a join, while nothing changes
        self.changes = 0  # how often something has: what is being read just then is not kept
        self.reset: Event | None = None  # what members were told when the database went back last
        self.all_named = False  # those who join are told what all of the session's people are called
        self.introduced: dict[str, Person] | None = None  # senders that messages have told of, by key

    # --- the session

    def know(self, record: SessionRecord) -> None:
        """The session as it was read, where nothing newer is known here."""
        if self.live is None:
            self.live = LiveSession.of(record)

    def know_anew(self, record: SessionRecord) -> None:
        """The session as it is now."""
        self.live = LiveSession.of(record)

    def named(self, all: bool) -> None:
        """Whether those who join now are told what all of the session's people are called."""
        self.all_named = all
        if not all:
            self.introduced = None

    def changed(self) -> None:
        """The session may have changed since it was read."""
        self.known = None
        self.changes += 1

    # --- all members

    def rejoin(self, cut: Cut) -> None:
        """The bus is back, and everything up to the cut was delivered: that holds for every member, whose own
        position may be of another epoch."""
        self.resume(cut)
        for member in list(self.members.values()):
            member.pos = 0
            self.level(member)

    def rebase(self, mark: Mark, gone: Iterable[str], reset: Event) -> None:
        """What was delivered above the mark is of a history that is lost, and so are the open streams
        `gone`. `reset` is what members are told."""
        self.put_back(mark, gone)
        self.reset = reset
        self.introduced = None
        self.changed()
        for member in list(self.members.values()):
            member.rev, member.seq = min(member.rev, mark.rev), min(member.seq, mark.seq)
            member.seat = member.brought = None
            # Who is guarded may lack what the others have of open streams: it is cut off with the next chunk.
            member.idx = dict.fromkeys(self.have, 0) if member.conn in self.guarded and self.have else None
            self.level(member)

    # --- one member

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
