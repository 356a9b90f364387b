"""After the commit: append to the room's log, publish, deliver. Every node, the sender's too, serves its
members from the bus, so that all see one order.

`tests/model/` checks the rules over random schedules. No reply waits here: replies follow the commit alone.
"""

import enum
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any

from events.event import Event, Kind
from events.fence import Fence
from events.hub import Hub
from events.logwriter import ChangeSource, LogWriter
from events.observer import Observer
from events.room import Room
from events.seat import Hole
from events.tasks import Tasks
from events.untold import Untold
from storage.errors import StorageError
from storage.interfaces import LOG_BEGAN, Bus, Cut, RoomLog, RoomState
from storage.records import OpenStream

#: Bus messages held while a node resyncs; beyond it the resync starts over.
HOLD_MAX = 20_000
#: An enum's members cost more to look up than a chunk's comparison may.
_DURABLE, _VOLATILE = int(Kind.DURABLE), int(Kind.VOLATILE)
#: Events after which what a join is told of the room is another thing.
_CHANGING = frozenset({"read", "turn"})
#: Bus messages kept for a room that is being opened.
EARLY_MAX = 5_000


class Mode(enum.Enum):
    """Who delivers."""

    LIVE = "the bus"
    AWAY = "the database"
    SYNC = "nobody: the bus is back, and what it brings is held until the node has caught up"


