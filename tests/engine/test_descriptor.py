"""Writing to the socket past the transport: nothing overtakes, and nothing is written to another's socket."""

import asyncio
import os
import socket
import ssl
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from socketio import ASGIApp

from events.outbox import Flusher, Sink
from server.engine.asgi import Receive, Scope, Send
from server.engine.frames import frame
from server.engine.parser import TooBig
from server.engine.protocol import WebSocketProtocol
from server.engine.stock import Server
from server.transports.rawsocket import RawSocket
from tests.engine.kit import PING, PONG, TEXT, Raw, serving, socketio
from tests.engine.test_protocol import Application, taking_over


class Reader(Sink):
    """Keeps what its descriptor did not take."""

    def __init__(self, flusher: Flusher, fd: int) -> None:
        super().__init__(flusher)
        self.fd = fd
        self.rest = b""

    def write(self, data: bytes) -> None:
        self.rest += data
        self.fd = -1


async def test_what_the_socket_does_not_take_is_the_transports() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    gone = os.open(os.devnull, os.O_RDONLY)  # refuses every write
    flusher = Flusher()
    reader, broken = Reader(flusher, ours.fileno()), Reader(flusher, gone)
    pieces = [bytes([n]) * 100_000 for n in range(20)]
    for piece in pieces:
        reader.push(piece)
        broken.push(piece)
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    ours.close()
    os.close(gone)
    taken = b""
    while data := theirs.recv(1 << 20):
        taken += data
    theirs.close()
    assert taken
    assert reader.rest
    assert taken + reader.rest == b"".join(pieces)
    assert broken.rest == b"".join(pieces)


@pytest.mark.parametrize("how", ["the peer hangs up", "close", "abort"])
async def test_a_taker_has_it_only_while_the_connection_is_its_own(how: str) -> None:
    async with taking_over() as (port, takers), await Raw.websocket(port) as raw:
        raw.text("hello")
        assert await raw.receive() == (TEXT, b"hello")
        handler = await takers.get()
        assert os.fstat(handler.fd)
        if how == "the peer hangs up":
            await raw.close()
            await handler.over
        else:
            raw.text(how)
            await raw.ended()
        assert handler.fd == handler.protocol.descriptor() == -1


async def test_what_waits_in_the_transport_is_not_overtaken() -> None:
    async with taking_over() as (port, takers), await Raw.websocket(port) as raw:
        raw.text("hello")
        assert await raw.receive() == (TEXT, b"hello")
        handler = await takers.get()
        ours, open_fd = handler.protocol, handler.fd
        transport = ours.transport
        for write in (lambda: ours.ping_received(b""), lambda: ours.write(b"")):
            ours.transport = Full()  # type: ignore[assignment]
            write()
            assert handler.fd == ours.descriptor() == -1
            ours.transport = transport
            handler.fd = ours.descriptor()
            assert handler.fd == open_fd


async def test_a_sessions_own_writes_keep_that_order_too() -> None:
    sio = Server()
    async with serving(ASGIApp(sio)) as port:
        raw, _ = await socketio(port)
        async with raw:
            session = next(iter(sio.engine.sessions.values()))
            assert session.protocol is not None
            lent, transport = session.fd, session.protocol.transport
            assert lent >= 0
            session.protocol.transport = Full()  # type: ignore[assignment]
            session.write(b"")
            assert session.fd == -1
            session.tick(sio.engine.context.wheel.now())
            assert session.fd == -1
            session.protocol.transport = transport
            session.tick(sio.engine.context.wheel.now())
            assert session.fd == lent


async def test_a_raw_sockets_writes_do_so_as_well() -> None:
    async with taking_over() as (port, takers), await Raw.websocket(port) as raw:
        raw.text("hello")
        assert await raw.receive() == (TEXT, b"hello")
        handler = await takers.get()
        ours = handler.protocol
        door: Any = SimpleNamespace(services=SimpleNamespace(hub=SimpleNamespace(flusher=Flusher())))
        ours.handler = reader = RawSocket(door, ours, "sess_x", 0.0)
        reader.fd, transport = handler.fd, ours.transport
        ours.transport = Full()  # type: ignore[assignment]
        reader.write(b"")
        assert reader.fd == -1
        ours.transport, ours.handler = transport, handler


