"""A few places, shared by users in turn: the queue, and whose turn is next. Knows only the name of a user."""

import asyncio
from collections import Counter, deque
from contextvars import ContextVar
from typing import Final

#: For whom the present task asks; "" is the node's own work, which bounds itself. It travels with the task:
#: between the door, where it is known, and the database lies all of Parley.
ASKING: Final[ContextVar[str]] = ContextVar("parley.asking", default="")


class Fair:
    """At most `most` places, at most `each` of them one's; those who wait have their turns round robin."""

    def __init__(self, most: int, each: int) -> None:
        self._free, self._each = most, each
        self._held: Counter[str] = Counter()
        #: By who waits, the one whose turn is next first.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def enter(self, who: str) -> None:
        # Where a place is free, those who wait have all that one may have: nobody is overtaken.
        if self._free and who not in self._waiting and self._held[who] < self._each:
            self._take(who)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave(who)  # it was ours already
            raise

    def leave(self, who: str) -> None:
        self._free += 1
        self._held[who] -= 1
        if not self._held[who]:
            del self._held[who]
        while self._free and (next_one := self._next()) is not None:
            self._take(next_one)

    def _take(self, who: str) -> None:
        self._free -= 1
        self._held[who] += 1

    def _next(self) -> str | None:
        """Whose turn it is; his first future has been told."""
        for who in list(self._waiting):
            line = self._waiting[who]
            while line and line[0].done():
                line.popleft()  # given up
            if line and self._held[who] >= self._each:
                continue
            del self._waiting[who]
            if line:
                line.popleft().set_result(None)
                if line:
                    self._waiting[who] = line  # behind the others
                return who
        return None
