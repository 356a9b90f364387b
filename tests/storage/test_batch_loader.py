"""What many ask for at the same time is read in one trip, and never from before it was asked."""

import asyncio
from collections.abc import Sequence

import pytest

from storage.batch_loader import MOST, TRIPS, BatchLoader
from storage.errors import Away, StorageUnavailable
from storage.patience import PATIENCE, Patience, until


class Table:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.trips: list[tuple[Sequence[str], asyncio.Future[None]]] = []
        self.came = asyncio.Condition()

    async def read(self, keys: Sequence[str]) -> dict[str, int]:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        async with self.came:
            self.trips.append((keys, gate))
            self.came.notify_all()
        await gate
        return {key: self.rows[key] for key in keys if key in self.rows}

    async def trip(self, number: int) -> tuple[Sequence[str], asyncio.Future[None]]:
        async with asyncio.timeout(10), self.came:
            await self.came.wait_for(lambda: len(self.trips) > number)
        return self.trips[number]


async def test_one_turn_is_one_trip() -> None:
    table = Table()
    table.rows = {"a": 1, "b": 2}
    loader = BatchLoader(table.read)
    asked = [asyncio.ensure_future(loader.get(key)) for key in ("a", "b", "missing", "a")]
    keys, gate = await table.trip(0)
    assert keys == ["a", "b", "missing"]
    gate.set_result(None)
    assert await asyncio.gather(*asked) == [1, 2, None, 1]
    assert len(table.trips) == 1


async def test_after_a_fault_all_are_read_at_the_same_time() -> None:
    alone: list[str] = []
    all_there = asyncio.Event()

    async def read(keys: Sequence[str]) -> dict[str, int]:
        if len(keys) > 1:
            raise ValueError("one of them cannot be read")
        alone.append(keys[0])
        if len(alone) == 3:
            all_there.set()
        await all_there.wait()  # as a database that hangs: none may wait for another's time-out
        return {keys[0]: 1}

    loader = BatchLoader(read)
    async with asyncio.timeout(10):
        assert await asyncio.gather(*(loader.get(key) for key in "abc")) == [1, 1, 1]


async def test_who_asks_later_gets_a_later_answer() -> None:
    table = Table()
    loader = BatchLoader(table.read)
    early = asyncio.ensure_future(loader.get("a"))
    _, first = await table.trip(0)
    late = asyncio.ensure_future(loader.get("a"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(table.trips) == 1  # one on its way: the other waits for it, or for company
    table.rows["a"] = 1
    first.set_result(None)
    (await table.trip(1))[1].set_result(None)
    assert (await early, await late) == (1, 1)


async def test_where_many_wait_there_are_more_trips_and_none_is_too_long() -> None:
    table = Table()
    loader = BatchLoader(table.read)
    asked = [asyncio.ensure_future(loader.get("a"))]
    await table.trip(0)
    asked += [asyncio.ensure_future(loader.get(str(n))) for n in range(10 * MOST)]
    for number in range(1, TRIPS):
        assert len((await table.trip(number))[0]) == MOST
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(table.trips) == TRIPS  # as many as there may be
    asked += [asyncio.ensure_future(loader.get("0"))]
    number = 0
    while not all(each.done() for each in asked):
        (await table.trip(number))[1].set_result(None)
        number += 1
        for _ in range(5):
            await asyncio.sleep(0)
    assert {len(keys) for keys, _ in table.trips[1:]} <= {1, MOST}
    assert sum(len(keys) for keys, _ in table.trips) == 10 * MOST + 2


async def test_a_failure_is_for_those_who_asked_and_for_nobody_else() -> None:
    table = Table()
    loader = BatchLoader(table.read)
    asked = [asyncio.ensure_future(loader.get(key)) for key in "ab"]
    (await table.trip(0))[1].set_exception(StorageUnavailable("away"))
    for each in asked:
        with pytest.raises(StorageUnavailable):
            await each
    again = asyncio.ensure_future(loader.get("a"))
    (await table.trip(1))[1].set_result(None)
    assert await again is None


async def test_one_that_cannot_be_read_takes_nobody_along() -> None:
    async def read(keys: Sequence[str]) -> dict[str, int]:
        if "bad" in keys:
            raise ValueError("cannot be read")
        return dict.fromkeys(keys, 1)

    loader = BatchLoader(read)
    found = await asyncio.gather(*(loader.get(key) for key in ("a", "bad", "b")), return_exceptions=True)
    assert [found[0], found[2]] == [1, 1]
    assert isinstance(found[1], ValueError)


async def test_trips_that_hang_hold_up_nobody_else() -> None:
    table = Table()
    table.rows["b"] = 2
    loader = BatchLoader(table.read)
    hung = []
    for number in range(TRIPS):
        hung.append(asyncio.ensure_future(loader.get("a")))
        await table.trip(number)
    other = asyncio.ensure_future(loader.get("b"))
    (await table.trip(TRIPS))[1].set_result(None)
    assert await other == 2
    assert not any(each.done() for each in hung)
    for _, gate in table.trips[:TRIPS]:
        gate.set_result(None)
    assert await asyncio.gather(*hung) == [None] * TRIPS


async def test_who_gives_up_takes_nobody_along() -> None:
    table = Table()
    table.rows["a"] = 1
    loader = BatchLoader(table.read)
    gone, stays = (asyncio.ensure_future(loader.get("a")) for _ in range(2))
    _, gate = await table.trip(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    gate.set_result(None)
    assert await stays == 1


async def test_nobody_waits_as_long_as_one_who_came_later() -> None:
    """A database that is away is waited for until the least patient has waited enough; the others go on."""
    waits: list[float] = []

    async def read(keys: Sequence[str]) -> dict[str, int]:
        end = until()
        assert end is not None
        waits.append(end)
        if end < now + 60:
            raise Away
        return dict.fromkeys(keys, 1)

    loader, now = BatchLoader(read), asyncio.get_running_loop().time()

    async def get(key: str, end: float) -> int | None:
        PATIENCE.set(Patience(end))
        return await loader.get(key)

    async with asyncio.timeout(10):
        first, later = await asyncio.gather(get("a", now + 30), get("a", now + 60), return_exceptions=True)
    assert isinstance(first, Away) and later == 1
    assert waits == [now + 30, now + 60]


async def test_who_has_waited_enough_is_told() -> None:
    trips = 0

    async def read(keys: Sequence[str]) -> dict[str, int]:
        nonlocal trips
        trips += 1
        raise Away

    loader = BatchLoader(read)
    with pytest.raises(Away):  # the node's own work
        await loader.get("a")
    PATIENCE.set(Patience())
    with pytest.raises(Away):
        await loader.get("a")
    assert trips == 2
