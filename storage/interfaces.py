"""What the domain asks of the cluster's side: one interface per subject.

Every implementation (memory, Redis) does all of them. Knows nothing of sessions' meaning, transports
or SQL. A method may raise `storage.errors.StorageUnavailable` where the implementation has to travel; the
rules of `RoomLog`, `StreamLog` and `Records` are checked by `tests/model/`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from enum import IntEnum
from typing import Literal, Protocol

import msgspec

from storage.pieces import OWN, Run


class Kind(IntEnum):
    """How an event is delivered (contract, "Commands and events", class)."""

    DURABLE = 0  # has a revision; healed from the database whatever happens
    LOGGED = 1  # replayed within the recovery window
    VOLATILE = 2  # never replayed, dropped first
    DIRECT = 3  # to one connection; never replayed


#: `Event.final` where nobody can tell: the event carries the whole text.
UNCOUNTED = -1


class Event(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """One event on its way to a room's members. `data` is the finished JSON object.

    It travels as an array, and nodes of two versions read each other's: new fields go to the end.
    `epoch`, `mark`, `pos`, `prev` are stamped by the log's append; `pos` is 0 where an event did not come
    from the log.
    """

    room: str
    name: str
    data: bytes
    kind: int
    rev: int = 0  # durable: the session's revision at this change
    first_rev: int = 0  # durable: first revision it covers (below `rev`: the others were overtaken)
    seq: int = 0  # durable: the message's number where this tells of its creation; of a user's: of activity
    stream: str = ""  # message_id of a stream_start, stream_chunk or stream_end
    index: int = 0  # chunk: index of its first piece
    sizes: tuple[int, ...] = ()  # chunk: characters of each piece merged into it
    closed: bool = False  # stream_end
    final: int = UNCOUNTED  # stream_end: chunks of the whole text
    unused: bool = False  # a former field's place
    not_to: str = ""  # who does not get it: a connection's id; of a user's event, a session with its members
    only_user: str = ""  # key of the one user who gets it; "" for all
    id: str = ""  # logged events: repeats of an id are dropped
    epoch: str = ""
    pos: int = 0
    prev: int = 0  # position of the room's entry before this one
    at: float = 0.0  # epoch seconds of its commit; 0: not measured
    mark: str = ""  # tells `pos` apart from the same one of a history that was lost
    part: str = OWN  # chunk: what its pieces are a part of (`storage.pieces`)

    @property
    def position(self) -> str:
        """Contract, "Missed nothing": opaque to clients, ordered within an epoch."""
        return f"{self.epoch}-{self.pos:012x}{self.mark}"


class Mark(msgspec.Struct, frozen=True):
    """How far a room's durable events reach: its last revision, and the last `seq` they told of."""

    rev: int
    seq: int


#: In place of an event's name: a room's log began, or began anew, behind a mark.
LOG_BEGAN = ""


def log_began(room: str, base: Mark) -> Event:
    """Tells the nodes; members hear nothing of it."""
    return Event(room, LOG_BEGAN, b"", Kind.DURABLE, rev=base.rev, seq=base.seq)


#: A room's log to events: revisions are missing before the first ("gap"); there is no log ("nobody").
AppendAnswer = Literal["ok", "gap", "nobody"]
#: A stream's log to chunks: so far it has them ("next"); its start is not logged ("gap"); it takes no more
#: ("closed"); the room has no log ("nobody").
StreamAnswer = Literal["next", "gap", "closed", "nobody"]
#: To a connection's record: a later generation has it ("taken"); another epoch, or a newer version is there
#: ("late").
RecordAnswer = Literal["ok", "taken", "late"]


class Appended(msgspec.Struct, frozen=True):
    """`known`: so many of the events, said to be fresh, were known by their revision."""

    answer: AppendAnswer
    last: Mark | None = None
    known: int = 0


class ChunkAnswer(msgspec.Struct, frozen=True):
    """`next_index` is what the log expects."""

    answer: StreamAnswer
    next_index: int


class StreamText(msgspec.Struct, frozen=True):
    """Exactly what a stream's logged chunks add up to. `text` is the message's own; `runs` has all of it in
    order, where there are other parts. `whole` is the same from the beginning on, of one that was read from
    another chunk on. `status`: what its producer does, as JSON, where it said so; of a cut alone."""

    text: str
    next_index: int
    start: int  # revision of its stream_start; 0: not known
    closed: bool  # takes no more chunks
    ended: bool  # its end is logged
    runs: tuple[Run, ...] = ()
    whole: tuple[Run, ...] = ()
    status: str = ""

    @property
    def all(self) -> Sequence[Run]:
        """In order, of one that was read from its beginning on."""
        return self.runs or (Run(OWN, self.text, self.next_index),)

    @property
    def characters(self) -> int:
        """Of all parts."""
        return sum(len(run.text) for run in self.runs) if self.runs else len(self.text)


