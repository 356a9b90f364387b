"""Loads what many callers ask for at the same time in one trip to the database.

A trip costs more than most of its reads: on SQLite it takes a thread, which waits for the interpreter's lock
while the loop's thread has it. After a restart thousands of clients join at once, each its own session.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

from storage.errors import Away, StorageUnavailable
from storage.fairness import ASKING
from storage.patience import PATIENCE, Patience, until

K = TypeVar("K")
V = TypeVar("V")

#: Trips at the same time, as long as they come back. A question that comes meanwhile waits for the next one.
TRIPS = 4
#: Another trip begins when this many questions wait for each one under way: one fuller trip costs less than
#: two.
WORTH = 8
#: Keys of one trip: the loop decodes all its rows without a pause.
MOST = 16
#: Seconds for which a question waits for others to fill its trip, or for the end of another trip.
LATE = 0.005
#: The user of a trip (`storage.fairness`): it asks for many users, not for the last one.
_MANY = "many"


class _Asker(Generic[V]):
    """One waiting caller. `end`: until when (loop time) it waits for a database that is away; None: not at
    all."""

    __slots__ = ("end", "future", "given")

    def __init__(self, future: "asyncio.Future[V | None]", end: float | None) -> None:
        self.future, self.end = future, end
        self.given = end  # what the least patient of its trip has


class BatchLoader(Generic[K, V]):
    """`read` answers for many keys; a key that it leaves out gets None. An answer is newer than its
    question."""

    def __init__(self, read: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._read = read
        self._asked: dict[K, list[_Asker[V]]] = {}
        self._trips: set[asyncio.Task[None]] = set()
        self._soon = False
        self._timer: asyncio.TimerHandle | None = None

    async def get(self, key: K) -> V | None:
        """Raises what `read` raises."""
        end = until()
        while True:
            asker = self._ask(key, end)
            try:
                return await asker.future
            except Away:
                if asker.given == end:
                    raise

    def _ask(self, key: K, end: float | None) -> _Asker[V]:
        loop = asyncio.get_running_loop()
        asker = _Asker[V](loop.create_future(), end)
        self._asked.setdefault(key, []).append(asker)
        if not self._soon:
            self._soon = True
            loop.call_soon(self._go)  # with what else this turn brings
        return asker

    def _worth_a_trip(self) -> bool:
        return bool(self._asked) and WORTH * len(self._trips) <= len(self._asked) and len(self._trips) < TRIPS

    def _go(self) -> None:
        self._soon = False
        while self._worth_a_trip():
            self._begin()
        if self._asked and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LATE, self._go_late)

    def _go_late(self) -> None:
        """Trips under way may take long and then fail: one caller's time-out must not add to another's."""
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

    async def _trip(self, asked: Mapping[K, Sequence[_Asker[V]]]) -> None:
        ASKING.set(_MANY)
        askers = [asker for each in asked.values() for asker in each]
        ends = [asker.end for asker in askers if asker.end is not None]
        PATIENCE.set(Patience(min(ends)) if ends else None)
        for asker in askers:
            asker.given = min(ends) if ends and asker.end is not None else None
        try:
            found = await self._read(list(asked))
        except Exception as error:  # noqa: BLE001 - it is for those who asked
            if len(asked) > 1 and not isinstance(error, StorageUnavailable):
                each = [self._trip({key: mine}) for key, mine in asked.items()]
                await asyncio.gather(*each)  # one of them is what cannot be read
                return
            for asker in _waiting(askers):
                asker.future.set_exception(error)
        except BaseException:
            for asker in _waiting(askers):
                asker.future.cancel()
            raise
        else:
            for key, mine in asked.items():
                for asker in _waiting(mine):
                    asker.future.set_result(found.get(key))


def _waiting(askers: Sequence[_Asker[V]]) -> list[_Asker[V]]:
    return [asker for asker in askers if not asker.future.done()]
