"""Whose tokens are refused, and from when back, by key (role and `sub`): the table, as last read here."""

from events.access import Caller
from events.clock import Clock, when
from events.errors import Unavailable
from storage.errors import StorageError
from storage.revocations import Revocations

#: Seconds between reads of the table. A revocation is told to all nodes at once; this is for a node that did
#: not hear it.
REFRESH = 5.0
#: Seconds for which live connections are compared with a new revocation: one whose token was looked at just
#: before may be let in just after.
FRESH = 60.0


class Revoked:
    """`refuses` is asked for each token: from memory."""

    def __init__(self, store: Revocations, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._known = False  # the table was read
        self._before: dict[str, float] = {}
        self._noted: dict[str, float] = {}  # lately: key -> when this node heard of it

    def refuses(self, caller: Caller) -> bool:
        """Whether the caller's token was revoked. Raises Unavailable while that cannot be told: a node that
        has never read the table would let in whomever it names."""
        if not self._known:
            raise Unavailable("revoked tokens are not known yet")
        before = self._before.get(caller.key) if self._before else None
        # A token that does not say when it was issued may be of any age.
        return before is not None and (caller.issued_at is None or caller.issued_at <= before)

    async def revoke(self, key: str) -> float:
        """Refuse what was issued up to now; returns that time. Raises Unavailable."""
        now = self._clock()
        await self._store.put(key, when(now))
        self.note(key, now)
        return now

    def note(self, key: str, before: float) -> None:
        """It is in the table."""
        if before > self._before.get(key, 0.0):
            self._before[key] = before
            self._noted[key] = self._clock()

    def lately(self) -> list[str]:
        """Keys whose live connections are to be looked at."""
        oldest = self._clock() - FRESH
        self._noted = {key: at for key, at in self._noted.items() if at > oldest}
        return list(self._noted)

    async def refresh(self) -> None:
        """Raises StorageError; what was known stays."""
        began = self._clock()
        found = {key: time.timestamp() for key, time in (await self._store.all()).items()}
        for key in self._before.keys() - found.keys():
            if self._noted.get(key, 0.0) < began:  # else it may have been written while the table was read
                del self._before[key]
        for key, before in found.items():
            self.note(key, before)
        if not self._known:
            self._noted.clear()  # nobody was let in before
        self._known = True

    async def first(self) -> None:
        """At start. Where the database does not answer just then, nobody is let in until it has."""
        try:
            await self.refresh()
        except StorageError:
            return
