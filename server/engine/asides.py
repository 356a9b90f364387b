"""What a peer says besides: frames and packets that ask for nothing, which no bucket counts. So many may come
at once, and so many a second; who says more waits with whatever comes next.
"""

from typing import Final

#: Seconds that one is paid for with, of which so many may be owed: a hundred at once, then ten a second.
EACH: Final = 0.1
OWED: Final = 10.0
#: Seconds that nobody waits longer than: a read of thousands is paid for with a minute.
LONGEST: Final = 60.0


def paid(until: float, now: float, count: int = 1) -> float:
    """By when all are paid for, with `count` more. In seconds of the loop's clock."""
    return min(max(until, now) + EACH * count, now + OWED + LONGEST)


def wait(until: float, now: float) -> float:
    """Seconds for which nothing more is to be read; 0 or less: none."""
    return until - now - OWED
