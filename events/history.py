"""Which history of the database this node goes by, and what tells clients that it is another one now."""

import asyncio
import hashlib
import logging
import math

from events.clock import Clock
from events.observer import Observer
from storage.errors import StorageError
from storage.lineage import Lineages, is_later

log = logging.getLogger("parley.history")

#: Seconds in which nobody may notice that the database went back, where no timeline tells: a poll, and as
#: long as whoever knows may stand still.
UNNOTICED = 120.0


class History:
    """`name` is the lineage as last read; "" before that. `now` is a monotonic clock."""

    def __init__(self, lineages: Lineages, observer: Observer, now: Clock) -> None:
        self._lineages, self._observer, self.now = lineages, observer, now
        self.name = ""
        #: Since when what a client of this lineage brings along may be of a history that was lost before.
        self.doubtful_since = math.inf
        self._origin: str | None = None
        self._looked = now()  # when the origin was read last
        self._line = asyncio.Lock()  # an older reading must not come after a later one

    async def check(self) -> None:
        """Read it; begin it anew where PostgreSQL writes another timeline than the one it was begun on.

        Raises Unavailable.
        """
        async with self._line:
            await self._check()

    async def _check(self) -> None:
        began = self.now()
        found = await self._lineages.read()
        if self.name and found.name != self.name and not is_later(found.name, self.name):
            # It went back behind the beginning of this one, and the earlier one is to have another end now.
            await self._lineages.begin(found.name, found.origin, known=self.name)
            found = await self._lineages.read()
        try:
            origin = await self._lineages.origin()
        except StorageError:
            origin = None
        if origin is not None and found.origin != origin:
            await self._lineages.begin(found.name, origin, anew=found.origin is not None)
            found = await self._lineages.read()
        if self.name and found.name != self.name:
            moved = None not in (origin, self._origin) and origin != self._origin
            since = self._looked if moved else began - UNNOTICED
            self.doubtful_since = min(self.doubtful_since, since)
            self._observer.went_back("database")
            log.warning(
                "the database went back or was restored: lineage %s follows %s", found.name, self.name
            )
        if origin is not None:
            self._origin, self._looked = origin, began
        self.name = found.name

    def settled(self, name: str) -> None:
        """Every member has been brought to the lineage `name`."""
        if name == self.name:
            self.doubtful_since = math.inf

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
