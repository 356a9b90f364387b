"""The revoked identities, by key (role and `sub`), each with the time up to which its tokens are refused: the
table, as last read here."""

from datetime import timedelta

from events.access import Caller
from events.clock import Clock, when
from events.errors import Unavailable
from server.identity.tokens import LEEWAY
from storage.errors import StorageError
from storage.revocations import Revocations

#: Seconds between reads of the table. A revocation is told to all nodes at once; this is for a node that did
#: not hear it.
REFRESH = 5.0
#: Seconds for which live connections are compared with a new revocation: one whose token was looked at just
#: before may be let in just after.
FRESH = 60.0
#: Seconds for which a revocation is kept: a token that lives for longer would be good again.
KEPT = 400 * 86_400.0
#: Seconds between two looks for older ones.
DROP = 86_400.0
#: Seconds between readings of the whole table. In between it is read back to `OVERLAP` before now: by less a
#: node's clock may be off, or a commit be late.
WHOLE, OVERLAP = 3600.0, 600.0
#: Identities whose tokens from ahead of the clock are remembered.
MOST_AHEAD = 10_000


class Revoked:
    """`refuses` is asked for each token: from memory."""

    def __init__(self, store: Revocations, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._known = False  # the table was read
        self._before: dict[str, float] = {}
        self._noted: dict[str, float] = {}  # lately: key -> when this node heard of it
        self._ahead: dict[str, float] = {}  # the latest `iat` still to come that was let in here
        self._whole_at = float("-inf")

    def refuses(self, caller: Caller) -> bool:
        """Whether the caller's token was revoked. Raises Unavailable while that cannot be told: a node that
        has never read the table would let in whomever it names."""
        if not self._known:
            raise Unavailable("revoked tokens are not known yet")
        before = self._before.get(caller.key) if self._before else None
        issued = caller.issued_at
        if issued is not None and issued > (now := self._clock()):
            # Its issuer's clock runs ahead: it may have been there before what is revoked up to now.
            if before is not None and issued <= before + LEEWAY:
                return True
            self._let_in(caller.key, issued, now)
        # A token that does not say when it was issued may be of any age.
        return before is not None and (issued is None or issued <= before)

    def _let_in(self, key: str, issued: float, now: float) -> None:
        """So that a revocation before `issued` holds for it, too."""
        if len(self._ahead) >= MOST_AHEAD:
            self._ahead = {key: at for key, at in self._ahead.items() if at > now}
        if len(self._ahead) < MOST_AHEAD:
            self._ahead[key] = max(issued, self._ahead.get(key, 0.0))

    async def revoke(self, key: str) -> float:
        """Refuse what was issued up to now; returns that time. Raises Unavailable."""
        before = self._reaching(key, self._clock())
        await self._store.put(key, when(before))
        self.note(key, before)
        return before

    def _reaching(self, key: str, before: float) -> float:
        """`before`, or the latest `iat` of a token that was let in from ahead of the clock by then."""
        ahead = self._ahead.get(key, 0.0)
        return ahead if before < ahead <= before + LEEWAY else before

    def note(self, key: str, before: float) -> None:
        """It is in the table."""
        before = self._reaching(key, before)
        if before > self._before.get(key, 0.0):
            self._before[key] = before
            self._noted[key] = self._clock()

    def lately(self) -> list[str]:
        """Keys whose live connections are to be looked at."""
        oldest = self._clock() - FRESH
        self._noted = {key: at for key, at in self._noted.items() if at > oldest}
        return list(self._noted)

    async def refresh(self) -> None:
        """Raises StorageError; the last reading then stays."""
        began = self._clock()
        whole = began - self._whole_at >= WHOLE
        since = float("-inf") if whole else began - OVERLAP
        rows = await self._store.all(None if whole else when(since))
        found = {key: time.timestamp() for key, time in rows.items()}
        for key, before in list(self._before.items()):
            # A later one may have been written while the table was read.
            if before >= since and key not in found and self._noted.get(key, 0.0) < began:
                del self._before[key]
        for key, before in found.items():
            self.note(key, before)
            if self._before[key] > before and key in self._ahead:
                await self._store.put(key, when(self._before[key]))  # for the other nodes
        if whole:
            self._whole_at = began
        if not self._known:
            self._noted.clear()  # nobody was let in before
        self._known = True

    async def drop_old(self) -> None:
        """Drops revocations older than any token that is still good. Raises StorageError."""
        await self._store.drop(when(self._clock()) - timedelta(seconds=KEPT))

    async def first(self) -> None:
        """At start. Where the database does not answer just then, nobody is let in until it has."""
        try:
            await self.refresh()
        except StorageError:
            return
