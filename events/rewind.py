"""Rooms that were served from a lost history of the database: how far they are still right, and the reset
that their members get (docs/adr/0011)."""

import logging
from collections.abc import Mapping, Sequence

from events.delivery import Delivery
from events.event import Kind, make
from events.history import History
from events.room import Room
from events.tails import There, holds, there
from storage.errors import BusUnavailable
from storage.interfaces import Event, Mark

log = logging.getLogger("parley.history")


class Rewind:
    """`served` is the lineage that this node's rooms were served from."""

    def __init__(self, delivery: Delivery, history: History) -> None:
        self._delivery, self._history = delivery, history
        self.served = ""

    async def rewind(self) -> None:
        """Bring every room to the history that there is now. While this runs nothing is delivered.

        Raises Unavailable.
        """
        name, delivery = self._history.name, self._delivery
        rooms = {n: r for n, r in delivery.hub.rooms.items() if r.ready} if self.served else {}
        if rooms:
            logged = await self._logged(list(rooms))
            found = await self._there(rooms, logged)
            bases: dict[str, Mark | None] = {}
            for room in rooms.values():
                mark = await delivery.changes.mark(room.name)
                if mark is not None:  # else it is gone, and the poll ends it
                    bases[room.name] = common(room, logged.get(room.name, ()), found, mark)
            delivery.logs.unlogged.clear()  # that is of the lost history, too
            lost = 0  # in one turn
            for room_name, base in bases.items():
                room = rooms[room_name]
                if delivery.hub.rooms.get(room_name) is not room:
                    continue
                if base is None:
                    self._send_back(room)
                else:
                    lost += max(0, room.delivered - base.rev)
                    self._tell(room, base, found)
            told = sum(base is not None for base in bases.values())
            log.warning("%d live sessions went back, by %d changes at least", told, lost)
        delivery.hub.left.clear()
        self._history.settled(name)
        self.served = name

    async def _logged(self, names: Sequence[str]) -> Mapping[str, Sequence[Event]]:
        """The lost history as the rooms' logs have it; empty while the bus is away."""
        try:
            found = await self._delivery.log.past(names)
        except BusUnavailable:
            return {}
        return {name: [e for e in events if e.kind == Kind.DURABLE] for name, events in found.items()}

    async def _there(self, rooms: Mapping[str, Room], logged: Mapping[str, Sequence[Event]]) -> There:
        """What there is of what the rooms were told of last."""
        told = [event for events in logged.values() for event in events if event.data]
        told += [event for room in rooms.values() for event in room.tails()]
        streams = [stream for room in rooms.values() for stream in room.have]
        return await there(self._delivery.changes, told, streams)

    def _tell(self, room: Room, base: Mark, found: There) -> None:
        gone = [stream for stream in room.have if stream not in found.messages]
        payload = {"event": "reset", "last_revision": base.rev}
        reset = make(room.name, "session", Kind.LOGGED, payload, self._delivery.clock())
        room.rebase(base, gone, reset)
        self._delivery.hub.broadcast(room, reset)

    def _send_back(self, room: Room) -> None:
        """Nothing is lost of what was told here. Who brought messages along lately may have them from the
        lost history: it is cut off, and comes back for a whole snapshot."""
        for member in list(room.members.values()):
            if member.brought is not None and member.brought >= self._history.doubtful_since:
                member.conn.sink.cut()


def common(room: Room, logged: Sequence[Event], found: There, mark: Mark) -> Mark | None:
    """How far a room's members have what the database has; None: as far as they were served. Where nothing
    tells it, `mark`, where the database is now: what is below is to be fetched."""
    known = {event.rev: event for event in room.tails()}
    known |= {event.rev: event for event in logged if event.data and event.rev <= room.delivered}
    events = [known[rev] for rev in sorted(known)]
    lost = [event for event in events if not holds(event, found)]
    if lost:
        first = lost[0]
        before = (first.first_rev or first.rev) - 1
        if before == 0:
            return Mark(0, 0)
        if before > mark.rev or (first is events[0] and first in room.tails()):
            return mark  # of those before it nothing is known
        created = [event.seq for event in lost if event.seq]
        return Mark(before, min(created) - 1 if created else min(room.seq, mark.seq))
    if events and events[-1].rev == room.delivered and mark.rev >= room.delivered:
        return None
    return mark if not events or mark.rev < room.delivered else None
