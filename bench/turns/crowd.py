"""Many connections that only listen: the least a client can be. Knows no call."""

import asyncio
import json
import struct
from collections.abc import Sequence

_HEAD_END = b"\r\n\r\n"


class Listener(asyncio.Protocol):
    """A WebSocket that was opened with `path`; what it says has the mask 0, what it hears is counted."""

    def __init__(self, path: str, token: str) -> None:
        self._path, self._token = path, token
        self.heard = 0
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.spoken_to = asyncio.Event()
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        head = [
            f"GET {self._path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            f"Authorization: Bearer {self._token}",
        ]
        transport.write(("\r\n".join(head) + "\r\n\r\n").encode())

    def data_received(self, data: bytes) -> None:
        if not self.opened.done() and data.startswith(b"HTTP/1.1"):
            if data.startswith(b"HTTP/1.1 101"):
                self.opened.set_result(None)
                data = data.partition(_HEAD_END)[2]
            else:
                self.opened.set_exception(ConnectionRefusedError(data[:300].decode(errors="replace")))
        self.heard += len(data)
        if data:
            self.spoken_to.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set()
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("closed before it was open"))

    def say(self, text: str) -> None:
        body = text.encode()
        head = b"\x81" + (
            bytes([0x80 | len(body)]) if len(body) < 126 else b"\xfe" + struct.pack("!H", len(body))
        )
        self.transport.write(head + bytes(4) + body)


async def listen(port: int, path: str, token: str) -> Listener:
    _, listener = await asyncio.get_running_loop().create_connection(
        lambda: Listener(path, token), "127.0.0.1", port
    )
    await listener.opened
    return listener


async def gathered(port: int, wanted: Sequence[tuple[str, str]], at_once: int = 50) -> list[Listener]:
    """One for each (path, token), some at a time."""
    found: list[Listener] = []
    for start in range(0, len(wanted), at_once):
        some = wanted[start : start + at_once]
        found += await asyncio.gather(*(listen(port, path, token) for path, token in some))
    return found


async def tour(port: int, token: str, rooms: Sequence[str]) -> Listener:
    """A Socket.IO connection that is in all these rooms."""
    listener = await listen(port, "/socket.io/?EIO=4&transport=websocket", token)
    listener.say("40" + json.dumps({"token": token}))
    for room in rooms:
        listener.say("42" + json.dumps(["join", {"session_id": room, "limit": 1}]))
    return listener
