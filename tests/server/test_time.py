"""The store's time: a database is followed, a wall clock alone is followed slowly."""

import logging

import pytest

from events.storetime import SLEW, STEP, StoreTime
from storage.errors import StorageUnavailable


class Clocks:
    """A machine's two clocks, and a store's."""

    def __init__(self) -> None:
        self.wall, self.monotonic = 1_800_000_000.0, 100.0
        self.store: float | None = self.wall
        self.takes = 0.0  # seconds, for an answer
        self.away = False

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds
        if self.store is not None:
            self.store += seconds

    async def ask(self) -> float | None:
        if self.away:
            raise StorageUnavailable
        self.pass_by(self.takes / 2)
        found = self.store
        self.pass_by(self.takes / 2)
        return found

    def time(self) -> StoreTime:
        made = StoreTime(lambda: self.wall, lambda: self.monotonic, self.ask)
        made.compare_with("redis", self.ask)
        return made


async def test_a_database_is_followed_and_not_the_wall_clock(caplog: pytest.LogCaptureFixture) -> None:
    clocks = Clocks()
    time = clocks.time()
    await time.look()
    clocks.wall += 3600
    assert time.now() == clocks.store and time.state() == "ok"
    with caplog.at_level(logging.INFO, "parley.time"):
        await time.look()
        await time.look()  # said once
        assert time.now() == clocks.store and time.state().startswith("+3600 s against the database's")
        assert time.skews == {"database": 3600.0, "redis": 3600.0}
        clocks.wall -= 3600
        await time.look()
    assert time.state() == "ok" and len([r for r in caplog.records if r.levelname == "WARNING"]) == 2
    clocks.store = clocks.wall + 50  # another server took over
    await time.look()
    assert time.now() == clocks.store
    clocks.away = True
    with pytest.raises(StorageUnavailable):
        await time.look()
    clocks.pass_by(10)
    assert time.now() == clocks.store


async def test_a_slow_answer_moves_nothing_that_it_does_not_prove() -> None:
    clocks = Clocks()
    time = clocks.time()
    await time.look()
    before, clocks.takes = time.now() - clocks.monotonic, 2.0
    assert clocks.store is not None
    clocks.store += 0.5
    await time.look()
    assert time.now() - clocks.monotonic == before
    clocks.takes = 0.1
    await time.look()
    assert time.now() == pytest.approx(clocks.store)


async def test_a_wall_clock_alone_is_followed_slowly() -> None:
    clocks = Clocks()
    clocks.store = None
    time = clocks.time()
    clocks.wall += 3600
    last = time.now()
    for _ in range(10):
        clocks.pass_by(2.0)
        await time.look()
        assert last < time.now() <= last + 2.0 * (1 + SLEW) + 1e-6
        last = time.now()
    assert time.skews["database"] == pytest.approx(3600 - 20 * SLEW)
    clocks.wall -= 7200
    clocks.pass_by(2.0)
    await time.look()
    assert time.now() > last  # slower, never back
    clocks.wall += 2 * STEP  # a clock that was set for the first time
    await time.look()
    assert time.now() == clocks.wall
