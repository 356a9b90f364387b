"""What many ask for at the same time, read in one trip.

A trip to the database costs more than what most of them read there: on SQLite a thread, which the loop's
keeps waiting for the interpreter's lock. After a restart thousands join at once, each a session of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

from storage.errors import Unavailable
from storage.fairness import ASKING
from storage.patience import PATIENCE, Patience, until

K = TypeVar("K")
V = TypeVar("V")

#: Trips at the same time, as long as they come back; what is asked for meanwhile waits for the next.
TRIPS = 4
#: Waiting for each trip that is on its way before another one begins: one fuller is cheaper than two.
WORTH = 8
#: Asked for in one trip: what it brings is decoded without pause.
MOST = 16
#: Seconds after which a question waits for no company and for no other trip's end.
LATE = 0.005
#: For whom a trip asks: it is many users', whoever came last.
_MANY = "many"


class Gather(Generic[K, V]):
    """`read` answers for many; what it leaves out is None. An answer is as of a moment after its question."""

    def __init__(self, read: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._read = read
        self._asked: dict[K, list[asyncio.Future[V | None]]] = {}
        self._trips: set[asyncio.Task[None]] = set()
        self._soon = False
        self._timer: asyncio.TimerHandle | None = None
        self._until = float("-inf")  # as long as any of those who asked waits for a database that is away

    async def get(self, key: K) -> V | None:
        """Raises what `read` raises."""
        loop = asyncio.get_running_loop()
        self._until = max(self._until, until() or self._until)
        future: asyncio.Future[V | None] = loop.create_future()
        self._asked.setdefault(key, []).append(future)
        if not self._soon:
            self._soon = True
            loop.call_soon(self._go)  # with what else this turn brings
        return await future

    def _worth_a_trip(self) -> bool:
        return bool(self._asked) and WORTH * len(self._trips) <= len(self._asked) and len(self._trips) < TRIPS

    def _go(self) -> None:
        self._soon = False
        while self._worth_a_trip():
            self._begin()
        if self._asked and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LATE, self._go_late)

    def _go_late(self) -> None:
        """Whoever is on the way may not come back for long, and then fail: nobody's time-out is added to
        another's."""
        self._timer = None
        while self._asked:
            self._begin()

    def _begin(self) -> None:
        keys = list(islice(self._asked, MOST))
        asked = {key: self._asked.pop(key) for key in keys}
        trip = asyncio.get_running_loop().create_task(self._trip(asked))
        self._trips.add(trip)
        trip.add_done_callback(self._back)

    def _back(self, trip: asyncio.Task[None]) -> None:
        self._trips.discard(trip)
        self._go()

    async def _trip(self, asked: Mapping[K, Sequence[asyncio.Future[V | None]]]) -> None:
        ASKING.set(_MANY)
        PATIENCE.set(Patience(self._until))
        try:
            found = await self._read(list(asked))
        except Exception as error:  # noqa: BLE001 - it is for those who asked
            if len(asked) > 1 and not isinstance(error, Unavailable):
                each = [self._trip({key: futures}) for key, futures in asked.items()]
                await asyncio.gather(*each)  # one of them is what cannot be read
                return
            for future in _waiting(asked):
                future.set_exception(error)
        except BaseException:
            for future in _waiting(asked):
                future.cancel()
            raise
        else:
            for key, futures in asked.items():
                for future in futures:
                    if not future.done():
                        future.set_result(found.get(key))


def _waiting(asked: Mapping[K, Sequence[asyncio.Future[V]]]) -> list[asyncio.Future[V]]:
    return [future for futures in asked.values() for future in futures if not future.done()]
