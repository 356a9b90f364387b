"""How often a caller may do what: token buckets by kind and user, over all connections and nodes; and how
many of a thing there may be. The figures are `events.bounds`'."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final

from events.access import Caller
from events.bounds import (
    CAPS,
    CHUNKS_PER_SECOND,
    LATE,
    LINK,
    OPERATORS,
    PATIENCE,
    RATES,
    REFUSALS,
    REFUSALS_PER_MINUTE,
    SLOWED,
    Cap,
    Rate,
)
from events.errors import RateLimited
from storage.interfaces import Buckets

#: Called when the present command begins to wait for its token, or for a late error. May raise.
WAITS: Final[ContextVar[Callable[[RateLimited | None], None] | None]] = ContextVar(
    "parley.waits", default=None
)


class Wait:
    """A wait that surely takes a while, as opposed to a question."""

    __slots__ = ("_work",)

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, Any, None]:
        return self._work.__await__()


class Pace:
    """Chunks of one stream in the current second. A stream is written on one node at a time, and every chunk
    asks: two numbers of its own cost less than a bucket among many."""

    __slots__ = ("count", "second")

    def __init__(self) -> None:
        self.count = 0
        self.second = 0.0  # when it began, in epoch seconds


class RateLimits:
    """A bucket holds a burst, so that a page may come back with all it had and a flood may not go on.

    `refusals` are this node's own buckets; `figures` has the settings that rates and caps name. `in_line` is
    how many commands of a connection may wait, at the least, before `too_many` is to be asked.
    """

    def __init__(
        self, buckets: Buckets, refusals: Buckets, *, enabled: bool, figures: Mapping[str, int]
    ) -> None:
        self._buckets, self._refusals = buckets, refusals
        self._enabled = enabled
        self._rates = {kind: _given(rate, figures) for kind, rate in RATES.items()}
        self._slowed: Counter[str] = Counter()  # accounts of whose commands some wait
        self.in_line = min(_in_line(rate) for rate in self._rates.values() if rate.patient)
        self._most = {cap: figures[cap.setting] for cap in CAPS}

    def check(self, caller: Caller, kind: str, in_line: bool = False) -> Awaitable[None] | None:
        """Takes a token. Raises RateLimited, at once or when awaited. `in_line`: the command is one of a
        connection's, and others wait behind it."""
        if not self._enabled:
            return None
        rate = self._rates[kind]
        if caller.role in rate.exempt:
            return None
        taken = self._take(kind, rate, caller.account, in_line and rate.patient)
        if caller.link is None:
            return taken
        whole = replace(rate, burst=rate.burst * LINK, per_minute=rate.per_minute * LINK)
        if taken is None:
            return self._take(kind, whole, caller.link)
        return self._both(taken, kind, whole, caller.link)

    async def _both(self, taken: Awaitable[None], kind: str, whole: Rate, link: str) -> None:
        await taken
        if (waiting := self._take(kind, whole, link)) is not None:
            await waiting

    def check_each(self, kind: str, each: str) -> Awaitable[None] | None:
        """The same where nobody has said who is calling: by what the rate is for each of."""
        return self._take(kind, self._rates[kind], each) if self._enabled else None

    def check_chunk(self, pace: Pace, now: float) -> None:
        """Raises RateLimited."""
        if not 0.0 <= now - pace.second < 1.0:
            pace.second, pace.count = now, 0
        pace.count += 1
        if pace.count > CHUNKS_PER_SECOND and self._enabled:
            raise _refusal(pace.second + 1.0 - now)

    def _take(self, kind: str, rate: Rate, each: str, patient: bool = False) -> Awaitable[None] | None:
        wait = self._ask(kind, rate, each)
        if isinstance(wait, float):
            if wait <= 0.0:
                return None
            if patient and wait <= PATIENCE:
                return self._wait(kind, rate, each, wait)
            return self._refuse(each, wait)
        return self._later(kind, rate, each, wait, patient)

    def _ask(self, kind: str, rate: Rate, each: str) -> float | Awaitable[float]:
        return self._buckets.take(f"{kind}:{each}", float(rate.burst), rate.per_minute / 60.0)

    async def _later(self, kind: str, rate: Rate, each: str, answer: Awaitable[float], patient: bool) -> None:
        wait = await answer
        if wait > 0.0 and patient and wait <= PATIENCE:
            await self._wait(kind, rate, each, wait)
        elif wait > 0.0 and (late := self._refuse(each, wait)) is not None:
            await late

    def _wait(self, kind: str, rate: Rate, each: str, wait: float) -> Awaitable[None]:
        """Waits until there is a token. Counts from now on: commands that came in one piece are put in line
        before the wait begins."""
        self._slowed[each] += 1
        return Wait(self._waited(kind, rate, each, wait))

    async def _waited(self, kind: str, rate: Rate, each: str, wait: float) -> None:
        """Others of the same user may take a token first."""
        try:
            _waits(None)
            left = PATIENCE
            while 0.0 < wait <= left:
                await asyncio.sleep(wait)
                left -= wait
                answer = self._ask(kind, rate, each)
                wait = answer if isinstance(answer, float) else await answer
        finally:
            self._slowed[each] -= 1
            if not self._slowed[each]:
                del self._slowed[each]
        if wait > 0.0 and (late := self._refuse(each, wait)) is not None:
            await late

    def too_many(self, caller: Caller, kind: str, waiting: int) -> RateLimited | None:
        """The refusal for a caller whose commands wait for tokens, with `waiting` of them in line already.
        None if they do not wait, or if the caller was refused often enough: then further commands are not
        even read."""
        rate = self._rates[kind]
        if not rate.patient or waiting < _in_line(rate) or caller.account not in self._slowed:
            return None
        if self._told_enough(caller.account):
            return None
        return _refusal(waiting * 60.0 / rate.per_minute)

    def _refuse(self, each: str, seconds: float) -> Awaitable[None] | None:
        """Raises RateLimited: at once, or, to whom that was told often enough, when awaited."""
        error = _refusal(seconds)
        if self._told_enough(each):
            return Wait(_late(error))
        raise error

    def mistake(self, caller: Caller) -> Awaitable[None] | None:
        """Counts a command that is unknown, invalid or too large as a refusal; the result is to be awaited
        before the sender gets the error."""
        if not self._enabled or caller.role in OPERATORS or not self._told_enough(caller.account):
            return None
        return asyncio.sleep(LATE)

    def _told_enough(self, each: str) -> bool:
        wait = self._refusals.take(f"refused:{each}", float(REFUSALS), REFUSALS_PER_MINUTE / 60.0)
        return not isinstance(wait, float) or wait > 0.0

    # --- how many

    def most(self, cap: Cap) -> int:
        """0: there is no limit."""
        return self._most[cap]

    def admit(self, cap: Cap, count: int, more: int = 1, *, times: int = 1) -> None:
        """Raises the cap's error where `more` do not go with the `count` that are there. There may be so
        many `times` the cap."""
        most = self._most[cap] * times
        if most and count + more > most:
            raise cap.error(most)


def _given(rate: Rate, figures: Mapping[str, int]) -> Rate:
    """With the operator's figure."""
    if rate.setting is None:
        return rate
    figure = figures[rate.setting]
    return replace(rate, per_minute=figure, burst=figure)


def _in_line(rate: Rate) -> int:
    """How many may wait: nobody waits for more than a minute."""
    return min(SLOWED, rate.per_minute)


def _refusal(seconds: float) -> RateLimited:
    return RateLimited(retry_after=max(1, round(seconds * 1000)))


def _waits(error: RateLimited | None) -> None:
    if (waits := WAITS.get()) is not None:
        waits(error)


async def _late(error: RateLimited) -> None:
    _waits(error)
    await asyncio.sleep(LATE)
    raise error
