"""Notices that this process stood still (stopped, swapped out, its machine asleep), and holds up what it has
in hand until it knows what is still its own. Knows no connection.

Others may have taken its clients over meanwhile: what those had said to it is not done any more.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from events.clock import Clock

log = logging.getLogger("parley.stall")

#: Seconds between two beats of the loop, and without one after which it stood still: a client gives its
#: server some seconds before it goes to another; a busy loop's turns take tens of milliseconds.
BEAT, LIMIT = 0.25, 2.0
#: What waits at the sockets comes in: ends of connections, and what other nodes have said. A connection is
#: accepted, read and found closed in a turn of the loop each: so many turns, whatever a busy machine lets one
#: last, and seconds of each for what is on its way.
SETTLE_TURNS, SETTLE = 10, 0.01


Look = Callable[[float], Awaitable[None]]


class Stall:
    """`at` is the time of the last beat, by the clock that `heard_at` of connections goes by."""

    def __init__(self, clock: Clock, look: Look | None = None) -> None:
        """`look` finds out what is still ours; its argument: seconds that the process stood still."""
        self._clock, self._look = clock, look or _nothing
        self.at = clock()
        self._timer: asyncio.TimerHandle | None = None
        self._passing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.at = self._clock()
        self._beat()

    def _beat(self) -> None:
        now = self._clock()
        if now - self.at > LIMIT:
            self.passing()
        self.at = now
        self._timer = asyncio.get_running_loop().call_later(BEAT, self._beat)

    def over(self, heard_at: float) -> bool:
        """Whether what comes at this moment may be done at once."""
        return self._passing is None and heard_at - self.at <= LIMIT

    def stood_still(self) -> bool:
        """Whether this is the first that runs after it stood still, or not all is known yet."""
        return not self.over(self._clock())

    def passing(self) -> "asyncio.Task[None]":
        """Done when it is known what is still ours."""
        if self._passing is None:
            lasted, self.at = self._clock() - self.at, self._clock()
            log.warning("this process stood still for %.1f s", lasted)
            self._passing = asyncio.get_running_loop().create_task(self._pass(lasted))
        return self._passing

    async def _pass(self, lasted: float) -> None:
        try:
            for _ in range(SETTLE_TURNS):
                await asyncio.sleep(SETTLE)
            await self._look(lasted)
        except Exception:
            log.exception("after it stood still")
        finally:
            self._passing = None

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


async def _nothing(lasted: float) -> None:
    """A node alone: nobody has taken anything."""
