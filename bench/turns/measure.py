"""Goes over all calls, one after the other, and says what each cost. Knows no input."""

import contextlib
import statistics
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from bench.turns.calls import CALLS, DOORS, Dear
from bench.turns.commands import COMMANDS, Input
from bench.turns.probe import Cost
from bench.turns.world import World
from events.catalog import CATALOG
from tests.support.doors import KINDS, Door, enter


@dataclass(frozen=True)
class Asked:
    """One input of one call; `door` where it is a command's. `cost` asks, and measures."""

    call: str
    door: str
    told: str
    cost: Callable[[], Awaitable[Cost]]

    async def median(self, times: int) -> Cost:
        costs = [await self.cost() for _ in range(times)]
        longest = statistics.median(cost.longest for cost in costs)
        return Cost(longest, statistics.median(cost.whole for cost in costs))


def everything(world: World, doors: Collection[str] = KINDS, *, patient: bool = True) -> list[Asked]:
    """Each input of each call, commands at these doors; if not `patient`, without what begins later."""
    found: list[Asked] = []
    for name, inputs in COMMANDS.items():
        speaking = [kind for kind in doors if kind != "rest" or not CATALOG[name].sockets_only]
        for given in inputs:
            found += [
                Asked(name, kind, given.told, _said(world, name, given, kind, patient)) for kind in speaking
            ]
    for (method, path), dear in CALLS.items():
        found += [Asked(f"{method} {path}", "", one.told, _asked(world, one, patient)) for one in dear]
    for door, dear in DOORS.items():
        found += [Asked(door, "", one.told, _asked(world, one, patient)) for one in dear]
    return found


def _said(world: World, name: str, given: Input, kind: str, patient: bool) -> Callable[[], Awaitable[Cost]]:
    async def measured() -> Cost:
        if given.earlier is not None:
            await given.earlier(world)
        async with enter(kind, world.server, given.user, given.home, role=given.role) as door:
            payload = await given.prepared(world, door)
            return await world.probe.cost(_say(door, name, payload), given.lingers * patient)

    return measured


async def _say(door: Door, name: str, payload: dict[str, object]) -> None:
    reply = await door.call(name, **payload)
    if not reply["ok"]:
        raise RuntimeError(f"{name} at {door.kind}: {str(reply)[:300]}")


def _asked(world: World, given: Dear, patient: bool) -> Callable[[], Awaitable[Cost]]:
    async def measured() -> Cost:
        running = given.run(world)
        await anext(running)

        async def rest() -> None:
            with contextlib.suppress(StopAsyncIteration):
                await anext(running)

        cost = await world.probe.cost(rest(), given.lingers * patient)
        async for _ in running:
            pass
        return cost

    return measured
