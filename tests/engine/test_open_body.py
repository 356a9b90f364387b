"""Pieces of a body that leave past the application's layers."""

import asyncio

from server.engine.answers import OpenBody, open_body
from server.engine.asgi import Receive, Scope, Send
from tests.engine.kit import LIMIT, Raw, serving

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Streaming:
    """An answer of pieces that go both ways; `bodies`: what was found before its head and behind."""

    def __init__(self) -> None:
        self.bodies: list[OpenBody | None] = []
        self.gone = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.bodies.append(open_body(scope))
        length = [(b"content-length", b"3")] if scope["path"] == "/length" else []
        await send({"type": "http.response.start", "status": 200, "headers": length})
        body = open_body(scope)
        self.bodies.append(body)
        if body is not None:
            assert body.takes
            body.write(b"one ")
        await send({"type": "http.response.body", "body": b"two", "more_body": True})
        if body is not None:
            body.write(b" three" * 5)
        if scope["path"] == "/wait":
            while (await receive())["type"] != "http.disconnect":
                pass
            assert body is not None and not body.takes
            body.write(b"to nobody")
            self.gone.set()
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        if body is not None:
            assert not body.takes
            body.write(b"to nobody")


async def test_pieces_stand_in_their_order_and_the_connection_goes_on() -> None:
    app = Streaming()
    async with serving(app) as port, await Raw.connect(port) as raw:
        for _ in range(2):
            raw.send(GET)
            status, headers, _ = await raw.response()
            assert (status, headers["transfer-encoding"]) == (200, "chunked")
            async with asyncio.timeout(LIMIT):
                told = await raw.reader.readuntil(b"\r\n0\r\n\r\n")
            assert told == b"4\r\none \r\n3\r\ntwo\r\n1e\r\n" + b" three" * 5 + b"\r\n0\r\n\r\n"
    assert [body is None for body in app.bodies] == [True, False] * 2


async def test_a_body_of_a_known_length_has_no_way_past() -> None:
    app = Streaming()
    async with serving(app) as port, await Raw.connect(port) as raw:
        raw.send(GET.replace(b"/", b"/length", 1))
        assert (await raw.response())[2] == b"two"
        raw.send(GET.replace(b"GET", b"HEAD"))
        status, _, _ = await raw.response()
        assert status == 200
    assert app.bodies == [None] * 4


async def test_who_has_gone_is_told_nothing() -> None:
    app = Streaming()
    async with serving(app) as port:
        async with await Raw.connect(port) as raw:
            raw.send(GET.replace(b"/", b"/wait", 1))
            assert (await raw.response())[0] == 200
        async with asyncio.timeout(LIMIT):
            await app.gone.wait()
