"""How often a caller may do what: token buckets by kind and user, over all connections and nodes; and how
many of a thing there may be. The figures are `events.bounds`'."""

import asyncio
from collections.abc import Awaitable, Mapping

from events.access import Caller
from events.bounds import (
    CAPS,
    CHUNKS_PER_SECOND,
    LATE,
    OPERATORS,
    RATES,
    REFUSALS,
    REFUSALS_PER_MINUTE,
    Cap,
    Rate,
)
from events.errors import RateLimited
from storage.interfaces import Buckets


class Pace:
    """Chunks of one stream in the current second. A stream is written on one node at a time."""

    __slots__ = ("count", "second")

    def __init__(self) -> None:
        self.count = 0
        self.second = 0.0  # when it began, in epoch seconds


class RateLimits:
    """A bucket holds a burst, so that a page may come back with all it had and a flood may not go on.

    `refusals` are this node's own buckets; `figures` has the settings that rates and caps name.
    """

    def __init__(
        self, buckets: Buckets, refusals: Buckets, *, enabled: bool, figures: Mapping[str, int]
    ) -> None:
        self._buckets, self._refusals = buckets, refusals
        self._enabled = enabled
        self._rates = {kind: _given(rate, figures) for kind, rate in RATES.items()}
        self._most = {cap: figures[cap.setting] for cap in CAPS}

    def check(self, caller: Caller, kind: str) -> Awaitable[None] | None:
        """Takes a token. Raises RateLimited, at once or when awaited."""
        if not self._enabled:
            return None
        rate = self._rates[kind]
        if caller.role in rate.exempt:
            return None
        return self._take(kind, rate, caller.account)

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

    def _take(self, kind: str, rate: Rate, each: str) -> Awaitable[None] | None:
        wait = self._buckets.take(f"{kind}:{each}", float(rate.burst), rate.per_minute / 60.0)
        if isinstance(wait, float):
            return self._refuse(each, wait) if wait > 0.0 else None
        return self._later(each, wait)

    async def _later(self, each: str, answer: Awaitable[float]) -> None:
        wait = await answer
        if wait > 0.0 and (late := self._refuse(each, wait)) is not None:
            await late

    def _refuse(self, each: str, seconds: float) -> Awaitable[None] | None:
        """Raises RateLimited: at once, or, to whom that was told often enough, when awaited."""
        error = _refusal(seconds)
        if self._told_enough(each):
            return _late(error)
        raise error

    def mistake(self, caller: Caller) -> Awaitable[None] | None:
        """Counts a command that is none, or is not valid, as a refusal; what is returned is to be waited for
        before its sender is told."""
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

    def admit(self, cap: Cap, count: int, more: int = 1) -> None:
        """Raises the cap's error where `more` do not go with the `count` that are there."""
        most = self._most[cap]
        if most and count + more > most:
            raise cap.error(most)


def _given(rate: Rate, figures: Mapping[str, int]) -> Rate:
    """With the operator's figure."""
    if rate.setting is None:
        return rate
    figure = figures[rate.setting]
    return Rate(figure, figure, rate.each, rate.exempt, rate.setting)


def _refusal(seconds: float) -> RateLimited:
    return RateLimited(retry_after=max(1, round(seconds * 1000)))


async def _late(error: RateLimited) -> None:
    await asyncio.sleep(LATE)
    raise error
