"""A server on the engine inside the test's own loop, and clients that speak byte by byte."""

import asyncio
import base64
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import socketio as python_socketio
import uvicorn

from server.engine.asgi import Scope
from server.engine.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from server.engine.protocol import WebSocketProtocol
from server.engine.run import uvicorn_config

__all__ = ["BINARY", "CLOSE", "CONTINUATION", "PING", "PONG", "TEXT"]

#: Seconds that anything may take; generous, the machine may be busy.
LIMIT = 20.0


@asynccontextmanager
async def serving(app: Any, **settings: Any) -> AsyncIterator[int]:
    """The port on which uvicorn serves `app` with the engine's protocol classes."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    started = asyncio.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

    server = Server(uvicorn_config(app, lifespan="off", **settings))
    task = asyncio.create_task(server.serve(sockets=[sock]))
    async with asyncio.timeout(LIMIT):
        await started.wait()
    try:
        yield sock.getsockname()[1]
    finally:
        server.should_exit = True
        await task


class QuickApp(python_socketio.ASGIApp):  # type: ignore[misc]  # socketio has no types
    """A server's application that lets WebSockets in at once, as the product does."""

    def at_once(self, scope: Scope, protocol: WebSocketProtocol) -> bool:
        quick: bool = self.engineio_server.at_once(scope, protocol)
        return quick


MASK = b"\x12\x34\x56\x78"


