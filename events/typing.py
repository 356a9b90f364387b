"""Who is typing. Knows no transport."""

import asyncio
from collections.abc import Callable

from events.clock import Clock
from events.delivery import Delivery
from events.event import Kind, make


class Typing:
    """Who is typing. Clears by itself after `ttl` seconds without a refresh."""

    def __init__(self, delivery: Delivery, clock: Clock, *, ttl: float) -> None:
        self._delivery, self._clock, self._ttl = delivery, clock, ttl
        self._typing: dict[tuple[str, str], tuple[float, str]] = {}  # -> (until, connection)
        self._sweep: asyncio.TimerHandle | None = None
        self.spread: Callable[[str, str, float | None], None] = lambda room, key, until: None

    def set(self, room: str, conn_id: str, key: str, is_typing: bool) -> None:
        """Refreshes are not rebroadcast."""
        if not is_typing:
            self.clear(room, key)
            return
        known = (room, key) in self._typing
        self._typing[room, key] = (self._clock() + self._ttl, conn_id)
        if not known:
            self._tell(room, conn_id, key, True)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._ttl / 4, self._expire)

    def clear(self, room: str, key: str, conn_id: str | None = None) -> None:
        """With `conn_id`: only if it was heard from that connection."""
        found = self._typing.get((room, key))
        if found is not None and (conn_id is None or found[1] == conn_id):
            del self._typing[room, key]
            self._tell(room, found[1], key, False)

    def _tell(self, room: str, conn_id: str, key: str, is_typing: bool) -> None:
        self.spread(room, key, self._ttl if is_typing else None)
        payload = {"user_id": key, "is_typing": is_typing}
        self._delivery.publish(make(room, "typing", Kind.VOLATILE, payload, self._clock(), skip=conn_id))

    def _expire(self) -> None:
        self._sweep = None
        now = self._clock()
        for room, key in [k for k, (until, _) in self._typing.items() if until <= now]:
            self.clear(room, key)
        if self._typing:
            self._sweep = asyncio.get_running_loop().call_later(self._ttl / 4, self._expire)

    def stop(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
