"""Leases of a node in the database, while it cannot reach Redis. Knows no Redis."""

from collections.abc import Sequence
from contextlib import suppress

from events.clock import Clock, when
from storage.errors import StorageError
from storage.held import Holds

#: Seconds after which what was held in an outage is cleared away.
FORGET_EVERY = 600.0


class Outage:
    """Holds leases in the database while the node cannot reach Redis, for `lease` seconds each time: other
    nodes do not take it for dead, and its streams go on."""

    def __init__(self, held: Holds, clock: Clock, lease: float) -> None:
        self._held, self._clock, self._lease = held, clock, lease
        self._nodes: list[str] = []

    async def hold_nodes(self, nodes: Sequence[str]) -> None:
        self._nodes = [f"node:{node}" for node in nodes]
        await self._held.hold(self._nodes, when(self._clock() + self._lease))

    async def let_go(self) -> None:
        """The nodes reach Redis again: nobody is to vouch for one that dies now."""
        nodes, self._nodes = self._nodes, []
        if nodes:
            with suppress(StorageError):  # it ends by itself
                await self._held.let_go(nodes)

    async def hold_streams(self, streams: Sequence[str]) -> None:
        await self._held.hold([f"stream:{name}" for name in streams], when(self._clock() + self._lease))

    async def live_nodes(self, nodes: Sequence[str]) -> set[str]:
        return await self._live("node:", nodes)

    async def live_streams(self, streams: Sequence[str]) -> set[str]:
        return await self._live("stream:", streams)

    async def _live(self, kind: str, names: Sequence[str]) -> set[str]:
        try:
            held = await self._held.held([kind + name for name in names], when(self._clock()))
        except StorageError:
            return set()  # nobody can hold anything there just now
        return {name.removeprefix(kind) for name in held}

    async def forget(self) -> None:
        await self._held.forget(when(self._clock() - FORGET_EVERY))
