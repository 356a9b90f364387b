"""Which history of the database this node goes by, and what tells clients that it is another one now."""

import asyncio
import hashlib
import logging

from events.observer import Observer
from storage.errors import StorageError
from storage.lineage import Lineages

log = logging.getLogger("parley.history")


class History:
    """`name` is the lineage as last read; "" before that."""

    def __init__(self, lineages: Lineages, observer: Observer) -> None:
        self._lineages, self._observer = lineages, observer
        self.name = ""
        self._line = asyncio.Lock()  # an older reading must not come after a later one

    async def check(self) -> None:
        """Read it; begin it anew where PostgreSQL writes another timeline than the one it was begun on.

        Raises Unavailable.
        """
        async with self._line:
            await self._check()

    async def _check(self) -> None:
        found = await self._lineages.read()
        try:
            origin = await self._lineages.origin()
        except StorageError:
            origin = None
        if origin is not None and found.origin != origin:
            await self._lineages.begin(found.name, origin, anew=found.origin is not None)
            found = await self._lineages.read()
        if self.name and found.name != self.name:
            self._observer.went_back("database")
            log.warning(
                "the database went back or was restored: lineage %s follows %s", found.name, self.name
            )
        self.name = found.name

    async def went_back(self, served: str, why: str) -> None:
        """It holds less, or something else, than was seen in the lineage `served`. Raises Unavailable."""
        async with self._line:
            found = await self._lineages.read()
            if found.name == served:
                log.warning("the database went back: %s", why)
                await self._lineages.begin(served, found.origin)  # unless another node is faster
            await self._check()

    def of(self, trace_id: str) -> str:
        """The lineage that a client holds of a session. The session's own identity is part of it, because an
        id may be used again."""
        return f"{self.name}.{identity(trace_id)}"


def identity(trace_id: str) -> str:
    """A session's own, in short."""
    return hashlib.sha1(trace_id.encode(), usedforsecurity=False).hexdigest()[:8]
