"""A request has one reading, however its head arrives, and one that could have two is refused and closed."""

import asyncio

import pytest

from server.engine.asgi import Receive, Scope, Send
from server.engine.heads import Head, ambiguous, asks_for_websocket, has_body
from tests.engine.kit import Raw, serving
from tests.engine.test_protocol import UPGRADE

LINES = UPGRADE.split(b"\r\n")[1:-2]
#: A second request on the same connection: whoever answers it has kept the connection.
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"


async def told(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a WebSocket 403, anything else 200 with its kind."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def upgrade(*more: bytes, without: bytes = b"none", body: bytes = b"") -> bytes:
    lines = [line for line in LINES if not line.lower().startswith(without.lower() + b":")]
    return b"\r\n".join([b"GET / HTTP/1.1", *lines, *more, b"", b""]) + body


def ordinary(*more: bytes) -> bytes:
    return b"\r\n".join([b"GET / HTTP/1.1", b"Host: x", *more, b"", b""])


async def status(port: int, request: bytes, cut: int) -> tuple[int, bool]:
    """The answer's status, and whether the connection was closed after it."""
    async with await Raw.connect(port) as raw:
        raw.send(request[:cut])
        await raw.writer.drain()
        if cut < len(request):
            await asyncio.sleep(0.01)  # until it has been read: nothing tells
            raw.send(request[cut:])
        found, _, _ = await raw.response()
        raw.send(NEXT)
        try:
            async with asyncio.timeout(5):
                return found, await raw.reader.read(1) == b""
        except ConnectionError:
            return found, True


AMBIGUOUS = {
    "another upgrade behind": upgrade(b"Upgrade: h2c"),
    "another upgrade before": upgrade(b"Upgrade: h2c", b"Upgrade: websocket", without=b"upgrade"),
    "the same upgrade twice": upgrade(b"Upgrade: websocket"),
    "two hosts": upgrade(b"Host: y"),
    "two keys": upgrade(b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
    "two versions": upgrade(b"Sec-WebSocket-Version: 8"),
    "two origins": upgrade(b"Origin: http://a", b"Origin: http://b"),
    "two credentials": upgrade(b"Authorization: Basic eA==", b"Authorization: Bearer x"),
    "a body": upgrade(b"Content-Length: 4", body=b"body"),
    "a chunked body": upgrade(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "ordinary, two hosts": ordinary(b"Host: y"),
    "ordinary, two credentials": ordinary(b"Authorization: Basic eA==", b"authorization: Bearer x"),
    "ordinary, two lengths": ordinary(b"Content-Length: 0", b"Content-Length: 0"),
    "ordinary, a length and an encoding": ordinary(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "ordinary, two encodings": ordinary(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    "ordinary, two upgrades without a connection": ordinary(b"Upgrade: websocket", b"Upgrade: h2c"),
}


@pytest.mark.parametrize("how", AMBIGUOUS)
async def test_what_could_be_read_twice_is_refused_and_closed(how: str) -> None:
    request = AMBIGUOUS[how]
    async with serving(told) as port:
        for cut in (len(request), 20, request.index(b"\r\n\r\n") + 2):
            assert await status(port, request, cut) == (400, True), cut


ONE_READING = {
    "an upgrade": (upgrade(), 403),
    "spaces around": (upgrade(b"Upgrade: \t websocket \t", without=b"upgrade"), 403),
    "in capitals": (upgrade(b"UPGRADE: WebSocket", b"CONNECTION: UPGRADE", without=b"upgrade"), 403),
    "a list over two lines": (upgrade(b"Connection: keep-alive"), 403),
    "an empty body": (upgrade(b"Content-Length: 0"), 403),
    "protocols over two lines": (upgrade(b"Sec-WebSocket-Protocol: a", b"Sec-WebSocket-Protocol: b"), 403),
    "another protocol": (upgrade(b"Upgrade: h2c", without=b"upgrade"), 200),
    "a choice of protocols": (upgrade(b"Upgrade: websocket, h2c", without=b"upgrade"), 200),
    "part of a token": (upgrade(b"Connection: x-upgrade", without=b"connection"), 200),
    "no connection line": (upgrade(without=b"connection"), 200),
}


@pytest.mark.parametrize("how", ONE_READING)
async def test_a_head_in_pieces_is_read_as_one_in_one_piece(how: str) -> None:
    request, wanted = ONE_READING[how]
    async with serving(told) as port:
        for cut in (len(request), 20, request.index(b"\r\n\r\n") + 2):
            assert (await status(port, request, cut))[0] == wanted, cut


def test_lists_are_no_contradiction() -> None:
    cookies, forwarded = [(b"cookie", b"a=b"), (b"cookie", b"c=d")], [(b"x-forwarded-for", b"a")] * 2
    many = Head([*cookies, *forwarded])
    assert (
        many.first == {b"cookie": b"a=b", b"x-forwarded-for": b"a"} and many.listed(b"cookie") == b"a=b,c=d"
    )
    assert not ambiguous(many)
    assert not asks_for_websocket(many) and not has_body(many)
