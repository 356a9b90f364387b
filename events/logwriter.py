"""From the commit to the rooms' logs, which publish: appending, filling what lies between, beginning anew.

Anyone may fill a log from SQL, at any time: appends are idempotent. Knows members only as whom to serve.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from events.event import Event
from events.hub import Hub
from events.observer import Observer
from events.room import Room
from events.tails import Found
from events.tasks import Tasks
from events.untold import Unrevised
from storage.errors import BusUnavailable, StorageUnavailable
from storage.interfaces import Appended, Cut, Mark, RoomLog

#: Revisions that one fill appends; beyond it the log begins anew, and readers sync from SQL.
FILL_MAX = 500
#: Logged events kept while no log takes them; the oldest go first.
UNLOGGED_MAX = 10_000


class ChangeSource(Unrevised, Protocol):
    """What SQL knows of a room, as events (`events.changes` implements it)."""

    async def mark(self, room: str) -> Mark | None: ...

    async def revisions(self, message_ids: Sequence[str]) -> Mapping[str, Found]: ...

    async def taken(self, room: str, revisions: Sequence[int]) -> Collection[int]: ...

    async def since(self, room: str, base: Mark, most: int | None = None) -> tuple[Mark, list[Event]]:
        """(how far SQL is, events for all that changed after `base`); without events where that is more than
        `most` revisions."""


class Serving(Protocol):
    """This node's members, and whether the bus serves them (`events.delivery.Delivery`)."""

    hub: Hub
    live: bool

    def lost(self) -> None: ...

    def deliver(self, room: Room, event: Event) -> None: ...

    async def deliver_from_sql(self, name: str) -> None: ...