def masked(
    opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK,
    claim: int | None = None,
) -> bytes:  # fmt: skip
    """A client's frame; `claim` another length than the data's, `mask=None` leaves it unmasked."""
    n = len(data) if claim is None else claim
    bit = 0 if mask is None else 0x80
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if n < 126:
        head += bytes([bit | n])
    elif n < 65536:
        head += bytes([bit | 126]) + n.to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + n.to_bytes(8, "big")
    if mask is None:
        return head + data
    key = int.from_bytes((mask * (len(data) // 4 + 1))[: len(data)], "little")
    return head + mask + (int.from_bytes(data, "little") ^ key).to_bytes(len(data), "little")


class Raw:
    """A TCP connection that speaks HTTP and WebSocket as the test tells it to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.close_sent = False

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext | None = None, buffer: int = 0) -> Self:
        """`buffer`: bytes of the kernel's receive buffer, small for a client that is to stall."""
        if not buffer:
            return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=1 << 26))
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return cls(*await asyncio.open_connection(sock=sock, limit=1 << 16))

    @classmethod
    async def websocket(
        cls, port: int, path: str = "/", headers: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None, buffer: int = 0,
    ) -> Self:  # fmt: skip
        """A connection whose upgrade was accepted."""
        self = await cls.connect(port, tls, buffer)
        async with self.kept():
            status, _, _ = await self.upgrade(path, headers)
            assert status == 101, status
        return self

    async def upgrade(
        self, path: str = "/", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        fields = {
            "Host": "127.0.0.1",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
            **(headers or {}),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.send(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        return await self.response()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an HTTP response."""
        async with asyncio.timeout(LIMIT):
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:]) if n}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(lines[0].split(" ")[1]), headers, body

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def chop(self, data: bytes, size: int = 1) -> None:
        """Send in pieces that arrive one by one."""
        for i in range(0, len(data), size):
            self.writer.write(data[i : i + size])
            await self.writer.drain()
            await asyncio.sleep(0)

    def frame(self, opcode: int, data: bytes = b"", **how: Any) -> None:
        self.close_sent |= opcode == CLOSE
        self.send(masked(opcode, data, **how))

    def text(self, data: str) -> None:
        self.frame(TEXT, data.encode())

    async def receive(self) -> tuple[int, bytes]:
        """The server's next frame: opcode and data. Raises EOFError at the connection's end."""
        async with asyncio.timeout(LIMIT):
            try:
                first, n = await self.reader.readexactly(2)
                assert first & 0x80
                assert n < 128
                if n == 126:
                    n = int.from_bytes(await self.reader.readexactly(2), "big")
                elif n == 127:
                    n = int.from_bytes(await self.reader.readexactly(8), "big")
                return first & 15, await self.reader.readexactly(n)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise EOFError from error

    async def next_text(self) -> str:
        """The next text message; Engine.IO's pings are answered."""
        while True:
            opcode, data = await self.receive()
            assert opcode == TEXT, (opcode, data)
            if data != b"2":
                return data.decode()
            self.text("3")

    async def closed(self) -> int | None:
        """Read to the end: the code of the server's Close frame (None without one), and then no more."""
        code = None
        while True:
            try:
                opcode, data = await self.receive()
            except EOFError:
                return code
            if opcode == CLOSE:
                code = int.from_bytes(data[:2], "big") if data else 1005
                if not self.close_sent:
                    self.frame(CLOSE, data[:2])

    async def ended(self) -> None:
        """The server closed the connection, however."""
        async with asyncio.timeout(LIMIT):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                pass

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Closed if what is done meanwhile fails: one failed test is to be one, not those after it, too."""
        try:
            yield
        except BaseException:
            await self.close()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Http(Raw):
    """Long polling over one keep-alive connection."""

    async def request(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        fields = {"Host": "127.0.0.1", **(headers or {})}
        if body or method == "POST":
            fields["Content-Length"] = str(len(body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.send(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        return await self.response()


class Polling:
    """An Engine.IO session by long polling; a GET and a POST may be under way at once."""

    def __init__(self, port: int, path: str = "/socket.io/", headers: dict[str, str] | None = None) -> None:
        self.port, self.path, self.headers = port, path, headers
        self.opening: dict[str, Any] = {}
        self._free: list[Http] = []

    @property
    def target(self) -> str:
        return f"{self.path}?EIO=4&transport=polling&sid={self.opening['sid']}"

    async def open(self) -> Self:
        status, _, body = await self.request("GET", f"{self.path}?EIO=4&transport=polling")
        assert status == 200, (status, body)
        assert body[:1] == b"0"
        self.opening = json.loads(body[1:])
        return self

    async def request(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        http = self._free.pop() if self._free else await Http.connect(self.port)
        answer = await http.request(method, target, body, {**(self.headers or {}), **(headers or {})})
        if answer[1].get("connection") == "close":
            await http.close()
        else:
            self._free.append(http)
        return answer

    async def get(self) -> tuple[int, str]:
        status, _, body = await self.request("GET", self.target)
        return status, body.decode()

    async def packets(self) -> list[str]:
        """What the next GET brings, pings left out (and answered)."""
        while True:
            status, body = await self.get()
            assert status == 200, (status, body)
            found = body.split("\x1e")
            if "2" in found:
                await self.post("3")
            if rest := [packet for packet in found if packet != "2"]:
                return rest

    async def post(self, body: str | bytes) -> tuple[int, str]:
        data = body.encode() if isinstance(body, str) else body
        status, _, answer = await self.request("POST", self.target, data)
        return status, answer.decode()

    async def close(self) -> None:
        for http in self._free:
            await http.close()
        self._free.clear()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def engineio(
    port: int, path: str = "/socket.io/", headers: dict[str, str] | None = None, buffer: int = 0
) -> tuple[Raw, dict[str, Any]]:
    """An Engine.IO session by WebSocket, and its OPEN packet."""
    raw = await Raw.websocket(port, f"{path}?EIO=4&transport=websocket", headers, buffer=buffer)
    async with raw.kept():
        opening = await raw.next_text()
        assert opening[0] == "0"
    return raw, json.loads(opening[1:])


async def socketio(
    port: int,
    auth: Any = None,
    path: str = "/socket.io/",
    headers: dict[str, str] | None = None,
    buffer: int = 0,
) -> tuple[Raw, dict[str, Any]]:
    """A Socket.IO connection by WebSocket, and what its CONNECT was answered with."""
    raw, _ = await engineio(port, path, headers, buffer)
    async with raw.kept():
        raw.text("40" + ("" if auth is None else json.dumps(auth)))
        answer = await raw.next_text()
        assert answer[:2] == "40", answer
    return raw, json.loads(answer[2:])
