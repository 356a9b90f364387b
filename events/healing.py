"""What makes a node whole again: the way back to the bus, and the poll that compares its rooms with SQL.

One mechanism heals a node that died between commit and append, a deaf listener and an outage.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from events.delivery import Delivery, Mode
from events.errors import ChatError
from events.event import chunk_event
from events.history import History
from events.proving import Proving, Remade
from events.rewind import Rewind
from events.room import Room
from events.tasks import Tasks
from storage.errors import BusUnavailable, StorageError, StorageUnavailable
from storage.interfaces import Event, Kind, Mark, RoomState, StreamText
from storage.pieces import rest_of
from storage.records import SessionState

log = logging.getLogger("parley.healing")

#: Seconds between comparisons with SQL while the bus is live: the bound for what an append lost.
POLL_LIVE = 3.0
#: The same while the bus is away: cross-node delivery stays under two seconds.
POLL_AWAY = 0.5
#: Seconds until a canary that does not come back means deaf, and between two of them: a bus that answers
#: nobody is to be noticed by nodes that have nothing to say, too, before their members wait for two seconds.
CANARY, CANARY_EVERY = 2.0, 0.5
#: Seconds that a node that stops gives the database to say whether it still has what was served here.
LAST_LOOK = 2.0


class LiveRooms(Remade, Protocol):
    """What SQL says of live rooms (`events.sessions` implements it)."""

    async def poll(self, rooms: Sequence[str]) -> Mapping[str, SessionState]:
        """Raises StorageUnavailable. Acts on sessions that ended and participants that were removed."""


class Healer:
    """Keeps a `Delivery` on the bus."""

    def __init__(
        self,
        delivery: Delivery,
        rooms: LiveRooms,
        *,
        on_departure: Callable[[], None],
        on_live: Sequence[Callable[[], Awaitable[None]]],
        history: History,
    ) -> None:
        self._delivery = delivery
        self._history, self._rewind = history, Rewind(delivery, history)
        self._proving = Proving(delivery, rooms, history, self._rewind)
        self._rooms = rooms
        self._on_departure = on_departure
        self._on_live = on_live
        self._wake = asyncio.Event()
        self._gone = asyncio.Event()  # the bus was lost, and the database not asked since
        self._loops = Tasks("healing")
        self.deaf = False
        delivery.departed = self._lost

    async def start(self) -> None:
        """Connect; where the bus cannot be reached yet, go on without and keep trying."""
        await self._try()
        for work in (self._keep_live(), self._listen_forever(), self._poll_forever()):
            self._loops.spawn(work)

    async def stop(self) -> None:
        """After the last connection: what was served here and not looked up since is known to nobody else."""
        await self._loops.stop()
        if self._delivery.hub.left:
            with suppress(StorageError, TimeoutError):
                async with asyncio.timeout(LAST_LOOK):
                    await self._proving.look_back(self._rewind.served, {})

    def _lost(self) -> None:
        self._on_departure()
        self._wake.set()
        self._gone.set()

    # --- back to the bus

    async def _keep_live(self) -> None:
        delay = 0.0
        while True:
            if self._delivery.live:
                self._wake.clear()
                await self._wake.wait()
                delay = 0.0
            if not await self._try():
                # With jitter: many nodes lost the same bus at the same time.
                delay = min(2.0, delay * 2 or 0.1)
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))

    async def _try(self) -> bool:
        delivery = self._delivery
        delivery.hold_back()
        try:
            if await self._resync():
                return True
        except StorageError:
            pass
        except Exception:
            log.exception("the way back to the bus")  # whatever it was: a node must not stay deaf for it
        delivery.turned_back()
        return False

    async def _resync(self) -> bool:
        """Everything is held while the node catches up, for all its rooms as of one cut."""
        delivery, hub = self._delivery, self._delivery.hub
        try:
            await self._history.check()
        except StorageError:
            if not self._rewind.served or any(room.ready for room in hub.rooms.values()):
                raise
        if self._history.name != self._rewind.served:
            await self._rewind.rewind()
        lineage = self._rewind.served
        await delivery.bus.connect(delivery)
        await delivery.log.renew(lineage)
        while True:
            rooms = {name: room for name, room in hub.rooms.items() if room.ready}
            channels = [f"session:{name}" for name in hub.rooms] + [f"user:{key}" for key in hub.users]
            await delivery.bus.subscribe(channels)
            epoch = await delivery.bus.echo()  # what it is, and that this node hears
            # What is not in SQL (read marks) is in the log alone: all since this node listened last.
            asks = {name: room.pos if epoch == delivery.epoch else 0 for name, room in rooms.items()}
            cut = await delivery.log.read(asks, True)
            if cut.epoch != epoch:
                continue
            missing = [name for name, state in cut.rooms.items() if state is None]
            for name in missing:
                await delivery.logs.open(name)
            if delivery.mode is not Mode.SYNC:
                return False
            if delivery.overrun:
                delivery.drop_held()
                continue
            if missing:
                continue
            changed: dict[str, tuple[Mark, list[Event]]] = {}
            for name, room in rooms.items():
                base, state = room.mark, cut.rooms[name]
                newest, events = await delivery.changes.since(name, base)
                if state is not None and state.last.rev > newest.rev:
                    await self._log_is_ahead(room, state, newest, lineage)
                    return False
                changed[name] = base, events
            if not await self._proving.all_proved(rooms.values(), lineage):
                return False
            # A room may have come, or gone and come back, since the cut; or something was delivered in it.
            covered = all(rooms.get(n) is r for n, r in hub.rooms.items() if r.ready) and all(
                room.mark == changed[name][0] for name, room in rooms.items()
            )
            if covered and not delivery.overrun and delivery.mode is Mode.SYNC:
                break
        # In one turn: the rest from SQL, open streams' texts, and live.
        for name, room in rooms.items():
            if hub.rooms.get(name) is not room:
                continue
            state = cut.rooms[name]
            assert state is not None
            self._make_whole(room, changed[name][1], state)
            room.rejoin(cut)
        if delivery.epoch and cut.epoch != delivery.epoch:
            delivery.observer.went_back("redis")
            log.warning("Redis lost data or went back: epoch %s follows %s", cut.epoch, delivery.epoch)
        delivery.arrived(cut.epoch)
        if not delivery.live:
            return False
        for follow in self._on_live:
            await follow()
        await delivery.logs.pay()
        delivery.untold.tell_soon()
        return True

    async def _log_is_ahead(self, room: Room, state: RoomState, newest: Mark, lineage: str) -> None:
        """The log, which is written after the commit, holds more than the database that was read after it:
        who was served that has left. Raises StorageUnavailable."""
        if await self._rooms.remade(room):
            self._delivery.log.forget(room.name)  # it was of another session under this id
        else:
            text = f"a session is at revision {newest.rev}, its log at {state.last.rev}"
            await self._proving.behind(text, lineage)

    def _make_whole(self, room: Room, changed: Sequence[Event], state: RoomState) -> None:
        """What was missed: `changed` from SQL, from the log what SQL does not tell."""
        self._delivery.deliver_healed(room, changed)
        for stream, text in state.streams.items():
            self._catch_up(room, stream, text)
        for event in state.entries:
            if event.kind == Kind.LOGGED and not event.sizes:
                self._delivery.deliver(room, msgspec.structs.replace(event, epoch="", pos=0, prev=0))
        if not state.complete:
            self._delivery.untold.lost_in(room.name)

    def _catch_up(self, room: Room, stream: str, text: StreamText) -> None:
        """What an open stream's text has beyond what was delivered here, one chunk for each run of a part."""
        have = room.have.get(stream)
        if have is None or text.next_index <= have:
            return
        for member in list(room.guarded.values()):
            if member.idx and member.idx.get(stream, 0) > have:
                member.conn.sink.cut()  # where in the rest its part begins is not known
        now = self._delivery.clock()
        for index, part, pieces in rest_of(text.all, have, room.chars[stream]):
            event = chunk_event(room.name, stream, index, pieces, now, part=part)
            self._delivery.deliver(room, event)

    # --- the poll

    async def _poll_forever(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_LIVE if self._delivery.live else POLL_AWAY):
                    await self._gone.wait()
            self._gone.clear()
            try:
                await self.poll()
            except (StorageError, ChatError):
                continue  # SQL is away: nobody can be told anything
            except Exception:
                log.exception("the poll")

    async def _listen_forever(self) -> None:
        while True:
            await asyncio.sleep(CANARY_EVERY)
            if self._delivery.live:
                try:
                    await self._canary()
                except Exception:
                    log.exception("the canary")

    async def poll(self) -> None:
        """A canary through the bus and back; then last_revision of all live rooms against SQL."""
        delivery, hub = self._delivery, self._delivery.hub
        if delivery.live:
            await self._canary()
        delivery.untold.tell_soon()
        lineage = self._rewind.served
        served = {name: room.delivered for name, room in hub.rooms.items() if room.ready}
        names = list(served)
        states = await self._rooms.poll(names)
        await self._proving.look_back(
            lineage, {name: (rev, states[name]) for name, rev in served.items() if name in states}
        )
        if delivery.live:
            await delivery.logs.keep(names)
            delivery.logs.log_again()
        behind = []
        for name, state in states.items():
            room = hub.rooms.get(name)
            if room is not None and room.ready and room.delivered < state.last_revision:
                behind.append(name)
        for name in behind:
            if not delivery.live:
                await delivery.deliver_from_sql(name)
            else:
                await self.heal(name, states[name].last_revision)

    async def heal(self, name: str, revision: int) -> None:
        """See to it that a live room gets to `revision`."""
        delivery = self._delivery
        room = delivery.hub.rooms.get(name)
        if room is None or not room.ready or room.delivered >= revision:
            return
        try:
            await delivery.logs.fill(name)
        except BusUnavailable:
            delivery.lost()
            return
        await self._canary()  # what was appended is here, if we are not deaf
        room = delivery.hub.rooms.get(name)
        if delivery.live and room is not None and room.ready and room.delivered < revision:
            delivery.lost()

    async def _canary(self) -> None:
        delivery = self._delivery
        fence, began = delivery.fence, time.perf_counter()
        try:
            async with asyncio.timeout(CANARY):
                epoch = await delivery.bus.echo()
        except (TimeoutError, StorageUnavailable):
            if fence.broken:
                return  # that is known, and somebody is on the way back
            self.deaf = True
            delivery.observer.bus("deaf")
            delivery.lost()
            return
        self.deaf = False
        if delivery.live:
            delivery.observer.bus("live", time.perf_counter() - began)
            if epoch != delivery.epoch:
                delivery.lost()
