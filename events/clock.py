"""Time as an argument: `Clock` gives epoch seconds."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

Clock = Callable[[], float]


def when(seconds: float) -> datetime:
    """Epoch seconds as an aware datetime in UTC, to the millisecond that clients are shown: a
    filter by a shown time is exact.
    """
    return datetime.fromtimestamp(int(seconds * 1000) / 1000, UTC)


@lru_cache(maxsize=64)
def rfc3339(time: datetime) -> str:
    """With microseconds cut to milliseconds and a `Z`. Messages of one commit share its time."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stamp(seconds: float) -> str:
    """`rfc3339(when(seconds))` at a fraction of its cost: every event has one, and many share theirs."""
    return stamp_of(int(seconds * 1000))


@lru_cache(maxsize=8)
def stamp_of(milliseconds: int) -> str:
    """The same of whole milliseconds."""
    whole, rest = divmod(milliseconds, 1000)
    return f"{_to_the_second(whole)}.{rest:03d}Z"


@lru_cache(maxsize=8)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