class Full:
    """A transport in which something waits."""

    def write(self, data: bytes) -> None: ...

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 1


async def test_there_is_none_under_tls(certificate: Path) -> None:
    app = Application({})
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    serve = serving(app, ssl_certfile=str(certificate))
    async with serve as port, await Raw.websocket(port, tls=context) as raw:
        raw.text("hello")
        assert await raw.receive() == (TEXT, b"hello")
        handler = await app.takers.get()
        assert handler.fd == handler.protocol.descriptor() == -1


class Ending(asyncio.Protocol):
    """Looks whether its socket is still its own when it hears of the connection's end."""

    def __init__(self, end: str) -> None:
        self.end = end
        self.lost: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.fd = transport.get_extra_info("socket").fileno()
        self.inode = os.fstat(self.fd).st_ino
        self.transport = transport
        transport.write(b"hello")
        assert transport.get_write_buffer_size() == 0  # written at once
        if self.end in ("close", "abort"):
            getattr(transport, self.end)()
        elif self.end == "write":
            transport.write(b"x" * 10_000_000)
            assert transport.get_write_buffer_size() > 0

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(os.fstat(self.fd).st_ino == self.inode)


@pytest.mark.parametrize("end", ["close", "abort", "eof", "reset", "write"])
def test_uvloop_closes_a_socket_only_after_connection_lost(end: str) -> None:
    """server/engine/protocol.py, `descriptor`: else a frame could go to whoever got the number next."""

    async def main() -> bool:
        made: list[Ending] = []

        def protocol() -> Ending:
            made.append(Ending(end))
            return made[0]

        loop = asyncio.get_running_loop()
        server = await loop.create_server(protocol, "127.0.0.1", 0)
        with socket.socket() as peer:
            peer.setblocking(False)
            await loop.sock_connect(peer, server.sockets[0].getsockname())
            await loop.sock_recv(peer, 5)
            if end in ("reset", "write"):
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            async with asyncio.timeout(20):
                kept = await made[0].lost
        server.close()
        return kept

    assert uvloop.run(main())


class Speaker(Sink):
    """Takes a connection over, through a small send buffer, and says what it is told to."""

    def __init__(self, flusher: Flusher, protocol: WebSocketProtocol) -> None:
        super().__init__(flusher)
        self.protocol = protocol
        self.over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        buffer = protocol.transport.get_extra_info("socket")
        buffer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        protocol.take_over(self)

    def write(self, data: bytes) -> None:
        self.protocol.write(data)

    def text(self, data: bytes) -> None: ...

    def binary(self, data: bytes) -> None: ...

    def pong(self, data: bytes) -> None: ...

    def too_big(self, error: TooBig) -> None: ...

    def pause_writing(self) -> None:
        self.pause(1 << 30)

    def resume_writing(self) -> None:
        self.resume()

    def lost(self, code: int) -> None:
        self.over.set_result(code)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_reader_who_pings_and_stalls_gets_every_frame_whole_and_in_order(run: Any) -> None:
    async def main() -> tuple[int, int]:
        speakers: list[Speaker] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            speakers.append(Speaker(Flusher(), scope["extensions"]["parley.protocol"]["protocol"]))

        said = heard = pongs = left = 0
        async with serving(app) as port, await Raw.websocket(port, buffer=4096) as slow:
            speaker = speakers[0]
            for size in range(0, 6000, 60):
                speaker.fd = speaker.protocol.descriptor()
                for n in range(60):
                    speaker.push(frame(TEXT, b"%d %s" % (said, b"x" * size)))
                    said += 1
                    if n % 2:
                        slow.frame(PING, b"y" * 100)
                    await asyncio.sleep(0)
                left += speaker.fd < 0
                while heard < said:
                    opcode, data = await slow.receive()
                    if opcode == PONG:
                        assert data == b"y" * 100
                        pongs += 1
                    else:
                        assert (opcode, data) == (TEXT, b"%d %s" % (heard, b"x" * size))
                        heard += 1
        return left, pongs

    left, pongs = run(main())
    assert left  # now and then something waited in the transport
    assert pongs