class RoomState(msgspec.Struct, frozen=True):
    """A room as of a cut position."""

    last: Mark
    pos: int  # of its newest entry, or where it began
    complete: bool  # `entries` holds all above the asked position
    entries: Sequence[Event]
    streams: Mapping[str, StreamText]  # whose end is not logged


class Cut(msgspec.Struct, frozen=True):
    """Many rooms as of one position; None for a room without a log. `genuine`: this history gave out the
    position that a client said it has."""

    epoch: str
    pos: int
    rooms: Mapping[str, RoomState | None]
    mark: str = ""
    genuine: bool = True


#: To be asked for in place of a position: nothing is above it, so a room's state comes without entries.
NO_ENTRIES = 1 << 60
#: Bytes of a read that has no bound of its own: a room's log has.
UNBOUNDED = 1 << 50


#: The position that a client says it has, and its mark.
Given = tuple[int, str]
NOT_GIVEN: Given = (0, "")


class RoomLog(Protocol):
    """One clock (epoch, position) and a bounded log per room. Append publishes: both or neither."""

    def append(
        self, room: str, events: Sequence[Event], fresh: bool = False
    ) -> "Appended | asyncio.Future[Appended]":
        """Durable events in order of revision (idempotent), or logged ones (idempotent by id). An answer,
        or a future of one where it has to travel. `fresh`: they were committed just now, on this node."""

    async def read(
        self,
        asks: Mapping[str, int],
        own_cut: bool = False,
        given: Given = NOT_GIVEN,
        limit: int = UNBOUNDED,
    ) -> Cut:
        """What lies above each room's position, all as of one cut. `own_cut` takes a fresh position; `given`
        is a client's own, with its mark: see `Cut.genuine`. Where it has to be fetched, and is more than
        `limit` bytes, rooms are incomplete from there on."""

    def at_hand(self, room: str) -> Cut | None:
        """A cut without entries, where the log is in this process; None where it has to be asked for."""

    async def last(self, rooms: Sequence[str]) -> Mapping[str, Mark | None]:
        """How far each room's log reaches; None for a room without one. Keeps those logs alive."""

    async def open(self, room: str, base: Mark) -> None:
        """A log for a room that has none: complete from here on, next revision `base.rev` + 1."""

    async def reset(self, room: str, last: Mark) -> None:
        """Too much is missing to fill: forget what the log holds, go on at `last`."""

    async def past(self, rooms: Sequence[str]) -> Mapping[str, Sequence[Event]]:
        """What there is of rooms' logs, also of an epoch that has ended."""

    async def renew(self, lineage: str) -> None:
        """The logs are of this lineage of the database: if they were another one's, the epoch begins anew."""

    def forget(self, room: str) -> None:
        """The room is erased."""


#: In place of a chunk's index: nothing is appended, the answer tells where the text ends in the log.
ASK_ONLY = -1


class StreamLog(Protocol):
    """Texts of open streams and their producers' leases."""

    def append(
        self, event: Event, start: int, pieces: Sequence[str]
    ) -> "ChunkAnswer | asyncio.Future[ChunkAnswer]":
        """Log and publish chunks, `pieces` of `event.part`, if `event.index` is next; renews the lease. An
        answer, or a future of one where it has to travel."""

    def note(self, stream: str, status: str) -> None:
        """What its producer does, until its end; "" for nothing. Lost with the log."""

    async def close(self, room: str, stream: str) -> StreamText:
        """No more chunks; the text that was logged."""

    async def read(self, room: str, stream: str, from_index: int = 0) -> StreamText | None:
        """The text from a chunk index on; None where nothing of it is known."""

    async def renew(self, leases: Mapping[str, float]) -> None:
        """Keep streams' leases: message id -> seconds from now."""

    async def lapsed(self, streams: Sequence[str]) -> Sequence[str]:
        """Those of the given open streams whose lease is not held by anyone."""


class Records(Protocol):
    """Connections' recovery records, by secret `pid`."""

    #: Another process may ask for the record of a connection that still seems to live. Where none can, it is
    #: enough to write it when the connection is gone.
    shared: bool

    async def put(self, pid: str, epoch: str, generation: int, version: int, record: bytes) -> RecordAnswer:
        """Writes it, if nothing newer is there."""

    async def take(self, pid: str, owner: bytes) -> tuple[str, int, bytes] | None:
        """Take a connection over: (epoch, its new generation, record); tells all nodes (`Bus`, takeover).
        `owner`: the record begins with it; any other is left as it is."""

    async def generations(self, pids: Sequence[str]) -> Mapping[str, int]:
        """Of those that have a record: how often it was taken over."""

    async def expire(self, pids: Sequence[str], seconds: float) -> None:
        """The connections are gone: their records stay for `seconds`. 0 drops them now."""


