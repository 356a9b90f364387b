"""Brings full blocks of messages into the tallies, a little later, so that writing does not wait for it: when
a coarse block is full, or when who counts would have many messages to look at. Knows no SQL."""

import asyncio
import logging
from collections.abc import Sequence

from events.tasks import Tasks
from storage.errors import StorageError
from storage.ops import Committed
from storage.tallies import COARSE, Tallies

log = logging.getLogger("parley.tallies")

#: At most this part of the time goes into counting: a session that was loaded whole has many blocks.
SHARE = 0.5
#: Seconds after a failure.
PAUSE = 1.0


class Tallier:
    """One per node. What a node that dies leaves uncounted, the next full block or who counts the session
    brings up again."""

    def __init__(self, store: Tallies) -> None:
        self._store = store
        store.on_wanted = self._wake
        self._woken = asyncio.Event()
        self._tasks = Tasks("tallier")

    async def start(self) -> None:
        self._tasks.spawn(self._run())

    async def stop(self) -> None:
        await self._tasks.stop()

    def on_committed(self, batch: Sequence[Committed]) -> None:
        """After a commit; does not block and does not raise."""
        for done in batch:
            if not done.record.seq % COARSE:
                self._store.want(done.record.session_id)

    def _wake(self) -> None:
        self._woken.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        waiting = self._store.waiting
        while True:
            if not waiting:
                self._woken.clear()
                await self._woken.wait()
            session_id = next(iter(waiting))
            del waiting[session_id]
            began = loop.time()
            try:
                # In a task of its own: a connection that broke must not stay with this one.
                more = await loop.create_task(self._store.fill(session_id))
            except StorageError as error:
                log.info("counting: %s", error or type(error).__name__)
                more = True
                await asyncio.sleep(PAUSE)
            if more:
                self._store.want(session_id)
            await asyncio.sleep((loop.time() - began) * (1.0 / SHARE - 1.0))
