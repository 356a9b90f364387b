"""Typing: who types by the connections here, and who types as this node's members were told. Knows no
transport.

Both have deadlines by this node's monotonic clock, so typing ends by itself even if the typist's node and the
bus are gone.
"""

import asyncio
from collections import OrderedDict

import msgspec

from events.clock import Clock
from events.delivery import Delivery
from events.event import Event, Kind, make

#: A node tells the others that somebody still types, at the latest after this share of the TTL: whoever
#: heard it last hears it again before the deadline.
REFRESH = 0.5
#: Seconds between two looks at those who type here, as a share of the TTL.
LOOK = 0.125


class _Told(msgspec.Struct):
    """The payload of a `typing` event."""

    user_id: str
    is_typing: bool


_TOLD = msgspec.json.Decoder(_Told)


class _Mine(msgspec.Struct):
    """Somebody types on a connection of this node. Times are monotonic."""

    conn_id: str
    until: float
    told: float


class Typing:
    """Clears by itself after `ttl` seconds without a refresh. `clock` tells events' times, `monotonic`
    measures."""

    def __init__(self, delivery: Delivery, clock: Clock, monotonic: Clock, *, ttl: float) -> None:
        self._delivery, self._clock, self._monotonic, self._ttl = delivery, clock, monotonic, ttl
        self._mine: dict[tuple[str, str], _Mine] = {}
        self._said: dict[
            str, set[tuple[str, str]]
        ] = {}  # connection -> what of `_mine` was heard from it last
        self._told: OrderedDict[tuple[str, str], tuple[float, str]] = OrderedDict()  # -> (until, skipped)
        self._timer: asyncio.TimerHandle | None = None
        delivery.watches["typing"] = self._heard

    # --- said on a connection of this node

    def set(self, room: str, conn_id: str, key: str, is_typing: bool) -> None:
        """Clients are told a change alone; other nodes a refresh, too, from time to time."""
        if not is_typing:
            self.clear(room, key)
            return
        at, now = (room, key), self._monotonic()
        mine = self._mine.get(at)
        if mine is None:
            self._mine[at] = _Mine(conn_id, now + self._ttl, now)
            self._say(conn_id, at)
            self._tell(room, conn_id, key, True)
        else:
            if mine.conn_id != conn_id:
                self._unsay(mine.conn_id, at)
                self._say(conn_id, at)
            mine.conn_id, mine.until = conn_id, now + self._ttl
            if now - mine.told >= REFRESH * self._ttl:
                mine.told = now
                self._tell(room, conn_id, key, True)
        self._watch()

    def clear(self, room: str, key: str, conn_id: str | None = None) -> None:
        """With `conn_id`: only if it was heard from that connection."""
        at = room, key
        mine = self._mine.get(at)
        if mine is not None and (conn_id is None or mine.conn_id == conn_id):
            del self._mine[at]
            self._unsay(mine.conn_id, at)
            self._tell(room, mine.conn_id, key, False)

    def gone(self, conn_id: str) -> None:
        """The connection is, and nobody types on it any more, in a room that it had joined or in another."""
        for room, key in tuple(self._said.get(conn_id, ())):
            self.clear(room, key)

    def _say(self, conn_id: str, at: tuple[str, str]) -> None:
        said = self._said.get(conn_id)
        if said is None:
            self._said[conn_id] = {at}
        else:
            said.add(at)

    def _unsay(self, conn_id: str, at: tuple[str, str]) -> None:
        said = self._said[conn_id]
        said.discard(at)
        if not said:
            del self._said[conn_id]

    def disown(self) -> None:
        """This node was away for so long that others may speak for its users: it tells nothing of them."""
        self._mine.clear()
        self._said.clear()

    def _event(self, room: str, conn_id: str, key: str, is_typing: bool) -> Event:
        payload = {"user_id": key, "is_typing": is_typing}
        return make(room, "typing", Kind.VOLATILE, payload, self._clock(), not_to=conn_id)

    def _tell(self, room: str, conn_id: str, key: str, is_typing: bool) -> None:
        self._delivery.publish(self._event(room, conn_id, key, is_typing))

    # --- told to the members here

    def _heard(self, event: Event) -> bool:
        """Whether an event says what the members here do not know."""
        told = _TOLD.decode(event.data)
        at = event.room, told.user_id
        known = self._told.pop(at, None) is not None
        if told.is_typing:
            self._told[at] = self._monotonic() + self._ttl, event.not_to
            self._watch()
            return not known
        return known

    # --- deadlines

    def _watch(self) -> None:
        if self._timer is None:
            first = next(iter(self._told.values()))[0] - self._monotonic() if self._told else self._ttl
            delay = max(0.0, min(LOOK * self._ttl, first))
            self._timer = asyncio.get_running_loop().call_later(delay, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._monotonic()
        for (room, key), mine in list(self._mine.items()):
            if mine.until <= now:
                self.clear(room, key)
            elif mine.until > mine.told + self._ttl and now - mine.told >= REFRESH * self._ttl:
                mine.told = now
                self._tell(room, mine.conn_id, key, True)
        while self._told and next(iter(self._told.values()))[0] <= now:
            (room, key), (_, skipped) = next(iter(self._told.items()))
            self._delivery.on_volatile((self._event(room, skipped, key, False),))
            self._told.pop((room, key), None)  # nobody is in the room any more
        if self._mine or self._told:
            self._watch()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
