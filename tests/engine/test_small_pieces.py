"""Requests in countless small pieces: what one read costs does not grow with how many there are."""

from collections import Counter
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.engine import http
from server.engine.asgi import Receive, Scope, Send
from tests.engine.kit import Raw, serving

CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunks(size: int, count: int) -> bytes:
    return b"%x\r\n%b\r\n" % (size, b"x" * size) * count


async def counting(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the size of the body."""
    size, more = 0, True
    while more:
        event = await receive()
        size, more = size + len(event.get("body", b"")), event.get("more_body", False)
    body = b"%d" % size
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often uvicorn is told something."""
    calls: Counter[str] = Counter()

    def watch(name: str) -> None:
        plain = getattr(HttpToolsProtocol, name)

        def watched(*given: Any) -> Any:
            calls[name] += 1
            return plain(*given)

        monkeypatch.setattr(HttpToolsProtocol, name, watched)

    for name in ("on_body", "on_header", "data_received"):
        watch(name)
    return calls


async def test_a_body_in_countless_short_chunks_is_refused() -> None:
    """Whoever sends them: no token is asked for before."""
    async with serving(counting) as port:
        async with await Raw.connect(port) as raw:
            raw.send(CHUNKED + chunks(1, 10 * http.SHORT_CHUNKS) + END)
            assert (await raw.response())[0] == 400
            await raw.ended()
        async with await Raw.connect(port) as raw:
            raw.send(CHUNKED + chunks(1, http.SHORT_CHUNKS - 1) + END)  # its end is one, too
            assert (await raw.response())[2] == b"%d" % (http.SHORT_CHUNKS - 1)


async def test_the_chunks_of_a_read_are_added_at_once(called: Counter[str]) -> None:
    """One by one each costs as much as all before it."""
    async with serving(counting) as port, await Raw.connect(port) as raw:
        for _ in range(2):  # the next request of the connection is counted anew
            called.clear()
            raw.send(CHUNKED + chunks(http.SHORT, 5000) + END)
            assert (await raw.response())[2] == b"%d" % (http.SHORT * 5000)
            assert called["on_body"] <= called["data_received"]


@pytest.mark.parametrize(
    "before", [b"GET / HTTP/1.1\r\nHost: x\r\n", CHUNKED + b"0\r\n"], ids=["head", "trailers"]
)
async def test_no_more_lines_are_read_than_a_head_has(before: bytes, called: Counter[str]) -> None:
    async with serving(counting) as port, await Raw.connect(port) as raw:
        raw.send(before + b"a:b\r\n" * 40_000)
        assert (await raw.response())[0] == 431
        await raw.ended()
    assert called["on_header"] <= http.LINES + 10
