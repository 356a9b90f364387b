"""A connection without a socket: bytes in, bytes out, for fuzzing and small measurements."""

import asyncio
from typing import Any

import socketio

from server.engine.protocol import WebSocketProtocol

HEAD = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n"
    b"connection: upgrade\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
)


class Transport:
    """Keeps what is written until it is closed."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False
        self.reading = True

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        if not self.closed:
            self.written += data

    def write_eof(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name.endswith("name") else default


class Connection:
    """A WebSocket to a `socketio.AsyncServer`."""

    def __init__(self, sio: socketio.AsyncServer) -> None:
        app = socketio.ASGIApp(sio)

        class Config:
            loaded_app = staticmethod(app)
            ws_max_size = 1 << 20
            root_path = ""

        class State:
            default_headers: tuple[()] = ()
            connections: set[Any] = set()  # noqa: RUF012
            tasks: set[Any] = set()  # noqa: RUF012

        self.transport = Transport()
        self.protocol = WebSocketProtocol(Config, State, {})
        self.protocol.connection_made(self.transport)  # type: ignore[arg-type]

    async def open(self) -> None:
        self.protocol.data_received(HEAD)
        await settle()

    def feed(self, data: bytes) -> None:
        if not self.transport.closed:
            self.protocol.data_received(data)

    def lose(self) -> None:
        self.transport.closed = True
        self.protocol.connection_lost(None)


async def settle(turns: int = 12) -> None:
    """Let everything that is ready to run, run."""
    for _ in range(turns):
        await asyncio.sleep(0)
