"""Closes every connection of a node that stops."""

import asyncio
import random

from events.errors import Draining
from server.services import Services


async def drain(services: Services) -> None:
    """Close every connection, spread over a second, so that clients do not come back all at once."""
    conns = list(services.hub.connections.values())
    random.shuffle(conns)
    pause = min(1.0, len(conns) / 2000)
    step = max(1, len(conns) // 20)
    for at in range(0, len(conns), step):
        for conn in conns[at : at + step]:
            conn.end(Draining())
        await asyncio.sleep(pause / 20)
