"""The timer wheel, on a clock that the test turns."""

import asyncio

from server.engine.heartbeat import Wheel


class Item:
    def __init__(self, wheel: Wheel, again: float = 0.0) -> None:
        self.wheel, self.again = wheel, again
        self.slot = None
        self.ticks: list[float] = []

    def tick(self, now: float) -> None:
        self.ticks.append(now)
        if self.again:
            self.wheel.add(self, now + self.again)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_deadlines_come_in_their_slot_and_never_late() -> None:
    clock = Clock()
    wheel = Wheel(0.1, clock)
    items = [Item(wheel) for _ in range(50)]
    for i, item in enumerate(items):
        wheel.add(item, 100 + i * 0.037)
    for step in range(1, 40):
        clock.now = 100 + step * 0.1
        wheel.turn()
        for i, item in enumerate(items):
            if 100 + i * 0.037 <= clock.now:
                assert len(item.ticks) == 1
    for i, item in enumerate(items):
        assert item.ticks[0] <= max(100.1, 100 + i * 0.037) + 1e-9
        assert item.ticks[0] > 100 + i * 0.037 - 0.1
    wheel.stop()


async def test_a_slot_is_not_early_for_a_round_deadline() -> None:
    clock = Clock()
    wheel = Wheel(0.1, clock)
    item = Item(wheel, again=0.3)
    wheel.add(item, 100.3)
    for step in range(1, 10):
        clock.now = 100 + step * 0.1
        wheel.turn()
    assert [round(t, 3) for t in item.ticks] == [100.3, 100.6, 100.9]
    wheel.stop()


async def test_discard_and_rest() -> None:
    clock = Clock()
    wheel = Wheel(0.1, clock)
    item, other = Item(wheel), Item(wheel)
    wheel.add(item, 100.2)
    wheel.discard(item)
    wheel.discard(item)
    wheel.add(other, 100.2)
    clock.now = 105.0  # a loop that was busy for long: what is due is done, once
    wheel.turn()
    assert (item.ticks, other.ticks) == ([], [105.0])
    wheel.add(item, 105.1)
    clock.now = 105.2
    wheel.turn()
    assert item.ticks == [105.2]
    wheel.stop()


async def test_it_turns_by_itself_and_stops_when_empty() -> None:
    wheel = Wheel(0.01)
    done = asyncio.Event()

    class Last(Item):
        def tick(self, now: float) -> None:
            done.set()

    wheel.add(Last(wheel), wheel.now() + 0.03)
    async with asyncio.timeout(10):
        await done.wait()
    assert wheel._timer is None
