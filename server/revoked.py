"""Which users' tokens are refused, and from when back: the table, as this node last read it."""

from events.access import Caller
from events.clock import Clock, when
from storage.errors import StorageError
from storage.revocations import Revocations

#: Seconds between reads of the table. A revocation is told to all nodes at once; this is for a node that did
#: not hear it.
REFRESH = 5.0


class Revoked:
    """`before` is asked for each token: from memory."""

    def __init__(self, store: Revocations, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._before: dict[str, float] = {}

    def before(self, sub: str) -> float | None:
        """The time, in epoch seconds, up to which a user's tokens are refused."""
        return self._before.get(Caller("user", sub).key) if self._before else None

    async def revoke(self, key: str) -> float:
        """Refuse what was issued up to now; returns that time. Raises Unavailable."""
        now = self._clock()
        await self._store.put(key, when(now))
        self.note(key, now)
        return now

    def note(self, key: str, before: float) -> None:
        """Another node has it in the table."""
        self._before[key] = max(before, self._before.get(key, 0.0))

    async def refresh(self) -> None:
        """Raises StorageError; what was known stays."""
        found = await self._store.all()
        self._before = {key: time.timestamp() for key, time in found.items()}

    async def first(self) -> None:
        """At start, where the database may still be on its way."""
        try:
            await self.refresh()
        except StorageError:
            return
