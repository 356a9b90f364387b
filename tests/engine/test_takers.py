"""Answers that their clients do not take, or take slowly: how long they are kept, and for whom they count."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from events.held import Held
from server.engine import takers
from server.engine.answers import counted, once_taken
from server.engine.asgi import Receive, Scope, Send
from server.engine.strangers import HEAD, Strangers
from tests.engine.kit import LIMIT, Raw, serving
from tests.engine.test_protocol import UPGRADE

MIB = 1024 * 1024
SIZE = 8 * MIB  # more than the kernel keeps for a client
PIECE = 64 * 1024


class Answering:
    """An answer of SIZE bytes, whole or in pieces, by length or chunked; `left` when it has been taken."""

    def __init__(self, *, in_pieces: bool = False, close: bool = False, known: str | None = None) -> None:
        self.in_pieces, self.close, self.known = in_pieces, close, known
        self.written = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/short":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            return await send({"type": "http.response.body", "body": b""})
        if self.known:
            counted(scope, self.known)
        headers = [(b"content-length", b"%d" % SIZE), *([(b"connection", b"close")] if self.close else [])]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            for _ in range(SIZE // PIECE if self.in_pieces else 0):
                await send({"type": "http.response.body", "body": bytes(PIECE), "more_body": True})
            await send({"type": "http.response.body", "body": b"" if self.in_pieces else bytes(SIZE)})
            self.written.set()
        finally:
            once_taken(scope, self.left.set)


ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def asking(port: int, tls: ssl.SSLContext | None = None) -> Raw:
    """A client with little room, which has asked and reads nothing yet."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    name = "localhost" if tls else None
    raw = Raw(*await asyncio.open_connection(sock=sock, limit=1 << 16, ssl=tls, server_hostname=name))
    raw.send(ASK)
    return raw


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def happens(event: asyncio.Event) -> None:
    async with asyncio.timeout(LIMIT):
        await event.wait()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takers, "SPAN", 0.3)


async def taken(raw: Raw) -> int:
    """Bytes that come until the connection ends."""
    got = 0
    async with asyncio.timeout(LIMIT):
        try:
            while piece := await raw.reader.read(MIB):
                got += len(piece)
        except (ConnectionError, ssl.SSLError):
            pass
    return got


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("in_pieces", [False, True])
async def test_who_takes_nothing_is_cut_off(in_pieces: bool, close: bool, soon: None) -> None:
    app = Answering(in_pieces=in_pieces, close=close)
    async with serving(app) as port, await asking(port) as raw:
        await happens(app.left)
        assert await taken(raw) < SIZE


async def test_who_takes_nothing_over_tls_is_cut_off(certificate: Path, soon: None) -> None:
    app = Answering(in_pieces=True)
    async with serving(app, ssl_certfile=str(certificate)) as port, await asking(port, trusting()) as raw:
        await happens(app.left)
        assert await taken(raw) < SIZE


