"""When something that cannot go on yet is looked at again: the more there is of one kind, the later each, so
that however much waits of one user, or for one agent, costs no more."""

import asyncio
from collections import Counter
from collections.abc import Callable

#: Looks a second at all of one kind: each is a transaction.
PER_SECOND = 20
#: Seconds behind the time that the database was told.
SOON = 0.1


class Revisits:
    def __init__(self) -> None:
        self._waiting: Counter[str] = Counter()

    def later(self, kind: str, least: float, look: Callable[[], None]) -> float:
        """Calls `look` a moment after so many seconds, which are no fewer than `least`."""
        wait = max(least, self._waiting[kind] / PER_SECOND)
        self._waiting[kind] += 1
        asyncio.get_running_loop().call_later(wait + SOON, self._look, kind, look)
        return wait

    def _look(self, kind: str, look: Callable[[], None]) -> None:
        self._waiting[kind] -= 1
        if not self._waiting[kind]:
            del self._waiting[kind]
        look()
