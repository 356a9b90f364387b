"""REST requests under way on this node, by user: one alone cannot keep it busy. Knows no route."""

from collections import Counter
from collections.abc import MutableMapping
from typing import Any

from events.access import Caller
from events.bounds import LINK, OPERATORS, REQUESTS
from events.ratelimit import RateLimits
from server.engine.answers import counted

#: Where a request's scope says whom it is counted for.
_KEY = "parley.under_way"


class Requests:
    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self._count: Counter[str] = Counter()

    def begin(self, scope: MutableMapping[str, Any], caller: Caller) -> None:
        """Raises RateLimited."""
        if caller.role in OPERATORS or _KEY in scope:
            return counted(scope, caller.account)
        self._limits.admit(REQUESTS, self._count[caller.account])
        if caller.link is not None:
            self._limits.admit(REQUESTS, self._count[caller.link], times=LINK)
        self._add(caller, 1)
        scope[_KEY] = caller
        counted(scope, caller.account)

    def caller_of(self, scope: MutableMapping[str, Any]) -> Caller | None:
        """Whose it is, while it is counted."""
        caller: Caller | None = scope.get(_KEY)
        return caller

    def end(self, scope: MutableMapping[str, Any]) -> None:
        """It has been answered, or counts as a connection from now on. Idempotent."""
        caller: Caller | None = scope.pop(_KEY, None)
        if caller is not None:
            self._add(caller, -1)

    def _add(self, caller: Caller, number: int) -> None:
        for each in filter(None, (caller.account, caller.link)):
            self._count[each] += number
            if not self._count[each]:
                del self._count[each]