@pytest.mark.parametrize(("in_pieces", "close"), [(True, False), (False, True)])
async def test_who_takes_it_slowly_has_it_all(
    in_pieces: bool, close: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several spans, by the bytes that leave and not by how long it takes in all."""
    monkeypatch.setattr(takers, "SPAN", 0.8)
    monkeypatch.setattr(takers, "LEAST", 1)
    app = Answering(in_pieces=in_pieces, close=close)
    loop = asyncio.get_running_loop()
    async with serving(app, timeout_keep_alive=60) as port, await asking(port) as raw:
        began, got = loop.time(), 0
        async with asyncio.timeout(3 * LIMIT):
            head = await raw.reader.readuntil(b"\r\n\r\n")
            assert b"200" in head.split(b"\r\n")[0]
            while got < SIZE:
                piece = await raw.reader.read(MIB // 2)
                assert piece, got
                got += len(piece)
                if loop.time() - began < 3 * takers.SPAN:
                    await asyncio.sleep(takers.SPAN / 10)
        await happens(app.left)
        if not close:
            raw.send(b"GET /short HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await raw.response())[0] == 204


async def test_it_is_under_way_until_it_has_left() -> None:
    app = Answering()
    async with serving(app) as port, await asking(port) as raw:
        await happens(app.written)
        assert not app.left.is_set()
        async with asyncio.timeout(LIMIT):
            await raw.reader.readuntil(b"\r\n\r\n")
            await raw.reader.readexactly(SIZE)
        await happens(app.left)


async def test_it_is_under_way_until_its_client_goes() -> None:
    app = Answering()
    async with serving(app) as port:
        async with await asking(port):
            await happens(app.written)
            assert not app.left.is_set()
        await happens(app.left)


async def test_a_request_behind_it_waits_until_it_has_left() -> None:
    app = Answering()
    async with serving(app) as port, await asking(port) as raw:
        await happens(app.written)
        raw.send(b"GET /short HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(LIMIT):
            await raw.reader.readuntil(b"\r\n\r\n")
            await raw.reader.readexactly(SIZE)
        assert (await raw.response())[0] == 204


@pytest.mark.parametrize("all_written", [False, True])
async def test_no_websocket_takes_its_connection_over(all_written: bool) -> None:
    app = Answering(in_pieces=not all_written)
    async with serving(app) as port, await asking(port) as raw:
        if all_written:
            await happens(app.written)
        raw.send(UPGRADE)
        got = bytearray()
        async with asyncio.timeout(LIMIT):
            while piece := await raw.reader.read(MIB):
                got += piece
        await happens(app.left)
    statuses = [answer[:3] for answer in got.split(b"HTTP/1.1 ")[1:]]
    assert statuses == ([b"200", b"400"] if all_written else [b"200"]) and len(got) > SIZE


async def test_a_websocket_behind_it_keeps_no_answer_from_its_end() -> None:
    app = Answering(in_pieces=True)
    async with serving(app) as port:
        async with await asking(port) as raw:
            raw.send(UPGRADE)
            await raw.reader.readexactly(1)
            assert not app.written.is_set()  # it waits for its reader, as ever
        await happens(app.left)


def counting(app: Answering) -> tuple[Any, Strangers]:
    """`app` where strangers are counted."""

    class App:
        strangers = Strangers(2 * SIZE // HEAD, lambda address: address)
        __call__ = staticmethod(app.__call__)

    return App(), App.strangers


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("in_pieces", [False, True])
async def test_what_waits_weighs_where_nobody_counts_it(in_pieces: bool, close: bool) -> None:
    app = Answering(in_pieces=in_pieces, close=close)
    counted_by, strangers = counting(app)
    async with serving(counted_by) as port:
        async with await asking(port):
            await until(lambda: strangers.weight > (PIECE // HEAD if in_pieces else SIZE // HEAD // 4))
        await happens(app.left)
        await until(lambda: strangers.weight == 0)


async def test_the_oldest_answer_goes_where_too_many_wait() -> None:
    app = Answering(close=True)
    counted_by, strangers = counting(app)
    async with serving(counted_by) as port, await asking(port) as first:
        await happens(app.written)
        others = []
        while not app.left.is_set():
            others.append(await asking(port))
            app.written.clear()
            await happens(app.written)
            assert strangers.weight <= strangers.most
            assert len(others) < 10
        await first.ended()
        for one in others:
            await one.close()


async def test_what_somebody_counts_weighs_no_more_than_any_connection() -> None:
    app = Answering(known="alice")
    counted_by, strangers = counting(app)
    async with serving(counted_by) as port, await asking(port):
        await happens(app.written)
        await until(lambda: strangers.weight == 1)


@pytest.mark.parametrize("in_pieces", [False, True])
async def test_what_waits_is_its_accounts(in_pieces: bool) -> None:
    """Of all answers together; the account that has most waiting loses the one that waits the longest."""
    app = Answering(in_pieces=in_pieces, known="alice")

    class App:
        held = Held(3 * (PIECE if in_pieces else SIZE))
        __call__ = staticmethod(app.__call__)

    async with serving(App()) as port, await asking(port) as first:
        await until(lambda: App.held.of("alice") > PIECE // 2)
        others = []
        while not app.left.is_set():
            others.append(await asking(port))
            await until(lambda: App.held.of("alice") > (len(others) + 1) * PIECE // 2 or app.left.is_set())
            assert App.held.weight <= App.held.most
            assert len(others) < 10
        await first.ended()
        for one in others:
            await one.close()
        await until(lambda: App.held.weight == 0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_a_slow_reader_takes_shows_in_the_kernel_first() -> None:
    """Its buffer of megabytes takes more only when a third of it is free."""
    arrived: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(8 * SIZE))
        arrived.set_result(writer)
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1 << 16)
        transport = (await arrived).transport
        waits = takers.left(transport)
        assert waits >= transport.get_write_buffer_size() > 0
        async with asyncio.timeout(LIMIT):
            while takers.left(transport) > waits - PIECE:
                await reader.readexactly(1024)
        transport.abort()
        writer.close()
