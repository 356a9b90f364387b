"""Brings what was committed into the search index, a little later and in small steps, so that writing does
not wait for it. Knows no SQL and no words."""

import asyncio
import logging
from collections.abc import Sequence

from events.tasks import Tasks
from storage.errors import StorageError
from storage.ops import Committed
from storage.search import Search

log = logging.getLogger("parley.search")

#: Messages in one step, and sessions looked at for them.
STEP, SESSIONS = 200, 50
#: Seconds from a commit to its indexing: further messages of a busy session are indexed in the same step.
DELAY = 0.5
#: At most this part of the time goes into indexing while messages come in, however much waits: what a search
#: needs and is not there yet it takes in itself. And the part while none come.
SHARE, AT_REST = 0.1, 0.5
#: Sessions remembered as changed; beyond it `sweep` finds them.
REMEMBERED = 50_000
#: Sessions that one sweep finds.
SWEPT = 5_000


class Indexer:
    """One per node. A node that dies leaves its share to `sweep`, on any other, and to searches."""

    def __init__(self, store: Search) -> None:
        self._store = store
        self._changed: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._tasks = Tasks("indexer")

    async def start(self) -> None:
        self._tasks.spawn(self._run())

    async def stop(self) -> None:
        await self._tasks.stop()

    def on_committed(self, batch: Sequence[Committed]) -> None:
        """After a commit; does not block and does not raise."""
        for done in batch:
            if not done.duplicate:
                self._changed[done.record.session_id] = None
        if len(self._changed) > REMEMBERED:
            self._changed.clear()
        self._wake.set()

    async def sweep(self) -> None:
        """Sessions that nobody remembers: of a node that died, imported, copied. Raises Unavailable."""
        for session_id in await self._store.behind(SWEPT):
            self._changed.setdefault(session_id)
        self._wake.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._changed:
                self._wake.clear()
                await self._wake.wait()
                await asyncio.sleep(DELAY)
            taken = list(self._changed)[:SESSIONS]
            for session_id in taken:
                del self._changed[session_id]
            self._wake.clear()
            began = loop.time()
            try:
                # In a task of its own: a connection that broke must not stay with this one.
                _, more = await loop.create_task(self._store.index(taken, STEP))
            except StorageError as error:
                log.info("indexing: %s", error or type(error).__name__)
                more = set(taken)
                await asyncio.sleep(1.0)
            for session_id in more:
                self._changed.setdefault(session_id)
            share = SHARE if self._wake.is_set() else AT_REST
            await asyncio.sleep((loop.time() - began) * (1.0 / share - 1.0))
