"""Handshakes of TLS: whose they are, and how long they may take."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from server.engine import endings
from server.engine.asgi import Receive, Scope, Send
from server.engine.strangers import Strangers
from tests.engine.kit import LIMIT, Raw, serving
from tests.engine.test_takers import trusting

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Answering:
    def __init__(self, most: int = 100) -> None:
        self.strangers = Strangers(most, str)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": scope["scheme"].encode()})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x00\x80", GET])
async def test_one_that_does_not_end_is_a_strangers_and_has_the_time_of_a_head(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(endings, "HEAD_TIMEOUT", 0.5)
    app = Answering()
    async with serving(app, ssl_certfile=str(certificate)) as port, await Raw.connect(port) as raw:
        raw.send(said)
        if said != GET:  # which is no TLS
            await until(lambda: len(app.strangers) == 1)
        await raw.ended()
        await until(lambda: len(app.strangers) == 0)


async def test_the_oldest_goes_where_too_many_have_not_ended(certificate: Path) -> None:
    app = Answering(most=10)
    async with serving(app, ssl_certfile=str(certificate)) as port:
        silent = [await Raw.connect(port) for _ in range(12)]
        await silent[0].ended()
        async with await Raw.connect(port, trusting()) as newcomer:
            newcomer.send(GET)
            assert (await newcomer.response())[0] == 204
        for one in silent:
            await one.close()
        await until(lambda: len(app.strangers) == 0)


async def test_a_stop_does_not_wait_for_one(certificate: Path) -> None:
    app = Answering()
    async with asyncio.timeout(LIMIT):
        async with serving(app, ssl_certfile=str(certificate)) as port:
            raw = await Raw.connect(port)
            await until(lambda: len(app.strangers) == 1)
        await raw.ended()
        await raw.close()
