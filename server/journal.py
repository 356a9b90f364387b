"""Lines for who came in and who was refused (INFO), and for requests (DEBUG): bounded, and without secrets.

A crowd that comes back, or one that guesses tokens, must not make the log the node's bottleneck: past the
bound lines are counted, and the next one says how many there were. Metrics count all of them.
"""

import logging
from collections.abc import Callable

from events.access import Caller
from events.errors import ChatError, OriginNotAllowed

log = logging.getLogger("parley.access")

#: Lines of one kind a second; a line costs about 50 µs, so both kinds cost a thousandth of the loop.
LINES = 10


class _Bound:
    """`LINES` in each second of `clock`."""

    __slots__ = ("_clock", "_left", "_second", "unsaid")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second, self._left = -1, 0
        self.unsaid = 0

    def take(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._left = second, LINES
        if self._left == 0:
            self.unsaid += 1
            return False
        self._left -= 1
        return True

    def rest(self) -> dict[str, int]:
        """How many lines were left out since the last one that was written."""
        count, self.unsaid = self.unsaid, 0
        return {"unsaid": count} if count else {}


class Journal:
    """One node's. `clock` in seconds, monotonic."""

    __slots__ = ("_connects", "_refusals", "_tells", "requests")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._connects, self._refusals = _Bound(clock), _Bound(clock)
        # A level is set once, before anything is built: not to be asked for each connection.
        self._tells = log.isEnabledFor(logging.INFO)
        #: Whether each request has a line.
        self.requests = log.isEnabledFor(logging.DEBUG)

    def connected(self, door: str, caller: Caller, address: str) -> None:
        if self._tells and self._connects.take():
            who: dict[str, object] = {
                "door": door,
                "sub": caller.key,
                "role": caller.role,
                "address": address,
            }
            log.info("connected", extra=who | self._connects.rest())

    def refused(self, door: str, error: ChatError, address: str, path: str = "") -> None:
        """`door`: a transport, or a method of HTTP; `path` without its query."""
        # Of a page's origin `server.origins` tells, with what would admit it.
        if self._tells and not isinstance(error, OriginNotAllowed) and self._refusals.take():
            why: dict[str, object] = {
                "door": door,
                "code": error.code,
                "reason": error.text,
                "address": address,
            }
            if path:
                why["path"] = path
            log.info("refused", extra=why | self._refusals.rest())

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        log.debug("%s %s %d", method, path, status, extra={"seconds": round(seconds, 6)})
