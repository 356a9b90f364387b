"""How often a caller may do what: token buckets by user and kind, over all connections and nodes."""

from collections.abc import Awaitable

from events.access import Caller
from events.errors import RateLimited
from storage.interfaces import Buckets

#: Kinds whose limit is per minute and fixed by the contract; `message` is a setting.
PER_MINUTE = {"typing": 120, "upload": 20, "connect": 120}
#: Chunks per second and stream.
CHUNKS_PER_SECOND = 200
#: Kinds that agents and `service` are exempt from.
EXEMPT = frozenset({"message", "typing", "upload", "connect"})


class Pace:
    """Chunks of one stream in the current second. A stream is written on one node at a time."""

    __slots__ = ("count", "second")

    def __init__(self) -> None:
        self.count = 0
        self.second = 0.0  # when it began, in epoch seconds


class RateLimits:
    """A bucket holds what a minute allows, so that a burst is fine and a flood is not."""

    def __init__(self, buckets: Buckets, *, enabled: bool, messages_per_minute: int) -> None:
        self._buckets = buckets
        self._enabled = enabled
        self._per_minute = PER_MINUTE | {"message": messages_per_minute}

    def check(self, caller: Caller, kind: str) -> Awaitable[None] | None:
        """Raises RateLimited, at once or when awaited."""
        if not self._enabled or (caller.role != "user" and kind in EXEMPT):
            return None
        limit = self._per_minute[kind]
        return self._take(f"{kind}:{caller.key}", float(limit), limit / 60.0)

    def check_chunk(self, pace: Pace, now: float) -> None:
        """Raises RateLimited."""
        if not 0.0 <= now - pace.second < 1.0:
            pace.second, pace.count = now, 0
        pace.count += 1
        if pace.count > CHUNKS_PER_SECOND and self._enabled:
            _refuse(pace.second + 1.0 - now)

    def _take(self, key: str, capacity: float, per_second: float) -> Awaitable[None] | None:
        wait = self._buckets.take(key, capacity, per_second)
        if isinstance(wait, float):
            _refuse(wait)
            return None
        return _later(wait)


async def _later(wait: Awaitable[float]) -> None:
    _refuse(await wait)


def _refuse(seconds: float) -> None:
    if seconds > 0.0:
        raise RateLimited(retry_after=max(1, round(seconds * 1000)))
