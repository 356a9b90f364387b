"""Read marks, titles and ends of paths that members may lack. They have no revision, so that no comparison of
counters finds one that its node committed and told nobody of: where that may have happened, the database is
asked.

A member may be told them twice, which does no harm. Knows the log as where to put a mark that was moved here.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Protocol

from events.event import Event
from events.hub import Hub
from events.observer import Observer
from events.room import Connection, Room
from events.tasks import Tasks
from storage.errors import StorageError

#: Marks that the database may have moved without an answer, of which the newest go unheard; connections,
#: beyond which whole rooms are told.
UNSURE_MAX = 10_000
#: Rooms, or connections, for which the database is asked at once.
AT_ONCE = 20


class Unrevised(Protocol):
    """What the database has (`events.changes` implements it). Raises StorageUnavailable."""

    async def read_mark(self, room: str, user: str) -> Event | None: ...

    async def unrevised(self, rooms: Collection[str]) -> Sequence[Event]:
        """Without a place in a log: who is told one goes on from where it was."""


class Untold:
    """`log_event` tells of a mark that was moved here."""

    def __init__(
        self,
        hub: Hub,
        source: Unrevised,
        observer: Observer,
        tasks: Tasks,
        log_event: Callable[[Event], None],
    ) -> None:
        self._hub, self._source, self._observer, self._tasks = hub, source, observer, tasks
        self._log_event = log_event
        self._unsure: set[tuple[str, str]] = set()
        self._rooms: set[str] = set()
        self._conns: OrderedDict[Connection, None] = OrderedDict()
        self._buried = ""
        self._telling = False

    # --- who may lack one

    def unsure_of(self, room: str, user: str) -> None:
        """The database did not answer whether a mark has moved."""
        if len(self._unsure) < UNSURE_MAX:
            self._unsure.add((room, user))

    @property
    def unsure(self) -> bool:
        """Whether something may have moved here that nobody was told."""
        return bool(self._unsure)

    def lost_in(self, room: str) -> None:
        """The log that had them of the room is gone."""
        self._rooms.add(room)

    def node_died(self, buried: str) -> None:
        """`buried`: the node that was found dead last, for as long as somebody may come back who was away
        then; "" for none. What it changed last it may have told nobody."""
        before, self._buried = self._buried, buried
        if buried and buried != before:
            self._rooms.update(self._hub.rooms)
            self.tell_soon()

    def came_back(self, conn: Connection) -> None:
        """Its recovery is over: it may have been away when the others were told."""
        if not self._buried:
            return
        if len(self._conns) < UNSURE_MAX:
            self._conns[conn] = None
        else:
            self._rooms.update(member.room.name for member in conn.rooms)
        self.tell_soon()

    # --- telling

    def tell_soon(self) -> None:
        if not self._telling and (self._unsure or self._rooms or self._conns):
            self._telling = True
            self._tasks.spawn(self._tell())

    async def _tell(self) -> None:
        try:
            with suppress(StorageError):  # the next poll asks again
                await self.tell()
        finally:
            self._telling = False

    async def tell(self) -> None:
        """Raises StorageUnavailable."""
        while self._unsure:
            pair = next(iter(self._unsure))
            event = await self._source.read_mark(*pair)
            self._unsure.discard(pair)
            if event is not None:
                self._log_event(event)
        for rooms in _parts(self._ready()):
            await self._tell_rooms(rooms)
        while self._conns:
            await self._tell_connections(list(islice(self._conns, AT_ONCE)))

    def _ready(self) -> list[str]:
        """Those of the rooms that have members who can be told; the others' time comes, or they are gone."""
        rooms = self._hub.rooms
        self._rooms.intersection_update(rooms.keys())
        return [name for name in self._rooms if rooms[name].ready]

    async def _tell_rooms(self, names: Sequence[str]) -> None:
        found = _by_room(await self._source.unrevised(names))
        self._rooms.difference_update(names)
        for name, events in found.items():
            room = self._hub.rooms.get(name)
            if room is not None and room.ready:
                self._told(room, len(events))
                self._hub.tell(room, events)

    async def _tell_connections(self, conns: Sequence[Connection]) -> None:
        names = {member.room.name for conn in conns for member in conn.rooms}
        found = _by_room(await self._source.unrevised(names)) if names else {}
        for conn in conns:
            self._conns.pop(conn, None)
            for member in conn.rooms:
                events = found.get(member.room.name, ())
                self._told(member.room, len(events))
                for event in events:
                    conn.send(event)

    def _told(self, room: Room, count: int) -> None:
        room.changed()  # what is kept for the next who join may lack them, too
        self._observer.healed("marks", count)


def _by_room(events: Iterable[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.room, []).append(event)
    return found


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), AT_ONCE):
        yield names[start : start + AT_ONCE]
