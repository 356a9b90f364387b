"""Whether the database is away, and who waits until it is back. How to ask it is an argument."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from storage.errors import Away, StorageError
from storage.health import ReadOnly

LOG = logging.getLogger("parley.database")

#: Seconds between two questions whether it is back: few at first.
FIRST, MOST = 0.05, 0.25
#: Operations that may wait at a time, a few kilobytes each; further ones fail at once.
MAX_WAITING = 20_000


class DatabaseOutage:
    """`ask` raises Away while the database takes nothing: no connection, or no writes."""

    def __init__(self, ask: Callable[[], Awaitable[None]]) -> None:
        self._ask = ask
        self._back: asyncio.Future[None] | None = None  # until it is back
        self._task: asyncio.Task[None] | None = None
        self._waiting = 0
        self._stopped = False
        #: Whether it answers questions all the same.
        self.reads = False

    @property
    def on(self) -> bool:
        """As far as is known."""
        return self._back is not None

    def begins(self, error: Away) -> None:
        """A call has met it."""
        if self._back is None:
            self.reads = isinstance(error, ReadOnly)
        if self._back is None and not self._stopped:
            loop = asyncio.get_running_loop()
            self._back = loop.create_future()
            self._task = loop.create_task(self._watch(), name="database outage")

    async def _watch(self) -> None:
        delay = FIRST
        while True:
            try:
                await self._ask()
                break
            except Away as error:
                self.reads = isinstance(error, ReadOnly)
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(MOST, delay * 2)
            except StorageError as error:  # it answers
                LOG.debug("the database is back, with %s", error)
                break
        self._end()

    def _end(self) -> None:
        back, self._back, self._task = self._back, None, None
        if back is not None:
            back.set_result(None)

    async def over(self, until: float) -> bool:
        """Waits until the database is back; False where it is not by that loop time, or too many wait."""
        back = self._back
        if back is None:
            return not self._stopped
        left = until - asyncio.get_running_loop().time()
        if left <= 0 or self._stopped or self._waiting >= MAX_WAITING:
            return False
        self._waiting += 1
        try:
            await asyncio.wait([back], timeout=left)
        finally:
            self._waiting -= 1
        return back.done() and not self._stopped

    def stop(self) -> None:
        """Nobody waits any more."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
        self._end()

    def start(self) -> None:
        self._stopped = False
