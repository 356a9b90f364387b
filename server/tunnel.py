"""A WebSocket for another node's session: its bytes pass through, unread, both ways, once that node said 101.

Knows no frames, no session and no proof.
"""

import asyncio
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from server.engine.protocol import WebSocketProtocol

#: Bytes of an answer until its head must have ended, and of a refusal as a whole.
ANSWER_LIMIT: Final = 16_384
#: Seconds for a node's answer: it has nothing to wait for.
ANSWER_TIMEOUT: Final = 10.0
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]{1,5})(?:\r|\Z)", re.IGNORECASE)
_STATUS: Final = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2})[ \r]")


class Pipe(asyncio.Protocol):
    """One end: what comes in leaves at the other, no faster than that takes it; what comes before there is
    another is kept in `early`. `news` is set with each piece of that, and when either end is gone."""

    def __init__(self, news: asyncio.Event) -> None:
        self.transport: Any = None
        self.other: Pipe | None = None
        self.early = bytearray()
        self.closed = False
        self.news = news

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            if not self.other.transport.is_closing():
                self.other.transport.write(data)
            return
        self.early += data
        if len(self.early) > ANSWER_LIMIT:
            self.transport.abort()
        self.news.set()

    def pause_writing(self) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.news.set()
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.close()

    def shutdown(self) -> None:
        """The server is stopping: the client comes back by itself, to another node."""
        self.transport.close()


async def tunnel(
    address: str, target: bytes, headers: Iterable[tuple[bytes, bytes]], protocol: WebSocketProtocol,
    patience: float,
) -> None:  # fmt: skip
    """Connect `protocol`'s client with the node at `address`; returns when either end is gone, or when that
    node's refusal has been answered. `patience`: seconds to connect.

    Raises OSError or TimeoutError if there is no answer of the node: nothing has been answered then.
    """
    owner = await _connected(address, patience)
    try:
        lines = [b"%b: %b\r\n" % pair for pair in headers]
        owner.transport.write(b"GET %b HTTP/1.1\r\n%b\r\n" % (target, b"".join(lines)))
        async with asyncio.timeout(ANSWER_TIMEOUT):
            status = await _status(owner)
            if status != 101:
                await _refused(owner, status, protocol)
                return
        protocol.known()  # there its session is counted
        await _joined(owner, protocol)
    finally:
        owner.transport.close()


async def _connected(address: str, patience: float) -> Pipe:
    url = urlsplit(address)
    secure = url.scheme == "https"
    if url.hostname is None:
        raise OSError("no host in the node's address")
    async with asyncio.timeout(patience):
        _, owner = await asyncio.get_running_loop().create_connection(
            lambda: Pipe(asyncio.Event()),
            url.hostname,
            url.port or (443 if secure else 80),
            ssl=secure or None,
        )
    return owner


async def _status(owner: Pipe) -> int:
    """The answer's status, once its head is there."""
    while b"\r\n\r\n" not in owner.early:
        if owner.closed:
            raise ConnectionError("closed before it answered")
        owner.news.clear()
        await owner.news.wait()
    found = _STATUS.match(owner.early)
    if found is None:
        raise ConnectionError("no HTTP")
    return int(found[1])


async def _refused(owner: Pipe, status: int, protocol: WebSocketProtocol) -> None:
    """Told to the client, once; both connections end with that."""
    head, _, body = bytes(owner.early).partition(b"\r\n\r\n")
    found = _LENGTH.search(head)
    size = int(found[1]) if found else 0
    while len(body) < size and not owner.closed:
        owner.news.clear()
        await owner.news.wait()
        body = bytes(owner.early).partition(b"\r\n\r\n")[2]
    if 400 <= status <= 599:
        protocol.refuse(status, [(b"content-type", b"application/json")] if size else (), body[:size])
    else:
        protocol.refuse(502)


async def _joined(owner: Pipe, protocol: WebSocketProtocol) -> None:
    client = Pipe(owner.news)
    client.transport = protocol.transport
    said = protocol.hand_over(client)
    client.other, owner.other = owner, client
    try:
        if client.transport.is_closing() or owner.closed:
            return
        client.transport.write(bytes(owner.early))
        if said:
            owner.transport.write(said)
        while not client.closed and not owner.closed:
            owner.news.clear()
            await owner.news.wait()
    finally:
        client.transport.close()
        protocol.server_state.connections.discard(client)
