"""A request that is answered before its body has come: what is read of it, and that the answer arrives."""

import asyncio
import http.client
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from server.engine import endings
from server.engine.answers import counted
from server.engine.asgi import Receive, Scope, Send
from server.engine.endings import AFTER_ANSWER
from server.engine.http import LINE, HttpProtocol
from server.engine.strangers import Strangers
from tests.engine.kit import LIMIT, Raw, serving

STATUSES = (200, 401, 403, 404, 405, 413, 415, 422, 429, 503)
MIB = 1024 * 1024
#: As much as may come in one read beyond the bound.
READ = 512 * 1024


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    """The status that the path names, without a look at the body."""
    text = b"no, thank you"
    headers = [(b"content-length", b"%d" % len(text))]
    if scope["query_string"]:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": int(scope["path"][1:]), "headers": headers})
    await send({"type": "http.response.body", "body": text})


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Bytes of each piece that came."""
    sizes: list[int] = []
    really = HttpProtocol.data_received

    def counting(self: HttpProtocol, data: bytes) -> None:
        sizes.append(len(data))
        really(self, data)

    monkeypatch.setattr(HttpProtocol, "data_received", counting)
    yield sizes


def head(target: str, how: str, size: int) -> bytes:
    field = f"Content-Length: {size}" if how == "length" else "Transfer-Encoding: chunked"
    return f"POST {target} HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n".encode()


def pieces(how: str, size: int) -> Iterator[bytes]:
    for _ in range(size // 65536):
        yield bytes(65536) if how == "length" else b"10000\r\n" + bytes(65536) + b"\r\n"
    if how == "chunked":
        yield b"0\r\n\r\n"


async def sent_until_closed(raw: Raw, how: str, size: int) -> None:
    try:
        for piece in pieces(how, size):
            raw.send(piece)
            await raw.writer.drain()
    except ConnectionError:
        pass


@pytest.mark.parametrize("target", ["/%d", "/%d?close"])
@pytest.mark.parametrize("how", ["length", "chunked"])
@pytest.mark.parametrize("status", STATUSES)
async def test_little_more_of_it_is_read(
    status: int, how: str, target: str, received: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "AFTER_ANSWER_TIME", 0.2)
    async with serving(answering) as port, await Raw.connect(port) as raw:
        raw.send(head(target % status, how, 64 * MIB))
        sending = asyncio.create_task(sent_until_closed(raw, how, 64 * MIB))
        assert (await raw.response())[0] == status
        await raw.ended()
        await sending
        assert sum(received) < AFTER_ANSWER + READ


@pytest.mark.parametrize("how", ["length", "chunked"])
async def test_a_body_that_ends_soon_leaves_the_connection_as_it_was(how: str) -> None:
    async with serving(answering) as port, await Raw.connect(port) as raw:
        for status in STATUSES:
            raw.send(head(f"/{status}", how, MIB // 2))
            assert (await raw.response())[0] == status
            for piece in pieces(how, MIB // 2):
                raw.send(piece)


async def test_requests_behind_it_in_the_line_are_answered() -> None:
    async with serving(answering) as port, await Raw.connect(port) as raw:
        for status in STATUSES:
            raw.send(head(f"/{status}", "length", 65536) + bytes(65536))
        raw.send(head("/404", "length", 64 * MIB))
        for status in (*STATUSES, 404):
            assert (await raw.response())[0] == status


async def test_a_body_that_does_not_go_on_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "AFTER_ANSWER_TIME", 0.1)
    async with serving(answering) as port, await Raw.connect(port) as raw:
        raw.send(head("/401", "length", 10) + b"12345")
        assert (await raw.response())[0] == 401
        await raw.ended()


async def test_a_connection_at_rest_after_such_a_body_ends_as_all_do(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering, timeout_keep_alive=0.1) as port, await Raw.connect(port) as raw:
        raw.send(head("/401", "length", 10) + b"12345")
        assert (await raw.response())[0] == 401
        raw.send(b"67890")
        await raw.ended()


@pytest.mark.parametrize("target", ["/413", "/413?close"])
async def test_who_sends_all_before_reading_has_the_answer(target: str) -> None:
    """As `http.client` does it, and most others: a reset would come before the answer is read."""

    def ask(port: int) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
        connection.request("POST", target, body=bytes(2 * MIB))
        response = connection.getresponse()
        try:
            return response.status, response.read()
        finally:
            connection.close()

    async with serving(answering) as port:
        for _ in range(5):
            assert await asyncio.to_thread(ask, port) == (413, b"no, thank you")


async def test_garbage_in_the_rest_of_a_body_has_no_answer_of_its_own() -> None:
    async with serving(answering) as port, await Raw.connect(port) as raw:
        raw.send(head("/404", "chunked", 0))
        assert (await raw.response())[0] == 404
        raw.send(b"no length\r\n")
        async with asyncio.timeout(LIMIT):
            assert await raw.reader.read() == b""


@pytest.mark.parametrize("target", ["/413", "/413?close"])
async def test_over_tls(
    target: str, certificate: Path, received: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "AFTER_ANSWER_TIME", 0.2)
    trusting = ssl.create_default_context(cafile=str(certificate))
    trusting.check_hostname = False
    async with serving(answering, ssl_certfile=str(certificate)) as port:
        raw = await Raw.connect(port, trusting)
        raw.send(head(target, "length", 64 * MIB))
        sending = asyncio.create_task(sent_until_closed(raw, "length", 64 * MIB))
        assert (await raw.response())[0] == 413
        await raw.ended()
        await sending
        raw.writer.transport.abort()
        assert sum(received) < AFTER_ANSWER + READ


async def test_a_stop_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "AFTER_ANSWER_TIME", 0.2)
    async with serving(answering) as port:
        raw = await Raw.connect(port)
        raw.send(head("/404", "length", 64 * MIB))
        assert (await raw.response())[0] == 404
    async with raw:
        await raw.ended()


# --- between two requests

GET = b"GET /200 HTTP/1.1\r\nHost: x\r\n\r\n"


class Counting:
    """`answering`, with places for strangers."""

    def __init__(self) -> None:
        self.strangers = Strangers(100, str)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert len(self.strangers) == 1  # until somebody counts what it asks
        counted(scope)
        assert len(self.strangers) == 0
        await answering(scope, receive, send)


async def test_a_line_end_is_no_request(received: list[int]) -> None:
    app = Counting()
    async with serving(app, timeout_keep_alive=1) as port, await Raw.connect(port) as raw:
        raw.send(GET)
        assert (await raw.response())[0] == 200
        pieces = 0
        with suppress(ConnectionError):
            # A stranger until it is closed; what comes all the time changes nothing.
            while (len(app.strangers) == 1 or received[1:] == []) and pieces < 400:
                pieces += 1
                raw.send(b"\r\n")
                await asyncio.sleep(0.05)
        assert pieces < 100
        await raw.ended()
    assert len(app.strangers) == 0


async def test_who_has_his_answer_is_a_stranger_again() -> None:
    app = Counting()
    async with serving(app) as port, await Raw.connect(port) as raw:
        for _ in range(3):
            raw.send(GET)
            assert (await raw.response())[0] == 200
            assert len(app.strangers) == 1
        raw.send(head("/401", "length", 10) + b"12345")
        assert (await raw.response())[0] == 401
        raw.send(b"67890")
        async with asyncio.timeout(LIMIT):
            while len(app.strangers) == 0:
                await asyncio.sleep(0.01)
        newcomers = [await Raw.connect(port) for _ in range(100)]  # the oldest goes
        await raw.ended()
        for one in newcomers:
            one.writer.transport.abort()


class Held:
    """Answers when it is let; `asked` is how many requests have come so far."""

    def __init__(self) -> None:
        self.asked, self.let = 0, asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        await self.let.wait()
        await answering(scope, receive, send)


async def test_whose_request_nobody_counts_stays_a_stranger() -> None:
    app, held = Counting(), Held()

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/401":
            await held(scope, receive, send)
        else:
            await app(scope, receive, send)

    asked.strangers = app.strangers  # type: ignore[attr-defined]
    async with serving(asked) as port, await Raw.connect(port) as raw:
        raw.send(GET + head("/401", "length", 0))  # one that is counted first
        assert (await raw.response())[0] == 200
        async with asyncio.timeout(LIMIT):
            while not held.asked:
                await asyncio.sleep(0.01)
        assert len(app.strangers) == 1
        newcomers = [await Raw.connect(port) for _ in range(100)]
        await raw.ended()
        for one in newcomers:
            one.writer.transport.abort()
        held.let.set()


async def test_few_requests_wait_in_line(received: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    begun = 0
    really = HttpProtocol.on_message_begin

    def counting(self: HttpProtocol) -> None:
        nonlocal begun
        begun += 1
        really(self)

    monkeypatch.setattr(HttpProtocol, "on_message_begin", counting)
    app = Held()
    async with serving(app) as port, await Raw.connect(port) as raw:
        raw.send(GET * 2000)
        async with asyncio.timeout(LIMIT):
            while not received:
                await asyncio.sleep(0.01)
        app.let.set()
        for _ in range(LINE + 1):
            assert (await raw.response())[0] == 200
        status, headers, _ = await raw.response()
        assert (status, headers["connection"]) == (429, "close")
        await raw.ended()
    assert begun == LINE + 2 and app.asked == LINE + 1


async def test_a_full_line_is_answered() -> None:
    async with serving(answering) as port, await Raw.connect(port) as raw:
        for _ in range(3):
            raw.send(GET * (LINE + 1))
            for _ in range(LINE + 1):
                assert (await raw.response())[0] == 200


async def test_what_is_no_request_is_told_in_its_turn() -> None:
    app = Held()
    async with serving(app) as port, await Raw.connect(port) as raw:
        raw.send(GET + b"no request\r\n\r\n")
        app.let.set()
        async with asyncio.timeout(LIMIT):
            answer = await raw.reader.read()
        # A 400 would be the first one's answer: that one has its own, and the connection ends with it.
        assert answer.startswith(b"HTTP/1.1 200") and answer.count(b"HTTP/1.1") == 1
