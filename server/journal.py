"""Lines for who came in and who was refused (INFO), and for requests (DEBUG): bounded, and without secrets.

A crowd that comes back, or one that guesses tokens, must not make the log the node's bottleneck: past the
bound lines are counted, and the next one says how many there were. Metrics count all of them.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence

from events.access import Caller
from events.errors import ChatError, OriginNotAllowed
from storage.ops import Committed

log = logging.getLogger("parley.access")

#: Lines of one kind a second; a line costs about 50 µs, so both kinds cost a thousandth of the loop.
LINES = 10
#: Letters of a refused request's path that are repeated: anybody may send sixteen thousand.
SHOWN = 200
#: Messages that have come again of late, and how often one has before a line says so: who reconnects sends
#: one again once; a library that takes each answer for an error does it `retries` times.
REPEATED, TOO_OFTEN = 1000, 2
#: Seconds in which they have to come.
REPEATS_WITHIN = 5.0


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

    __slots__ = ("_clock", "_connects", "_refusals", "_repeated", "_repeats", "_tells", "requests")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._connects, self._refusals, self._repeats = _Bound(clock), _Bound(clock), _Bound(clock)
        self._clock = clock
        self._repeated: OrderedDict[str, list[float]] = OrderedDict()  # when, by message
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
        # Of a page's origin `server.identity.origins` tells, with what would admit it.
        if self._tells and not isinstance(error, OriginNotAllowed) and self._refusals.take():
            why: dict[str, object] = {
                "door": door,
                "code": error.code,
                "reason": error.text,
                "address": address,
            }
            if path:
                why["path"] = path[:SHOWN]
            log.info("refused", extra=why | self._refusals.rest())

    def committed(self, batch: Sequence[Committed]) -> None:
        """To be told of each group commit: who repeats what is answered shows here alone."""
        for done in batch:
            if done.duplicate:
                self._came_again(done)

    def _came_again(self, done: Committed) -> None:
        record, now = done.record, self._clock()
        times = [t for t in self._repeated.pop(record.message_id, ()) if t > now - REPEATS_WITHIN]
        self._repeated[record.message_id] = [*times, now]
        if len(self._repeated) > REPEATED:
            self._repeated.popitem(last=False)
        if len(times) + 1 == TOO_OFTEN and self._tells and self._repeats.take():
            text = "a message that was answered came again and again: `retries` needs `ackTimeout` too"
            who: dict[str, object] = {"sub": record.sender_id, "session_id": record.session_id}
            log.info(text, extra=who | self._repeats.rest())

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        log.debug("%s %s %d", method, path, status, extra={"seconds": round(seconds, 6)})