class LogWriter:
    """Writes the logs of rooms. While the bus is away this node's members are served from SQL instead, and
    the writer keeps account of what the logs lack."""

    def __init__(
        self,
        serving: Serving,
        log: RoomLog,
        changes: ChangeSource,
        observer: Observer,
        clock: Callable[[], float],
        tasks: Tasks,
    ) -> None:
        self._serving, self._rooms = serving, serving.hub.rooms
        self._log, self._changes, self._observer = log, changes, observer
        self._clock, self._tasks = clock, tasks
        self._owed: set[str] = set()  # rooms whose append failed here
        #: Logged events that no log has taken, newest of their kind: told again when the bus is back.
        self.unlogged: OrderedDict[tuple[str, str], Event] = OrderedDict()
        #: Looks whether revisions that a log knew already were given out before, on a history that is lost.
        self.doubted: Callable[[str, Sequence[Event]], Coroutine[Any, Any, None]] = _nothing

    def announce(self, room: str, events: Sequence[Event]) -> None:
        """Committed events of one room, in order of revision."""
        if not self._serving.live:
            self._owed.add(room)
            self._tasks.spawn(self._serving.deliver_from_sql(room))
            return
        now = self._clock()
        for event in events:
            event.at = now
        answer = self._log.append(room, events, True)
        if isinstance(answer, Appended):
            self._announced(room, events, answer)
        else:
            answer.add_done_callback(lambda future: self._settle(room, events, future))

    def _settle(self, room: str, events: Sequence[Event], future: "asyncio.Future[Appended]") -> None:
        if future.cancelled() or future.exception() is not None:
            self._owed.add(room)
            self._serving.lost()
            self._tasks.spawn(self._serving.deliver_from_sql(room))
        else:
            self._announced(room, events, future.result())

    def _announced(self, room: str, events: Sequence[Event], answer: Appended) -> None:
        if answer.known:
            # Another node may have filled them in from the database; or they were given out before.
            self._tasks.spawn(self.doubted(room, events))
        self._appended(room, answer)

    def _appended(self, room: str, answer: Appended) -> None:
        if answer.answer == "gap":
            self._tasks.spawn(self._fill_or_owe(room))
        elif answer.answer == "nobody" and (mine := self._rooms.get(room)) is not None and mine.ready:
            self._tasks.spawn(self._fill_or_owe(room, mine.mark))

    async def _fill_or_owe(self, room: str, base: Mark | None = None) -> None:
        """`base`: the log is gone; it begins anew there, where its members here are."""
        try:
            if base is not None:
                await self._log.open(room, base)
            await self.fill(room)
        except StorageUnavailable as error:
            self._owed.add(room)
            if isinstance(error, BusUnavailable):
                self._serving.lost()

    async def fill(self, room: str) -> None:
        """Append from SQL what the log lacks. Anyone may, at any time; twice does nothing.

        Raises StorageUnavailable.
        """
        while True:
            last = (await self._log.last([room]))[room]
            if last is None:
                mine = self._rooms.get(room)
                if mine is None or not mine.ready:
                    return  # no member, nothing to keep
                await self.open(room)
                continue
            newest, events = await self._changes.since(room, last, FILL_MAX)
            if newest.rev - last.rev > FILL_MAX:
                await self._log.reset(room, newest)
                self._observer.healed("reset")
                return
            if not events:
                return
            answer = self._log.append(room, events)
            if not isinstance(answer, Appended):
                answer = await answer
            if answer.answer == "ok":
                self._observer.healed("filled", len(events))
                return

    async def fill_behind(self, cut: Cut) -> bool:
        """Whether SQL had delivered something here that the log did not hold yet: who goes by the log alone
        would never get it. Raises StorageUnavailable."""
        behind = []
        for name, state in cut.rooms.items():
            room = self._rooms.get(name)
            if state is not None and room is not None and room.ready and room.delivered > state.last.rev:
                behind.append(name)
        for name in behind:
            await self.fill(name)
        return bool(behind)

    async def open(self, room: str) -> None:
        """A log for a room that has none. Its base is what SQL has: nothing published before comes again."""
        mark = await self._changes.mark(room)
        if mark is not None:
            await self._log.open(room, mark)

    async def keep(self, rooms: Sequence[str]) -> None:
        """Keep the logs of rooms with members alive; one that is gone nevertheless is made anew."""
        try:
            for name, mark in (await self._log.last(rooms)).items():
                if mark is None and name in self._rooms:
                    await self.open(name)
        except BusUnavailable:
            self._serving.lost()

    def log_event(self, event: Event) -> None:
        """A logged event (`read`, `session`): to the room's members everywhere; to those of other nodes when
        the bus is back."""
        if not self._serving.live:
            self._not_logged(event)
            return
        answer = self._log.append(event.room, [event])
        if not isinstance(answer, Appended):
            answer.add_done_callback(lambda future: self._settle_logged(event, future))

    def _settle_logged(self, event: Event, future: "asyncio.Future[Appended]") -> None:
        if future.cancelled() or future.exception() is not None:
            self._serving.lost()
            self._not_logged(event)
        elif future.result().answer == "nobody" and event.room in self._rooms:
            self._tasks.spawn(self.log_anew(event))

    async def log_anew(self, event: Event) -> None:
        """A logged event of a room that has members somewhere; where its log is gone, it begins with this."""
        try:
            await self.open(event.room)
            answer = self._log.append(event.room, [event])
            if not isinstance(answer, Appended):
                await answer
        except BusUnavailable:
            self._serving.lost()
            self._not_logged(event)
        except StorageUnavailable:
            self._keep(event)  # the database did not say where the log begins: the next poll tries again

    def _not_logged(self, event: Event) -> None:
        self._keep(event)
        room = self._rooms.get(event.room)
        if room is not None and room.ready:
            self._serving.deliver(room, event)

    def _keep(self, event: Event) -> None:
        # A later mark of the same reader says all that an earlier one did.
        kind, _, seq = event.id.rpartition(":") if event.name == "read" else (event.id, "", "0")
        before = self.unlogged.pop((event.room, kind), None)
        if before is not None and event.name == "read" and int(before.id.rpartition(":")[2]) > int(seq):
            event = before
        self.unlogged[event.room, kind] = event
        if len(self.unlogged) > UNLOGGED_MAX:
            self.unlogged.popitem(last=False)

    def log_again(self) -> None:
        """Logged events that no log took."""
        unlogged, self.unlogged = self.unlogged, OrderedDict()
        for event in unlogged.values():
            # Its readers may all be on other nodes by now, and the log may be gone.
            self._tasks.spawn(self.log_anew(event))

    async def pay(self) -> None:
        """The bus is back: fill the rooms whose appends failed here (others' polls would, later), and log
        events that no log took."""
        self.log_again()
        while self._owed and self._serving.live:
            room = self._owed.pop()
            try:
                await self.fill(room)
            except StorageUnavailable:
                self._owed.add(room)
                return


async def _nothing(room: str, events: Sequence[Event]) -> None:
    """Where nobody looks after the database's history."""
