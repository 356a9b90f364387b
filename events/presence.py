"""Who is online in a session: connections per user over all nodes; a short absence is not seen.

Knows no transport; leases and other nodes are the `PresenceStore`'s.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from events.clock import Clock
from events.delivery import Delivery
from events.event import Event, Kind, make
from events.fence import Fence
from events.nodepresence import NodePresence
from events.room import Connection, Here, Member, Room
from events.tasks import Tasks
from events.witness import Witness
from storage.errors import StorageUnavailable
from storage.interfaces import News, PresenceStore

#: Users that a list of those online shows at most.
LISTED = 1000
#: Events that say who is online.
_OF_PEOPLE = frozenset({"presence", "system"})
#: Seconds between two counts in a large room.
COUNT_INTERVAL = 1.0


class Presence:
    """`grace` in seconds; rooms with more than `events_max` users get a count instead of events."""

    def __init__(
        self,
        store: PresenceStore,
        delivery: Delivery,
        clock: Clock,
        tasks: Tasks,
        *,
        grace: float,
        events_max: int,
        witness: Witness | None = None,
    ) -> None:
        self._store, self._delivery, self._clock, self._tasks = store, delivery, clock, tasks
        self._grace, self._events_max = grace, events_max
        self._leaving: dict[str, dict[str, tuple[asyncio.TimerHandle, str]]] = {}  # with the last status
        self._counting: set[str] = set()
        self._life: tuple[Fence, bool] | None = None  # of the bus, at the last heartbeat
        self._beating = asyncio.Lock()
        #: Where there are other nodes: what the members here were told.
        self._witness = witness

    # --- coming and going

    def enter(self, member: Member) -> Callable[[], None]:
        """A connection has joined: it counts from now on. What is returned tells the others, once it has been
        told of its joining itself."""
        member.present = True
        room, key = member.room, member.conn.caller.key
        if self._witness is not None:
            self._witness.entered(room.name)
        before = room.users.get(key)
        here = room.users[key] = Here.of(before, 1, member.conn.away)
        left = self._stays(room.name, key)
        if before is not None and before.status == here.status:
            return _nothing
        known = before.status if before is not None else left[1] if left is not None else None
        return partial(self._entered, room, key, here.status, known)

    def _entered(self, room: Room, key: str, status: str, before: str | None) -> None:
        if key not in room.users:
            return  # gone again
        new = self._store.enter(room.name, key, status)
        if isinstance(new, bool):
            self._say_entered(new, room.name, key, status, before)
        else:
            self._tasks.spawn(self._entered_elsewhere(new, room.name, key, status, before))

    async def _entered_elsewhere(
        self, answer: Awaitable[bool], room: str, key: str, status: str, before: str | None
    ) -> None:
        try:
            new = await answer
        except StorageUnavailable:
            new = before is None
        self._say_entered(new, room, key, status, before)

    def _say_entered(self, new: bool, room: str, key: str, status: str, before: str | None) -> None:
        if new:
            self._say(room, key, status, "user_joined")
        elif before is not None and before != status:
            self._say(room, key, status)

    def leave(self, room: Room, conn: Connection, *, at_once: bool) -> None:
        """A connection has left; `at_once` where it said so, else its user has the grace to come back."""
        key = conn.caller.key
        before = room.users.get(key)
        if before is None:
            return
        here = room.users[key] = Here.of(before, -1, -conn.away)
        if here.connections:
            if here.status != before.status:
                self._entered(room, key, here.status, before.status)
            return
        del room.users[key]
        if at_once or self._grace <= 0:
            self._tasks.spawn(self._left(room.name, key))
        else:
            loop = asyncio.get_running_loop()
            self._stays(room.name, key)
            timer = loop.call_later(self._grace, self._gone, room.name, key)
            self._leaving.setdefault(room.name, {})[key] = timer, before.status

    def _stays(self, room: str, key: str) -> tuple[asyncio.TimerHandle, str] | None:
        """Who had the grace to come back needs it no more."""
        leaving = self._leaving.get(room)
        left = leaving.pop(key, None) if leaving is not None else None
        if left is not None:
            left[0].cancel()
            if not leaving:
                del self._leaving[room]
        return left

    def _gone(self, room: str, key: str) -> None:
        self._stays(room, key)
        self._tasks.spawn(self._left(room, key))

    async def _left(self, name: str, key: str) -> None:
        room = self._delivery.hub.rooms.get(name)
        if room is not None and key in room.users:
            return  # back already
        try:
            gone = await self._store.leave(name, key)
        except StorageUnavailable:
            gone = True
        if gone:
            self.say_left(name, key)

    def say_left(self, room: str, key: str) -> None:
        """The user is gone from every node."""
        self._say(room, key, "offline", "user_left")

    def set_status(self, conn: Connection, status: str) -> bool:
        """Any `online` connection of a user wins. Whether it has changed."""
        away = status == "away"
        if conn.away == away:
            return False
        for member in conn.rooms:
            before = member.room.users.get(conn.caller.key)
            if before is not None:
                here = member.room.users[conn.caller.key] = Here.of(before, 0, 1 if away else -1)
                if here.status != before.status:
                    self._entered(member.room, conn.caller.key, here.status, before.status)
        conn.away = away
        return True

    # --- telling

    def _say(self, room: str, key: str, status: str, event: str = "") -> None:
        """A user's status, and `event` before it where that says that it came or went."""
        live = self._delivery.hub.rooms.get(room)
        if live is not None and max(live.online, len(live.users)) > self._events_max:
            if room not in self._counting:
                self._counting.add(room)
                asyncio.get_running_loop().call_later(COUNT_INTERVAL, self._count, room)
            return
        now = self._clock()
        presence = make(room, "presence", Kind.VOLATILE, {"user_id": key, "status": status}, now)
        if event:
            told: dict[str, Any] = {"event": event, "user_id": key}
            if event == "user_joined" and (person := self._delivery.hub.person(key)) is not None:
                told["user"] = person
            self._delivery.publish(make(room, "system", Kind.VOLATILE, told, now), presence)
        else:
            self._delivery.publish(presence)

    def _count(self, room: str) -> None:
        self._counting.discard(room)
        self._tasks.spawn(self._say_count(room))

    async def _say_count(self, room: str) -> None:
        self._delivery.publish(self._number(room, len(await self._online(room))))

    def _number(self, room: str, online: int, kind: Kind = Kind.VOLATILE) -> Event:
        return make(room, "presence", kind, {"online": online}, self._clock())

    async def online(self, room: str) -> list[dict[str, Any]]:
        """Who is online, at most `LISTED` of them: `{user_id, status, connections}`."""
        return _listed(await self._online(room))

    async def welcome(self, member: Member) -> list[dict[str, Any]]:
        """The same, as the last thing that is asked for before it is told to one who joins."""
        room = member.room.name
        online = await self._online(room)
        _told_anew(member)
        if self._witness is not None:
            self._witness.joined(room, member.conn.caller.key, online)
        return _listed(online)

    async def news(self, member: Member, key: str) -> list[Event]:
        """Who is there and who is not any more, for a connection of user `key` that comes back and has heard
        nothing for a while. What comes from then on is told after it. Not volatile: a connection that takes
        nothing yet must not lose it. Raises StorageUnavailable."""
        room = member.room
        found = await self._store.changed(room.name, self._events_max)
        _told_anew(member)
        if isinstance(found, int):
            room.online = found
            return [self._number(room.name, found, Kind.DIRECT)]
        here = {user: (status, count) for user, (status, count, _) in found.items() if status != "offline"}
        online = self._together(room.name, here)
        if self._witness is not None:
            self._witness.joined(room.name, key, online)
        if len(online) > self._events_max:
            return [self._number(room.name, len(online), Kind.DIRECT)]
        old = {user for user, (status, _, new) in found.items() if not new and here.get(user) == online[user]}
        if key not in found or found[key][2] is not News.CAME_BACK:
            old.add(key)  # it hears of its own coming with the others
        now = self._clock()
        return [
            make(room.name, "presence", Kind.DIRECT, {"user_id": user, "status": status}, now)
            for user in sorted((found.keys() | online.keys()) - old)
            for status in (online[user][0] if user in online else "offline",)
        ]

    def at_hand(self, room: str) -> list[dict[str, Any]]:
        """The same, as far as this process knows."""
        return _listed(self._together(room, self._store.at_hand(room) or {}))

    async def _online(self, name: str) -> dict[str, tuple[str, int]]:
        try:
            found = await self._store.online(name)
        except StorageUnavailable:
            found = {}  # this node alone
        return self._together(name, found)

    def _together(self, name: str, found: Mapping[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
        """What the store found, and what is so here."""
        users = dict(found)
        room = self._delivery.hub.rooms.get(name)
        if room is None:
            return users
        for key, (connections, _, mine) in room.users.items():
            elsewhere = users.get(key)
            if elsewhere is not None:
                there, most = elsewhere
                mine = there if there == "online" else mine
                connections = most if most > connections else connections
            users[key] = mine, connections
        room.online = len(users)
        return users

    # --- the node's heartbeat

    async def beat(self) -> None:
        """Say who is here, announce what a dead node left behind, and see to it that the members here were
        told how things are. Raises StorageUnavailable."""
        async with self._beating:
            await self._beat()
            if self._witness is not None:
                await self._look(self._witness)

    async def _beat(self) -> None:
        fence = self._delivery.fence
        life, here = (fence, fence.broken), NodePresence(self._delivery.hub.rooms, self._leaving)
        found = await self._store.beat(here, doubtful=life != self._life)
        self._life = life
        self._delivery.untold.node_died(found.buried)
        for room, key in found.left:
            live = self._delivery.hub.rooms.get(room)
            if live is None or key not in live.users:
                self.say_left(room, key)
        for room, key, status in found.joined:
            self._say(room, key, status, "user_joined")

    async def _look(self, witness: Witness) -> None:
        rooms = [name for name, room in self._delivery.hub.rooms.items() if room.users]
        found = await self._store.look(rooms, witness.doubted(rooms), self._events_max)
        witness.forget(self._delivery.hub.rooms.keys())
        told = witness.hold(found, self._together)
        if told:
            self._delivery.observer.healed("presence", told)

    async def beat_at_once(self) -> bool:
        """At the start, and when the bus is back: until then others do not know of this node. A bus that is
        away is no reason not to start (False). Others come back, too: what they have said is not looked at
        yet."""
        try:
            async with self._beating:
                await self._beat()
        except StorageUnavailable:
            return False
        return True

    async def goodbye(self) -> None:
        """After the last work of a node that stops in order."""
        delivery = self._delivery
        if delivery.live and not delivery.logs.unlogged and not delivery.untold.unsure:
            with contextlib.suppress(StorageUnavailable):
                await self._store.goodbye()

    def stop(self) -> None:
        for leaving in self._leaving.values():
            for timer, _ in leaving.values():
                timer.cancel()
        self._leaving.clear()


def _told_anew(member: Member) -> None:
    """What waits of who came and who went is older than the list that the member is told first."""
    conn = member.conn
    if conn.held:
        conn.held = [(m, e) for m, e in conn.held if m is not member or e.name not in _OF_PEOPLE]


def _listed(users: Mapping[str, tuple[str, int]]) -> list[dict[str, Any]]:
    return [
        {"user_id": user, "status": status, "connections": count}
        for user, (status, count) in sorted(users.items())[:LISTED]
    ]


def _nothing() -> None:
    """There is nothing to tell."""