class Delivery:
    """A node's way from a commit to its members, and its end of the bus (`storage.interfaces.Receiver`)."""

    def __init__(
        self,
        hub: Hub,
        bus: Bus,
        log: RoomLog,
        changes: ChangeSource,
        observer: Observer,
        clock: Callable[[], float],
        tasks: Tasks,
        on_signal: Callable[[str, str, bytes], None],
    ) -> None:
        self.hub, self.bus, self.log, self.changes = hub, bus, log, changes
        self.observer, self.clock, self._tasks = observer, clock, tasks
        self.mode = Mode.AWAY
        self.live = False  # `mode` is LIVE: every chunk asks
        self.fence = Fence(hub.rooms)
        self.fence.broken = True
        self.epoch = ""
        self.logs = LogWriter(self, log, changes, observer, clock, tasks)
        self.untold = Untold(hub, changes, observer, tasks, self.logs.log_event)
        self.hold: deque[Event] = deque()
        self.overrun = False
        self.on_session: Callable[[Room, Event], None] = lambda room, event: None
        self.on_stream_start: Callable[[Event], None] = lambda event: None
        self.on_stream_end: Callable[[Event], None] = lambda event: None
        #: Tells a user of activity in a session, which has the number of its message.
        self.on_activity: Callable[[Event], None] = lambda event: None
        self.departed: Callable[[], None] = lambda: None
        #: What says that the database holds less than was seen, or something else.
        self.behind: Callable[[str], Awaitable[None]] = _nothing
        #: Looks whether the database has what members of a room were told of last; False if it has not.
        self.proved: Callable[[Room], Coroutine[Any, Any, bool]] = _always
        self.on_signal = on_signal
        #: Volatile events by name, to whoever keeps account of what the members here were told; False: they
        #: know it already.
        self.watches: dict[str, Callable[[Event], bool]] = {}

    # --- volatile events, without a log

    def publish(self, *events: Event) -> None:
        """Volatile events to a room's members everywhere."""
        if self.live:
            self.bus.publish(f"session:{events[0].room}", *events)
        else:
            self.on_volatile(events)

    def to_user(self, key: str, event: Event) -> None:
        """A volatile event to a user's connections everywhere; `event.not_to` names a room whose members are
        left out."""
        if self.live:
            self.bus.publish(f"user:{key}", event)
        else:
            self._to_user(key, event)

    def _to_user(self, key: str, event: Event) -> None:
        if event.seq:
            self.on_activity(event)
        else:
            self.hub.to_user(key, event, outside=event.not_to)

    # --- from the bus to the members

    def on_event(self, event: Event) -> None:
        if event.kind >= _VOLATILE:
            self.on_volatile((event,))
        elif self.live:
            room = self.hub.rooms.get(event.room)
            if room is not None:
                self._on_log(room, event)
        elif self.mode is Mode.SYNC:
            self.hold.append(event)
            if len(self.hold) > HOLD_MAX:  # start over rather than grow
                self.hold.clear()
                self.overrun = True

    def on_volatile(self, events: Sequence[Event]) -> None:
        first = events[0]
        room = self.hub.rooms.get(first.room)
        if room is None:
            if first.only_user:
                self._to_user(first.only_user, first)
            return
        watches, delivered = self.watches, self.observer.delivered
        for event in events:
            if event.name in watches and not watches[event.name](event):
                return
        members = self.hub.broadcast(room, first) if len(events) == 1 else self.hub.tell(room, events)
        for event in events:
            delivered(event.name, members, 0.0)

    def _on_log(self, room: Room, event: Event) -> None:
        if not room.ready:
            room.early.append(event)
            if len(room.early) > EARLY_MAX:
                self.lost()
            return
        if event.epoch != self.epoch:
            self.lost()  # the log's data was lost
            return
        if event.pos <= room.pos:
            return
        try:
            if event.prev > room.pos:
                raise Hole
            if event.name == LOG_BEGAN:
                if event.rev > room.delivered:
                    raise Hole
                self.untold.lost_in(room.name)
            else:
                self.deliver(room, event)
            room.pos = event.pos
        except Hole:
            self.lost()

    def deliver(self, room: Room, event: Event) -> None:
        """The one way to the members: in order, each thing once. Raises Hole if something is missing."""
        if event.sizes:
            have = room.have.get(event.stream)
            if have is None:
                return  # its end was delivered
            part = room.take_chunks(event, have)
            if part is None:
                self.hub.give_guarded(room, event)  # a late one may lack what the others have
            else:
                self.observer.chunks += self.hub.broadcast(room, part, event)
            return
        if event.kind == _DURABLE:
            if event.rev <= room.delivered:
                if event.pos and room.suspect():
                    self._tasks.spawn(self._prove(room))
                return
            event = room.take_durable(event)
            if event.stream:
                if event.closed:
                    self.on_stream_end(event)
                else:
                    self.on_stream_start(event)
        members = self.hub.broadcast(room, event)
        self.observer.delivered(event.name, members, self.clock() - event.at if event.at else 0.0)
        if event.name in _CHANGING:
            room.changed()
        elif event.name == "session":
            self.on_session(room, event)

    def begin(self, room: Room, cut: Cut, state: RoomState, open_streams: Iterable[OpenStream]) -> None:
        """A room begins with its first cut here; what the bus brought of it before follows."""
        for event in room.begin(cut, state, open_streams):
            self.on_event(event)

    # --- on the bus, or away from it

    async def agreed(self, fence: Fence, *rooms: Room) -> bool:
        """Whether the log that was read is the one that every node has seen. Raises Unavailable."""
        if await self.bus.agree() != self.epoch:
            self.lost()
        return fence.holds(*rooms)

    def lost(self) -> None:
        """From here on SQL delivers, until a resync. The one answer to every doubt about the bus."""
        if self.live:
            self.fence.broken = True
            self.observer.bus("away")
        self._turn(Mode.AWAY)
        self.departed()

    def hold_back(self) -> None:
        """On the way back: what the bus brings waits for `arrived`."""
        self._turn(Mode.SYNC)
        self.drop_held()

    def drop_held(self) -> None:
        """What waits is in the log that is about to be read."""
        self.hold.clear()
        self.overrun = False

    def turned_back(self) -> None:
        """The way back came to nothing."""
        if self.mode is Mode.SYNC:
            self._turn(Mode.AWAY)

    def arrived(self, epoch: str) -> None:
        """Everything up to a cut of this epoch was delivered: what waits follows."""
        self.epoch, self.fence = epoch, Fence(self.hub.rooms)
        self._turn(Mode.LIVE)
        self.observer.bus("live")
        while self.hold and self.live:
            self.on_event(self.hold.popleft())

    def _turn(self, mode: Mode) -> None:
        self.mode, self.live = mode, mode is Mode.LIVE

    def on_lost(self) -> None:
        """The subscriber's connection broke."""
        self.lost()

    def epoch_began(self, epoch: str) -> None:
        """Somebody found that the log's store had lost something, or was set back."""
        if self.live and epoch > self.epoch:
            self.lost()

    async def deliver_from_sql(self, name: str) -> None:
        """What SQL has beyond what was delivered here. Its position cannot be recovered from."""
        room, last = self.hub.rooms.get(name), self.fence
        if room is None or not room.ready or self.live:
            return
        while True:
            base = room.mark
            try:
                _, events = await self.changes.since(name, base)
            except StorageError:
                return  # the poll will
            if events and not await self.proved(room):
                return
            if self.fence is not last or self.hub.rooms.get(name) is not room:
                return  # the bus is back, or was meanwhile
            if room.mark == base:  # else somebody else delivered meanwhile: what was new then may not be now
                break
        self.deliver_healed(room, events)

    async def _prove(self, room: Room) -> None:
        await self.proved(room)

    def deliver_healed(self, room: Room, events: Sequence[Event]) -> None:
        """Events made from SQL, to the members."""
        count = 0
        for event in events:
            if event.rev > room.delivered:
                self.deliver(room, event)
                count += 1
        if count:
            self.observer.healed("delivered", count)


async def _nothing(why: str) -> None:
    """Where nobody looks after the database's history."""


async def _always(room: Room) -> bool:
    """The same."""
    return True