class Receiver(Protocol):
    """What a bus calls on the node, on the event loop, in the order of arrival."""

    def on_event(self, event: Event) -> None: ...

    def on_volatile(self, events: Sequence[Event]) -> None:
        """Volatile events of one room that are told together."""

    def on_signal(self, channel: str, name: str, body: bytes) -> None:
        """A node-to-node message: `takeover`, `cancel`, ... on the channel it was sent to."""

    def on_lost(self) -> None:
        """The subscriber connection broke: what was published since is unknown."""


class Bus(Protocol):
    """Events and signals between nodes; a node hears only the channels it has subscribed to.

    Channels: `session:{id}`, `user:{id}`, `node:{id}`, `all`.
    """

    async def connect(self, receiver: Receiver) -> None:
        """A fresh subscription connection with no channels but the node's own and `all`."""

    async def subscribe(self, channels: Sequence[str]) -> None:
        """Returns when all are confirmed."""

    def unsubscribe(self, channel: str) -> None: ...

    def publish(self, channel: str, *events: Event) -> None:
        """Volatile events of one room; fire and forget."""

    def signal(self, channel: str, name: str, body: bytes) -> None:
        """A node-to-node message; fire and forget."""

    async def echo(self) -> str:
        """A canary through the bus and back to this node; the epoch. Compares the log's store with what this
        node has seen of it. Raises StorageUnavailable if it is lost."""

    async def agree(self) -> str:
        """The epoch, once every node on the bus has, since this was called, compared the log's store with
        what it has seen of it: behind that, or on another branch, the epoch begins anew."""


class Beat(msgspec.Struct, frozen=True):
    """What a heartbeat found: things that this node, and no other, has to announce."""

    left: Sequence[tuple[str, str]] = ()  # (room, user): a dead node had them, and no node has now
    joined: Sequence[tuple[str, str, str]] = ()  # (room, user, status): this node was taken for dead
    buried: str = ""  # the node that was found dead last, for as long as a connection may come back from then


#: user -> (status, connections)
Presences = Mapping[str, tuple[str, int]]


class News(IntEnum):
    """What a user's presence is to one who was away: none; a change; a return, after the user had left."""

    NONE = 0
    CHANGED = 1
    CAME_BACK = 2


#: user -> (status, connections, what news that is to one who was away); "offline" are those who left.
Changed = Mapping[str, tuple[str, int, News]]


#: Seconds for which a half-open connection has heard nothing before anybody knows: longer than any ping's
#: interval and time-out together.
SILENT = 120.0


def longest_absence(window: float) -> float:
    """Seconds for which a connection that is recovered may have heard nothing. `window` is RECOVERY_WINDOW: a
    record lasts twice as long where its node died."""
    return 2 * window + SILENT


#: Of nodes that seem to be dead those that live nevertheless. May raise StorageUnavailable.
Vouch = Callable[[Sequence[str]], Awaitable[Collection[str]]]


class PresenceStore(Protocol):
    """Who is online in which room, over all nodes, held by node leases."""

    def enter(self, room: str, user: str, status: str) -> bool | Awaitable[bool]:
        """This node has the user in the room now, with this status. True if no node had before."""

    async def leave(self, room: str, user: str) -> bool:
        """This node has the user in the room no more. True if no node has."""

    async def online(self, room: str) -> Presences:
        """Over all live nodes."""

    async def changed(self, room: str, listed: int) -> Changed | int:
        """The same, and who has left of late, for somebody who may have heard nothing for as long as a
        connection may be away; the number alone where more than `listed` are there."""

    def at_hand(self, room: str) -> Presences | None:
        """The same, where all of it is in this process (not to be changed); None where it has to be asked
        for."""

    async def beat(self, counts: Mapping[str, Presences], *, doubtful: bool = False) -> Beat:
        """Renew this node's lease, say who is here (all of it where `doubtful`: the store may have lost what
        was said), and take over what dead nodes left behind."""

    async def goodbye(self) -> None:
        """This node stops, and nothing is lost with it: `Beat.buried` does not name it."""

    async def look(
        self, rooms: Collection[str], again: Collection[str], listed: int
    ) -> Mapping[str, Presences | int]:
        """Of `rooms` those whose presence is not what the last look found, and those of `again`: who is
        there, as `online`; the number alone where more than `listed` are."""


class Buckets(Protocol):
    """Token buckets by key."""

    def take(self, key: str, capacity: float, per_second: float) -> float | Awaitable[float]:
        """0.0 if a token was there and was taken, else seconds until there is one."""


class BlobStore(Protocol):
    """File contents by key."""

    async def put(self, key: str, chunks: AsyncIterator[bytes], content_type: str) -> int:
        """Store a stream, whole or not at all; its size in bytes."""

    def get(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `stop`. Raises KeyError."""

    async def delete(self, keys: Sequence[str]) -> None: ...

    def keys(self, before: float) -> AsyncIterator[Sequence[str]]:
        """Keys last written before this epoch time, in batches: what may be orphans."""


Clock = Callable[[], float]
