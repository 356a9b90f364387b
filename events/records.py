"""The recovery records of this node's connections: written before members are told, spoiled where a position
can no longer be trusted. Knows no session and no presence.
"""

from collections.abc import Mapping
from contextlib import suppress

from events import recovery
from events.clock import Clock
from events.delivery import Delivery
from events.event import Kind, make
from events.room import Connection
from events.seat import Seat
from events.tasks import Tasks
from storage.errors import StorageUnavailable
from storage.interfaces import Records


class ConnectionRecords:
    """`window` is RECOVERY_WINDOW in seconds: how long the record of a connection that is gone is kept."""

    def __init__(
        self, delivery: Delivery, store: Records, clock: Clock, tasks: Tasks, *, window: float
    ) -> None:
        self._delivery, self.store = delivery, store
        self._clock, self._tasks, self._window = clock, tasks, window

    async def save(self, conn: Connection, rooms: Mapping[str, Seat]) -> None:
        """Write the record, if somebody else may ask for it. Raises Unavailable."""
        if self.store.shared:
            await self._write(conn, rooms)

    async def save_as_is(self, conn: Connection) -> bool:
        """The same of the rooms that it is in; False where the bus is lost for it."""
        try:
            await self.save(conn, recovery.seats(conn))
        except StorageUnavailable:
            self._delivery.lost()
            return False
        return True

    async def give_up(self, conn: Connection) -> None:
        """It is about to be taken over. Raises Unavailable."""
        if not self.store.shared:
            await self._write(conn, recovery.seats(conn))

    async def _write(self, conn: Connection, rooms: Mapping[str, Seat]) -> None:
        """Cuts the connection if another node has taken it over. Raises Unavailable."""
        if conn.pid is None or conn.spoiled:
            return
        answer = await self.store.put(conn.pid, *self._record(conn, rooms))
        if answer == "taken":
            conn.fenced = True
            conn.pid = None
            conn.sink.cut()
        elif answer != "ok":
            self._delivery.lost()

    def _record(self, conn: Connection, rooms: Mapping[str, Seat]) -> tuple[str, int, int, bytes]:
        """What `Records.put` takes, with the next version."""
        conn.version += 1
        return self._delivery.epoch, conn.generation, conn.version, recovery.write_record(conn, rooms)

    def retire(self, conn: Connection) -> None:
        """The connection is gone; its record stays for the window."""
        if conn.pid is not None:
            last = None if self.store.shared or conn.spoiled else self._record(conn, recovery.seats(conn))
            self._tasks.spawn(self._retire(conn.pid, last))
            conn.pid = None

    async def _retire(self, pid: str, last: tuple[str, int, int, bytes] | None) -> None:
        with suppress(StorageUnavailable):  # it has an expiry of its own
            if last is not None:
                await self.store.put(pid, *last)
            await self.store.expire([pid], self._window)

    def spoil(self, conn: Connection) -> None:
        """Its record or its offset cannot be trusted: make the offset unusable, and say so."""
        if not conn.spoiled:
            self._delivery.hub.spoil(conn, conn.codec.poisoned)
        if conn.pid is not None and conn.rooms and not conn.warned:
            conn.warned = True
            name = conn.rooms[0].room.name
            # An event with an unusable position; an application fetches the session again: no harm.
            conn.send(make(name, "session", Kind.LOGGED, {"event": "updated"}, self._clock()))

    def spoil_all(self) -> None:
        """The bus was lost."""
        hub = self._delivery.hub
        for room in hub.rooms.values():
            room.changed()
        for conn in list(hub.connections.values()):
            self.spoil(conn)
