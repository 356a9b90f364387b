"""Ends connections so that their clients know why, or come back by themselves."""

import asyncio
import random

from events.errors import ChatError, Draining, Unavailable
from events.event import to_json
from events.room import Connection
from server.engine.rooms import Client
from server.services import Services
from server.transports.sse import EventStream
from server.transports.websocket import RawSocket


def close(services: Services, conn: Connection, error: ChatError) -> None:
    """End a connection with an error that its client is told."""
    if isinstance(conn, Client):
        if not isinstance(error, Unavailable):
            conn.emit("error", to_json(error.as_dict()))
        conn.close()
    elif isinstance(conn.sink, RawSocket | EventStream):
        conn.sink.end(error)


async def drain(services: Services) -> None:
    """Close every connection, spread over a second, so that clients do not come back all at once."""
    conns = list(services.hub.connections.values())
    random.shuffle(conns)
    pause = min(1.0, len(conns) / 2000)
    step = max(1, len(conns) // 20)
    for at in range(0, len(conns), step):
        for conn in conns[at : at + step]:
            close(services, conn, Draining())
        await asyncio.sleep(pause / 20)
