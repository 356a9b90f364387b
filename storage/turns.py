"""Long work on the event loop, a piece at a time: others have their turn in between. Knows no SQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
#: Work that tells at each `yield` how many characters it has gone through since the last one, some hundreds
#: or thousands at a time.
Work = Generator[int, None, T]

#: Characters of one turn: about two milliseconds where every one of them has to be taken apart.
TURN = 16 * 1024
#: Bytes of JSON after which others have their turn of the loop: to decode them takes some 200 µs at least.
LONG = 32 * 1024


def at_once(work: Work[T]) -> T:
    """The whole of it in one turn: for what is short."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


async def in_steps(all: Iterable[T], size: int) -> AsyncIterator[list[T]]:
    """`all` in its order, so many at a time; others have their turn of the loop in between."""
    rest = iter(all)
    while some := list(islice(rest, size)):
        yield some
        await asyncio.sleep(0)


class Turns:
    """One per node, for all such work: however many callers there are, the loop does one piece of one of them
    in each of its rounds."""

    def __init__(self, pause: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)) -> None:
        """`pause` lets the loop go round."""
        self._pause = pause
        self._place = asyncio.Lock()
        self._done = 0  # in this round: much short work is long, too

    async def take(self, work: Work[T]) -> T:
        """What `work` returns, or raises."""
        try:
            while True:
                async with self._place:
                    try:
                        while self._done < TURN:
                            self._done += next(work)
                    except StopIteration as end:
                        return end.value  # type: ignore[no-any-return]
                    await self._pause()
                    self._done = 0
        finally:
            work.close()
