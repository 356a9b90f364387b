"""A connection that comes back takes its old one's place: its record, its rooms, and what it missed.

Whole or not at all: whatever is not surely right makes it a new connection. `tests/model/` checks
the rules over random schedules.
"""

import asyncio

from events import recovery
from events.delivery import Delivery
from events.errors import ChatError
from events.event import Event
from events.fence import Fence
from events.membership import Membership
from events.observer import Observer, Recovery
from events.presence import Presence
from events.room import Connection
from events.seat import at
from events.snapshots import Snapshots
from storage.errors import BusUnavailable, StorageUnavailable
from storage.interfaces import NOT_GIVEN, Given, Records
from storage.messages import Messages as Store

#: What events take in the log, their marks included, by what they take in a replay: a little one more than a
#: large. Beyond it a replay is not read to its end, only to be too large.
ENVELOPES = 4
#: Recoveries that read the log at the same time; a herd waits in line.
AT_ONCE = 64


class Takeover:
    """`replay_limit` in bytes: a larger replay is not sent in part."""

    def __init__(
        self,
        membership: Membership,
        delivery: Delivery,
        snapshots: Snapshots,
        store: Store,
        records: Records,
        presence: Presence,
        observer: Observer,
        *,
        max_rooms: int,
        replay_limit: int,
    ) -> None:
        self._membership = membership
        self._delivery, self._hub = delivery, delivery.hub
        self._snapshots, self._store, self._records = snapshots, store, records
        self._presence, self._observer = presence, observer
        self._max_rooms, self._replay_limit = max_rooms, replay_limit
        self._line = asyncio.Semaphore(AT_ONCE)

    async def recover(self, conn: Connection, pid: str, offset: str | None) -> bool:
        """Restore a connection from its record and send what it missed; False: it is simply new.

        On True `conn.id` and `conn.pid` are the old ones. The caller has authenticated `conn.caller`.
        """
        if not self._delivery.live:
            self._observer.recovered("away")
            return False
        async with self._line:
            try:
                outcome = await self._recover(conn, pid, offset)
            except StorageUnavailable as error:
                if isinstance(error, BusUnavailable):
                    self._delivery.lost()
                outcome = "away"
            except ChatError:
                outcome = "refused"  # a room that it may not enter any more
            except BaseException:  # its socket went away meanwhile
                self._membership.part_all(conn)
                raise
        self._observer.recovered(outcome)
        if outcome != "recovered":
            self._membership.part_all(conn)
        return outcome == "recovered"

    async def _recover(self, conn: Connection, pid: str, offset: str | None) -> Recovery:
        asked = recovery.parse_position(offset) if offset is not None else None
        if offset is not None and asked is None:
            return "incomplete"
        fence, epoch = self._delivery.fence, self._delivery.epoch
        await self._membership.give_up(pid)
        taken = await self._records.take(pid, recovery.owner(pid, conn.caller))
        if taken is None:
            return "expired"
        record_epoch, generation, data = taken
        record = recovery.read_record(data)
        self._membership.taken_over(pid, generation)
        if record_epoch != epoch or len(record.rooms) > self._max_rooms:
            return "incomplete"
        seen = asked.given if asked is not None and asked.epoch == epoch else NOT_GIVEN
        if asked is not None and asked.epoch > epoch:
            return "incomplete"
        if recovery.doubtful(record, seen[0]):
            return "incomplete"
        sid, conn.id = conn.id, record.sid
        self._hub.hold(conn)
        try:
            await self._delivery.bus.subscribe([f"user:{conn.caller.key}"])
            caught_up = await self._catch_up(conn, record, seen, fence)
        except BaseException:
            conn.id = sid
            raise
        if caught_up is None:
            conn.id = sid
            return "incomplete"
        replay, news = caught_up
        conn.pid, conn.generation, conn.away = pid, generation, record.away
        self._hub.add(conn)
        tell = []
        for member in conn.rooms:
            name = member.room.name
            member.sit(replay.floors[name], record.rooms[name], self._snapshots.brought())
            tell.append(self._presence.enter(member))
        for event in (*replay.events, *news):
            conn.send(event)
        self._hub.release(conn)
        for say in tell:
            say()
        self._delivery.untold.came_back(conn)
        return "recovered"

    async def _catch_up(
        self, conn: Connection, record: recovery.Record, given: Given, fence: Fence
    ) -> tuple[recovery.Replay, list[Event]] | None:
        """The replay of the logs, and the changes of presence."""
        delivery, seen = self._delivery, given[0]
        for name in record.rooms:
            known_room = self._hub.rooms.get(name)
            session, role = await self._snapshots.joinable(conn.caller, known_room, name)
            member = self._hub.enter(conn, name)
            member.role = role
            member.room.know(session)
        if record.rooms:
            await delivery.bus.subscribe([f"session:{name}" for name in record.rooms])
        asks = {name: max(seen, seat.pos) for name, seat in record.rooms.items()}
        while True:
            begun = {m.room.name: set(m.room.have) for m in conn.rooms if m.room.ready}
            cut = await delivery.log.read(asks, given=given, limit=self._replay_limit * ENVELOPES)
            rooms = [m.room for m in conn.rooms]
            if cut.epoch != delivery.epoch or not fence.holds(*rooms):
                return None
            if await delivery.logs.fill_behind(cut):
                continue
            if not all(not room.ready or cut.pos >= room.began for room in rooms):
                continue  # somebody else opened a room, with a later cut
            if seen > cut.pos or not cut.genuine:
                return None
            seats = {name: at(seat, asks[name]) for name, seat in record.rooms.items()}
            replay = recovery.missed(cut.rooms, seats, cut.pos, record.sid, conn.caller.key)
            if replay is None or replay.size > self._replay_limit:
                return None
            for room in rooms:
                state = cut.rooms[room.name]
                assert state is not None
                if not room.ready:
                    rows = await self._store.open_streams(room.name)
                    if not fence.holds(room):
                        return None
                    delivery.begin(room, cut, state, rows)
                    begun[room.name] = recovery.begun(rows, state)
                if recovery.lacks_text(begun.get(room.name, set()), state):
                    return None
            if not fence.holds(*rooms):
                return None
            if all(cut.pos >= room.began for room in rooms):
                break
        # The node is subscribed to every room by now: changes after this answer are held.
        news = await asyncio.gather(*(self._presence.news(member, conn.caller.key) for member in conn.rooms))
        if not await delivery.agreed(fence, *rooms):
            return None
        for room in rooms:
            state = cut.rooms[room.name]
            assert state is not None
            room.advance(cut, state)
        return replay, [event for each in news for event in each]
