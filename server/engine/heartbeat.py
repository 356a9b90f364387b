"""Deadlines of thousands of connections from one timer. Knows nothing of what happens at them."""

import asyncio
import math
from collections.abc import Callable
from typing import Protocol


class Ticking(Protocol):
    """What has deadlines. `slot` belongs to the wheel; it is None at first."""

    slot: "set[Ticking] | None"

    def tick(self, now: float, /) -> None:
        """A deadline; `now` in seconds of the wheel's clock. Adds itself again, or not."""


class Wheel:
    """A timer wheel: a connection costs one entry in a set, and a turn touches only what is due.

    Never late by more than the loop itself is: a deadline falls into the slot before it, so that it may
    come up to `tick` seconds (of `clock`) early.
    """

    def __init__(self, tick: float, clock: Callable[[], float] | None = None) -> None:
        self._tick = tick
        self._clock = clock
        self._slots: dict[int, set[Ticking]] = {}
        self._turned = 0  # the last slot that had its turn
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        if self._clock is None:
            self._clock = asyncio.get_running_loop().time  # asked for once: it makes a system call
        return self._clock()

    def add(self, item: Ticking, deadline: float) -> None:
        """Call `item.tick` at `deadline`; an item is in the wheel once."""
        if self._timer is None:
            self._turned = math.floor(self.now() / self._tick)
            self._schedule()
        # a hair more, or 0.3 / 0.1 would be a slot early
        number = int(deadline / self._tick + 1e-6)
        if number <= self._turned:
            number = self._turned + 1
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = set()
        slot.add(item)
        item.slot = slot

    def discard(self, item: Ticking) -> None:
        if item.slot is not None:
            item.slot.discard(item)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        delay = max(0.0, (self._turned + 1) * self._tick - self.now())
        self._timer = loop.call_later(delay, self.turn)

    def turn(self) -> None:
        """Do what is due, and what a busy loop left undone."""
        now = self.now()
        current = math.floor(now / self._tick + 1e-6)
        while self._turned < current and self._slots:
            self._turned += 1
            due = self._slots.pop(self._turned, None)
            while due:  # a tick may discard others that are due
                due.pop().tick(now)
        self._turned = max(self._turned, current)
        if self._slots:
            self._schedule()
        else:
            self._timer = None
