"""How fast what an upstream sends is worked off, so that others have their turn. Knows no upstream."""

import asyncio

#: Seconds of work without a turn for others; then these have as many for themselves as it took, up to
#: `LONGEST`: an upstream that floods a node, with small events or dear ones, takes half of it at most.
SLICE, LONGEST = 0.005, 0.1


class Pacing:
    """Lets others have the event loop every now and then."""

    def __init__(self) -> None:
        self._time = asyncio.get_running_loop().time
        self._since, self._worked = self._time(), 0.0

    def begin(self) -> None:
        """After a wait, which was no work."""
        self._since = self._time()

    async def yield_if_due(self) -> None:
        now = self._time()
        self._worked, self._since = self._worked + now - self._since, now
        if self._worked >= SLICE:
            worked, self._worked = self._worked, 0.0
            await asyncio.sleep(min(worked, LONGEST))
            self.begin()
