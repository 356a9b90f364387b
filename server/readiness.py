"""Whether this node should be given work, and what fails. Knows no route."""

import asyncio

from server.node.build import Node

#: Seconds until a part that does not answer counts as failing.
PATIENCE = 3.0


class Readiness:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._asking: asyncio.Task[str] | None = None

    async def checks(self) -> dict[str, str]:
        """By part: "ok" (draining: "no"), or what fails."""
        node = self._node
        bus = "redis" if node.delivering.outage is not None else "bus"
        checks = {"database": "ok", bus: "ok", "draining": "no"}
        checks["database"] = await self._database()
        if not node.delivering.delivery.live:
            checks[bus] = "deaf" if node.joins.healer.deaf else "away"
        if node.admission.draining:
            checks["draining"] = "yes"
        return checks

    def clock(self) -> str:
        return self._node.stores.time.state()

    async def _database(self) -> str:
        """One question to the database for all who ask at a time: anybody may, as often as they like."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> str:
        database = self._node.stores.database
        try:
            async with asyncio.timeout(PATIENCE):
                return await database.check()
        except TimeoutError:
            return database.trouble or "failing"
