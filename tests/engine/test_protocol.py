"""The WebSocket and HTTP protocol classes under uvicorn: handshake, ASGI, take-over, limits, closing, TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.engine import asides, connection, endings, frames, http, protocol
from server.engine.asgi import INBOX_LIMIT, Receive, Scope, Send
from server.engine.parser import TooBig
from tests.engine.kit import BINARY, CLOSE, LIMIT, PING, PONG, TEXT, Http, Raw, masked, serving

#: A whole upgrade request.
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Taker:
    """Writes down what it is told, and echoes text."""

    fd = -1

    def __init__(self, scope: Scope) -> None:
        self.protocol: protocol.WebSocketProtocol = scope["extensions"]["parley.protocol"]["protocol"]
        self.said: list[Any] = []
        self.over: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def text(self, data: bytes) -> None:
        self.said.append(data)
        if data == b"close":
            self.protocol.close(4008, "as asked")
        elif data == b"abort":
            self.protocol.abort()
        else:
            self.protocol.write(frames.frame(frames.TEXT, data))

    def binary(self, data: bytes) -> None:
        self.said.append(data)

    def pong(self, data: bytes) -> None:
        self.said.append(("pong", data))

    def too_big(self, error: TooBig) -> None: ...

    def holds(self, by: int) -> None: ...

    def pause_writing(self) -> None:
        self.said.append("pause")

    def resume_writing(self) -> None:
        self.said.append("resume")

    def lost(self, code: int) -> None:
        self.over.set_result(code)


class Application:
    """Hands every connection to a `Taker`: at once, or from its task."""

    at_once_too = False

    def __init__(self, how: dict[str, Any]) -> None:
        self.how = how
        self.takers: asyncio.Queue[Taker] = asyncio.Queue()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.take(scope)

    def at_once(self, scope: Scope, protocol: protocol.WebSocketProtocol) -> bool:
        if self.at_once_too:
            self.take(scope)
        return self.at_once_too

    def take(self, scope: Scope) -> None:
        taker = Taker(scope)
        taker.protocol.take_over(taker, **self.how)
        self.takers.put_nowait(taker)


@pytest.fixture(params=["task", "at once"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Application, "at_once_too", request.param == "at once")


@asynccontextmanager
async def taking_over(**how: Any) -> AsyncIterator[tuple[int, "asyncio.Queue[Taker]"]]:
    app = Application(how)
    async with serving(app) as port:
        yield port, app.takers


async def asgi_echo(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        body = b""
        while (event := await receive())["type"] == "http.request":
            body += event["body"]
            if not event["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
        return
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "headers": [(b"x-extra", b"yes")]})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


# --- handshake


async def test_the_accept_key_is_the_rfcs() -> None:
    async with taking_over() as (port, _), await Raw.connect(port) as raw:
        status, headers, _ = await raw.upgrade(headers={"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
        assert (status, headers["sec-websocket-accept"]) == (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        assert (headers["upgrade"], headers["connection"].lower()) == ("websocket", "upgrade")
        assert "sec-websocket-extensions" not in headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Key": "!!!!!!!!!!!!!!!!!!!!!!=="}, 400),
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Extensions": "permessage-deflate"}, 101),
    ],
)
async def test_handshake_headers(headers: dict[str, str], status: int) -> None:
    async with taking_over() as (port, _), await Raw.connect(port) as raw:
        found, answer, _ = await raw.upgrade(headers=headers)
        assert found == status
        assert answer.get("sec-websocket-version") == ("13" if status == 426 else None)


async def test_the_scope() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await receive()
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][1]})
        await send({"type": "websocket.close", "code": 4001, "reason": "why"})

    async with serving(app) as port, await Raw.connect(port) as raw:
        offered = {"Sec-WebSocket-Protocol": "a, b", "X-Forwarded-For": "10.0.0.1"}
        status, headers, _ = await raw.upgrade("/a%20b/c?x=1&y=%20", offered)
        assert (status, headers["sec-websocket-protocol"]) == (101, "b")
        assert await raw.receive() == (CLOSE, b"\x0f\xa1why")
    scope = scopes[0]
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b/c", b"/a%20b/c", b"x=1&y=%20")
    assert (scope["scheme"], scope["client"][0], scope["server"]) == ("ws", "127.0.0.1", ("127.0.0.1", port))
    assert (b"x-forwarded-for", b"10.0.0.1") in scope["headers"]


@pytest.mark.parametrize("pieces", [1, 2])
async def test_requests_as_the_rfcs_allow_them(pieces: int) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)

    async def status(request: bytes) -> int:
        async with await Raw.connect(port) as raw:
            cut = len(request) // pieces
            raw.send(request[:cut])
            if pieces > 1:
                await raw.writer.drain()
                await asyncio.sleep(0.02)  # until it has been read: nothing tells
                raw.send(request[cut:])
            return (await raw.response())[0]

    async with serving(app) as port:
        # the absolute form (RFC 9112 section 3.2.2); 500, because this application accepts nothing
        assert await status(UPGRADE.replace(b"GET /", b"GET http://x/a?b=c")) == 500
        assert (scopes[0]["path"], scopes[0]["query_string"]) == ("/a", b"b=c")
        # lines of one name are one list (RFC 9110 section 5.3)
        for order in (b"Connection: keep-alive\r\n%s", b"%s\r\nConnection: keep-alive"):
            line = b"Connection: upgrade"
            assert await status(UPGRADE.replace(line, order.replace(b"%s", line))) == 500
        # but for the key (RFC 6455 section 11.3.1)
        key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        assert await status(UPGRADE.replace(key, key + key)) == 400


async def test_a_request_line_of_12_kilobytes_is_served_and_one_of_20_refused_at_once() -> None:
    async with taking_over() as (port, _):
        async with await Raw.connect(port) as raw:
            assert (await raw.upgrade("/?token=" + "x" * 12_000))[0] == 101
        for upgrade in (True, False):
            async with await Raw.connect(port) as raw:
                raw.send(b"GET /?token=" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n")
                raw.send(b"Upgrade: websocket\r\nConnection: upgrade\r\n" if upgrade else b"")
                assert (await raw.response())[0] == 431
                await raw.ended()


async def test_a_head_without_end_is_refused() -> None:
    async with serving(asgi_echo) as port, await Raw.connect(port) as raw:
        raw.send(b"GET / HTTP/1.1\r\n")
        for i in range(400):
            raw.send(b"X-%d: %s\r\n" % (i, b"y" * 100))
        assert (await raw.response())[0] == 431
        await raw.ended()


async def test_a_header_without_end_is_refused() -> None:
    async with serving(asgi_echo) as port, await Raw.connect(port) as raw:
        raw.send(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(400):
            raw.send(b"y" * 100)
        assert (await raw.response())[0] == 431
        await raw.ended()


async def test_trailers_without_end_are_refused() -> None:
    whole = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        size = 0
        while (event := await receive())["type"] == "http.request":
            size += len(event["body"])
            if size == 10_000:
                whole.set()

    async with serving(app) as port, await Raw.connect(port) as raw:
        raw.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        raw.send((b"19\r\n" + b"x" * 25 + b"\r\n") * 400)
        async with asyncio.timeout(LIMIT):
            await whole.wait()  # what comes in one piece with the body is not counted
        raw.send(b"0\r\n")
        for i in range(400):
            raw.send(b"X-%d: %s\r\n" % (i, b"y" * 100))
        assert (await raw.response())[0] == 431
        await raw.ended()


@pytest.mark.parametrize("how", [b"Content-Length: 10", b"Transfer-Encoding: chunked"])
async def test_a_body_that_stays_away_is_not_waited_for(how: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "BODY_TIMEOUT", 0.1)
    async with serving(asgi_echo) as port, await Raw.connect(port) as raw:
        raw.send(b"POST / HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n" % how)
        raw.send(b"1\r\nx\r\n")
        assert (await raw.response())[0] == 408
        await raw.ended()


async def test_a_body_that_stays_away_does_not_hold_up_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "LAST_BODY_TIMEOUT", 0.1)
    begun = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await asgi_echo(scope, receive, send)

    async with serving(app) as port:
        raw = await Raw.connect(port)
        raw.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        await begun.wait()
    async with raw:
        assert (await raw.response())[0] == 408


async def test_a_refusal_is_no_piece_of_another_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "BODY_TIMEOUT", 0.1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"streaming", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"

    async with serving(app) as port, await Raw.connect(port) as raw:
        raw.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        async with asyncio.timeout(LIMIT):
            answer = await raw.reader.read()
        assert answer.count(b"HTTP/1.1") == 1
        assert answer.endswith(b"streaming\r\n")


async def test_a_body_that_was_not_asked_for_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "BODY_TIMEOUT", 0.05)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.3)  # many time-outs
        await asgi_echo(scope, receive, send)

    async with serving(app) as port, await Raw.connect(port) as raw:
        raw.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert (await raw.response())[0] == 100
        raw.send(b"12345")
        assert (await raw.response())[0] == 200


async def test_a_body_in_pieces_that_goes_on_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "BODY_TIMEOUT", 0.5)
    async with serving(asgi_echo) as port, await Raw.connect(port) as raw:
        raw.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n")
        for _ in range(30):
            raw.send(b"x")
            await asyncio.sleep(0.05)  # three times the time-out, in all
        assert (await raw.response())[0] == 200


async def test_a_large_body_is_no_large_head() -> None:
    async with serving(asgi_echo) as port, await Http.connect(port) as raw:
        assert isinstance(raw, Http)
        for _ in range(3):
            assert (await raw.request("POST", "/", b"x" * 200_000))[0] == 200


async def test_slow_heads_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "HEAD_TIMEOUT", 0.1)
    async with serving(asgi_echo) as port:
        for beginning in (b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: b"):
            async with await Raw.connect(port) as raw:
                raw.send(beginning)
                assert (await raw.response())[0] == 408
                await raw.ended()
        async with await Http.connect(port) as raw:  # the second head of a connection
            assert isinstance(raw, Http)
            assert (await raw.request("GET", "/"))[0] == 200
            raw.send(b"GET / HTTP/1.1\r\n")
            assert (await raw.response())[0] == 408


async def test_pipelined_requests_still_work() -> None:
    async with serving(asgi_echo) as port, await Raw.connect(port) as raw:
        raw.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        for _ in range(3):
            assert (await raw.response())[0] == 200
        many = http.LINE + 1  # together longer than one head may be
        long = b"GET / HTTP/1.1\r\nHost: x\r\nx: " + b"x" * (http.HEAD_LIMIT // 5) + b"\r\n\r\n"
        raw.send(long * many + b"GET / HTTP/1.1\r\n")
        for _ in range(many):
            assert (await raw.response())[0] == 200
        raw.send(b"Host: x\r\n\r\n")
        assert (await raw.response())[0] == 200


async def test_pieces_of_several_requests_are_no_large_head() -> None:
    async with serving(asgi_echo) as port, await Raw.connect(port) as raw:
        post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30000\r\n\r\n" + b"x" * 30_000
        raw.send(post + b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert (await raw.response())[0] == 200
        raw.send(b"\r\n")
        assert (await raw.response())[0] == 200


async def test_behind_a_large_head_nothing_is_answered() -> None:
    async with serving(asgi_echo) as port, await Raw.connect(port) as raw:
        large = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n"
        raw.send(large + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await raw.response())[0] == 431
        await raw.ended()


async def test_trailers_are_no_headers() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        seen.extend(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with serving(app) as port, await Raw.connect(port) as raw:
        raw.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        raw.send(b"0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
        assert (await raw.response())[0] == 200
    assert dict(seen) == {b"host": b"x", b"transfer-encoding": b"chunked"}


async def test_an_application_that_fails_at_once_is_an_error() -> None:
    class Failing(Application):
        def at_once(self, scope: Scope, protocol: protocol.WebSocketProtocol) -> bool:
            raise ValueError("on purpose")

    async with serving(Failing({})) as port, await Raw.connect(port) as raw:
        assert (await raw.upgrade())[0] == 500
        await raw.ended()


# --- ASGI


async def test_asgi_echo() -> None:
    async with serving(asgi_echo) as port, await Raw.connect(port) as raw:
        status, headers, _ = await raw.upgrade()
        assert (status, headers["x-extra"]) == (101, "yes")
        raw.text("é✓")
        raw.frame(BINARY, b"\x00\xff")
        raw.frame(PING, b"?")
        got = sorted([await raw.receive() for _ in range(3)])
        assert got == [(TEXT, "é✓".encode()), (BINARY, b"\x00\xff"), (PONG, b"?")]
        raw.frame(CLOSE, b"\x03\xe9")
        assert await raw.closed() == 1001


async def test_asgi_disconnect_tells_the_code() -> None:
    codes: asyncio.Queue[int] = asyncio.Queue()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        codes.put_nowait((await receive())["code"])
        with pytest.raises(OSError, match="gone"):
            await send({"type": "websocket.send", "text": "late"})

    async with serving(app) as port:
        async with await Raw.websocket(port) as raw:
            raw.frame(CLOSE, b"\x0f\xa2bye")
            assert await raw.closed() == 4002
        assert await codes.get() == 4002
        async with await Raw.websocket(port) as raw:
            pass
        assert await codes.get() == 1006


@pytest.mark.parametrize(
    ("events", "status", "body"),
    [
        ([{"type": "websocket.close"}], 403, b""),
        (
            [
                {"type": "websocket.http.response.start", "status": 429, "headers": [(b"retry-after", b"3")]},
                {"type": "websocket.http.response.body", "body": b"too ", "more_body": True},
                {"type": "websocket.http.response.body", "body": b"many"},
            ],
            429, b"too many",
        ),
        ([], 500, b""),
    ],
)  # fmt: skip
async def test_asgi_refusal(events: list[dict[str, Any]], status: int, body: bytes) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for event in events:
            await send(event)

    async with serving(app) as port, await Raw.connect(port) as raw:
        found, headers, answer = await raw.upgrade()
        assert (found, answer) == (status, body)
        assert headers.get("retry-after") == ("3" if status == 429 else None)
        await raw.ended()


async def test_asgi_application_that_fails() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/later":
            await receive()
            await send({"type": "websocket.accept"})
        raise ValueError("on purpose")

    async with serving(app) as port:
        async with await Raw.connect(port) as raw:
            assert (await raw.upgrade())[0] == 500
        async with await Raw.websocket(port, "/later") as raw:
            assert await raw.closed() == 1011


async def test_asgi_inbox_is_bounded() -> None:
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await go.wait()
        for i in range(2000):
            assert (await receive())["text"] == str(i)
        await send({"type": "websocket.send", "text": "all"})

    async with serving(app) as port, await Raw.websocket(port) as raw:
        for i in range(2000):
            raw.text(str(i))
        go.set()
        assert await raw.receive() == (TEXT, b"all")


# --- take-over


async def test_take_over_answers_the_request_together_with_the_first_frame() -> None:
    first = frames.frame(frames.TEXT, b"hello")
    async with (
        taking_over(first=first, subprotocol="bearer") as (port, takers),
        await Raw.connect(port) as raw,
    ):
        _, headers, _ = await raw.upgrade(headers={"Sec-WebSocket-Protocol": "bearer, t0ken"})
        assert headers["sec-websocket-protocol"] == "bearer"
        assert await raw.receive() == (TEXT, b"hello")
        raw.text("x")
        assert await raw.receive() == (TEXT, b"x")
        raw.frame(PONG, b"?")
        raw.frame(BINARY, b"\xff")
        raw.frame(CLOSE, b"\x0f\xa0")
        assert await raw.closed() == 4000
        taker = await takers.get()
        assert await taker.over == 4000
        assert taker.said == [b"x", ("pong", b"?"), b"\xff"]


async def test_take_over_after_accept_hands_on_what_came_before() -> None:
    takers: asyncio.Queue[Taker] = asyncio.Queue()
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await go.wait()
        taker = Taker(scope)
        taker.protocol.take_over(taker)
        takers.put_nowait(taker)

    async with serving(app) as port, await Raw.websocket(port) as raw:
        for i in range(INBOX_LIMIT):
            raw.text(str(i))
        raw.frame(PING)
        assert await raw.receive() == (PONG, b"")
        go.set()
        for i in range(INBOX_LIMIT):
            assert await raw.receive() == (TEXT, str(i).encode())


async def test_take_over_of_a_connection_that_is_gone() -> None:
    takers: asyncio.Queue[Taker] = asyncio.Queue()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        assert (await receive())["type"] == "websocket.disconnect"
        taker = Taker(scope)
        taker.protocol.take_over(taker)
        takers.put_nowait(taker)

    async with serving(app) as port:
        raw = await Raw.connect(port)
        raw.send(UPGRADE)
        await raw.writer.drain()
        await raw.close()
        async with asyncio.timeout(LIMIT):
            assert await (await takers.get()).over == 1006


async def test_lost_without_a_close_frame() -> None:
    async with taking_over() as (port, takers):
        async with await Raw.websocket(port):
            taker = await takers.get()
        assert await taker.over == 1006


async def test_a_fault_of_the_peer_is_lost_with_our_code() -> None:
    async with taking_over() as (port, takers), await Raw.websocket(port) as raw:
        raw.send(masked(TEXT, b"fine") + masked(3, b"not fine"))
        assert await raw.receive() == (TEXT, b"fine")
        assert await raw.closed() == 1002
        assert await (await takers.get()).over == 1002


async def test_own_close_waits_for_the_peer_and_says_nothing_more() -> None:
    async with taking_over() as (port, takers), await Raw.websocket(port) as raw:
        raw.text("close")
        assert await raw.receive() == (CLOSE, b"\x0f\xa8as asked")
        raw.text("still talking")
        raw.frame(CLOSE, b"\x0f\xa8")
        await raw.ended()
        taker = await takers.get()
        assert taker.said == [b"close"]
        assert not taker.over.done()


async def test_a_peer_that_does_not_answer_the_close_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT", 0.1)
    async with taking_over() as (port, _), await Raw.websocket(port) as raw:
        raw.text("close")
        assert await raw.receive() == (CLOSE, b"\x0f\xa8as asked")
        await raw.ended()


async def test_nothing_follows_an_abort() -> None:
    async with taking_over() as (port, takers), await Raw.websocket(port) as raw:
        raw.send(masked(TEXT, b"abort") + masked(TEXT, b"more") * 3 + masked(PING, b"x") + masked(CLOSE))
        taker = await takers.get()
        await raw.ended()
        assert taker.said == [b"abort"]
        assert not taker.over.done()


async def test_abort() -> None:
    async with taking_over() as (port, _), await Raw.websocket(port) as raw:
        raw.text("abort")
        await raw.ended()


async def test_writing_pauses_while_the_peer_does_not_read() -> None:
    async with taking_over() as (port, takers), await Raw.websocket(port, buffer=4096) as raw:
        taker = await takers.get()
        chunk = frames.frame(frames.BINARY, bytes(65536))
        for _ in range(200):
            taker.protocol.transport.write(chunk)
        assert taker.said == ["pause"]
        for _ in range(200):
            assert await raw.receive() == (BINARY, bytes(65536))
        raw.text("done")
        assert await raw.receive() == (TEXT, b"done")
        assert taker.said == ["pause", "resume", b"done"]


async def test_pings_of_a_peer_that_does_not_read_cost_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asides, "EACH", 0.0)
    async with taking_over() as (port, takers), await Raw.websocket(port, buffer=4096) as raw:
        taker = await takers.get()
        waits = taker.protocol.transport.get_write_buffer_size
        while "pause" not in taker.said:
            taker.protocol.write(frames.frame(BINARY, bytes(65536)))
        before = waits()
        raw.send(masked(PING, b"x" * 120) * 4000)
        raw.frame(BINARY, b"all of them")
        async with asyncio.timeout(LIMIT):
            while b"all of them" not in taker.said:
                await asyncio.sleep(0.005)
        assert waits() <= before
        raw.text("done")
        while (await raw.receive()) != (TEXT, b"done"):
            pass


async def test_a_server_that_stops_says_so() -> None:
    async with taking_over() as (port, takers):
        raw = await Raw.websocket(port)
        taker = await takers.get()
        closing = asyncio.create_task(raw.closed())
    assert await closing == 1012
    assert await taker.over == 1012
    await raw.close()


async def test_a_fragment_of_a_head_in_every_piece_size() -> None:
    async with taking_over() as (port, _):
        for size in (1, 3, 50):
            async with await Raw.connect(port) as raw:
                await raw.chop(UPGRADE, size)
                assert (await raw.response())[0] == 101


# --- TLS


async def test_tls(certificate: Path) -> None:
    schemes: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        schemes.append(scope["scheme"])
        taker = Taker(scope)
        taker.protocol.take_over(taker)

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with serving(app, ssl_certfile=str(certificate)) as port:
        async with await Raw.websocket(port, tls=context) as raw:
            raw.text("x" * 100_000)
            assert await raw.receive() == (TEXT, b"x" * 100_000)
            raw.frame(CLOSE, b"\x03\xe8")
            assert await raw.closed() == 1000
        async with await Raw.websocket(port, tls=context) as raw:
            raw.frame(TEXT, b"\xff")
            assert await raw.closed() == 1007
    assert schemes == ["wss", "wss"]
