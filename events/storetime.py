"""The store's time as a node knows it: a monotonic clock, and how far the store is ahead of it.

A node's wall clock may jump, or be wrong. Times that many nodes share (sessions' ends, messages' times,
tokens) go by the store's clock. Knows no store: `ask` is an argument."""

import logging
from collections.abc import Awaitable, Callable

from events.clock import Clock

log = logging.getLogger("parley.time")

#: Seconds between two questions for the store's time: a jump of its own is followed so soon.
INTERVAL = 2.0
#: Seconds by which a wall clock may be off before the operator hears of it.
TOLERANCE = 5.0
#: Where a wall clock is all there is: a jump of it is followed so slowly, seconds a second; no session ends
#: for it at once. A jump beyond `STEP` is a clock that was never set before.
SLEW, STEP = 0.1, 86400.0

#: The store's time, in epoch seconds; None where it has no clock of its own. May raise Unavailable.
Ask = Callable[[], Awaitable[float | None]]


class StoreTime:
    """`now` is what the node goes by."""

    def __init__(self, wall: Clock, monotonic: Clock, ask: Ask) -> None:
        self._wall, self._monotonic, self._ask = wall, monotonic, ask
        self._others: dict[str, Ask] = {}
        self._ahead = wall() - monotonic()
        self._looked = monotonic()
        #: How far the wall clock is ahead, in seconds, by the name of the clock that it is held against.
        self.skews: dict[str, float] = {}
        self._off: set[str] = set()
        self.now = self._reader()

    def compare_with(self, name: str, ask: Ask) -> None:
        """A further clock that the wall clock is held against."""
        self._others[name] = ask

    def _reader(self) -> Clock:
        monotonic = self._monotonic

        def now() -> float:
            return monotonic() + self._ahead

        return now

    async def look(self) -> None:
        """Follow the store, and hold the wall clock against all. Raises Unavailable."""
        heard = await self._hear(self._ask)
        if heard is None:
            self._slew()
        else:
            ahead, doubt = heard
            if abs(ahead - self._ahead) > doubt:
                self._ahead = ahead
        self._compare("database", self._wall() - self.now())
        for name, ask in self._others.items():
            other = await self._hear(ask)
            if other is not None:
                self._compare(name, self._wall() - self._monotonic() - other[0])

    async def _hear(self, ask: Ask) -> tuple[float, float] | None:
        """How far a clock is ahead of the monotonic one, and by how much that may be wrong."""
        before = self._monotonic()
        there = await ask()
        after = self._monotonic()
        return None if there is None else (there - (before + after) / 2, (after - before) / 2)

    def _slew(self) -> None:
        passed = self._monotonic() - self._looked
        self._looked += passed
        off = self._wall() - self.now()
        most = SLEW * passed
        self._ahead += off if abs(off) > STEP else max(-most, min(most, off))

    def _compare(self, name: str, skew: float) -> None:
        self.skews[name] = skew
        if (abs(skew) > TOLERANCE) == (name in self._off):
            return
        self._off ^= {name}
        if name in self._off:
            log.warning(
                "this machine's clock is off by %+.1f s against the %s's; the node goes by the database's",
                skew,
                name,
            )
        else:
            log.info("this machine's clock agrees with the %s's again", name)

    def state(self) -> str:
        """ "ok", or by how much the wall clock is off, and against what."""
        off = [f"{self.skews[name]:+.0f} s against the {name}'s" for name in sorted(self._off)]
        return ", ".join(off) or "ok"
