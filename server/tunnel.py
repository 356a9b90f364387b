"""A WebSocket for another node's session: its bytes passed through, unread, both ways.

Knows no frames, no session and no signature.
"""

import asyncio
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

#: Bytes of an answer's head, until which it must have ended.
HEAD_LIMIT = 16_384


class Pipe(asyncio.Protocol):
    """One end: what comes in leaves at the other, no faster than that takes it."""

    def __init__(self, closed: asyncio.Event) -> None:
        self.transport: Any = None
        self.other: Pipe | None = None
        self._closed = closed
        self.early: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
            if sum(map(len, self.early)) > HEAD_LIMIT:
                self.transport.abort()
        elif not self.other.transport.is_closing():
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.close()


async def tunnel(
    address: str, target: str, headers: Iterable[tuple[bytes, bytes]], protocol: Any, patience: float
) -> None:
    """Connect `protocol`'s client with the node at `address`; returns when either end is gone.

    Raises OSError or TimeoutError if the node cannot be reached: nothing has been answered then.
    """
    url = urlsplit(address)
    secure = url.scheme == "https"
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()
    async with asyncio.timeout(patience):
        _, owner = await loop.create_connection(
            lambda: Pipe(closed),
            url.hostname or "127.0.0.1",
            url.port or (443 if secure else 80),
            ssl=secure or None,
        )
    client = Pipe(closed)
    client.transport = protocol.transport
    lines = [b"%b: %b\r\n" % pair for pair in headers]
    owner.transport.write(b"GET %b HTTP/1.1\r\n%b\r\n" % (target.encode("latin-1"), b"".join(lines)))
    client.other, owner.other = owner, client
    for data in owner.early:
        client.transport.write(data)
    client.transport.set_protocol(client)
    try:
        await closed.wait()
    finally:
        owner.transport.close()
        client.transport.set_protocol(protocol)
        if client.transport.is_closing():
            protocol.connection_lost(None)
        else:
            client.transport.close()
