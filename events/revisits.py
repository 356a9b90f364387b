"""When something that cannot go on yet is looked at again: the more there is of one kind, the later each, so
that however much waits of one user, or for one agent, costs no more. Users wait for their own alone."""

import asyncio
from collections import Counter
from collections.abc import Callable

#: Looks a second at all of one kind: each is a transaction.
PER_SECOND = 20
#: Seconds behind the time that the database was told.
SOON = 0.1


class Revisits:
    def __init__(self) -> None:
        self._waiting: dict[str, Counter[str]] = {}

    def later(self, kind: str, whose: str, least: float, look: Callable[[], None]) -> float:
        """Calls `look` a moment after so many seconds, which are no fewer than `least`. Each of those whose
        some of a kind are has the same share of its looks."""
        waiting = self._waiting.setdefault(kind, Counter())
        mine, others = waiting[whose], len(waiting) - (whose in waiting)
        wait = max(least, mine * (others + 1) / PER_SECOND)
        waiting[whose] += 1
        asyncio.get_running_loop().call_later(wait + SOON, self._look, kind, whose, look)
        return wait

    def _look(self, kind: str, whose: str, look: Callable[[], None]) -> None:
        waiting = self._waiting[kind]
        waiting[whose] -= 1
        if not waiting[whose]:
            del waiting[whose]
        if not waiting:
            del self._waiting[kind]
        look()
