"""Frames and packets that ask for nothing: no bucket counts them, and who says many waits."""

import asyncio

import pytest

from server.engine import asides, parser
from server.engine.stock import Server
from tests.engine.kit import CONTINUATION, PING, PONG, TEXT, Polling, QuickApp, Raw, masked, serving, socketio

#: Of those that come in a test, and the seconds that they cost: twenty are free.
COUNT, COST = 100, 0.08
SAY = '421["say"]'


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asides, "EACH", 0.002)
    monkeypatch.setattr(asides, "OWED", 0.04)
    monkeypatch.setattr(parser, "AT_A_TIME", 100)  # a few of them in each turn


def answering() -> QuickApp:
    sio = Server(namespaces=["/"])
    sio.on("say", lambda sid: "heard")
    return QuickApp(sio)


def packets(text: str) -> bytes:
    return masked(TEXT, text.encode()) * COUNT


async def heard(raw: Raw) -> None:
    while await raw.receive() != (TEXT, b'431["heard"]'):
        pass


@pytest.mark.parametrize(
    "many",
    [
        masked(PING, b"x") * COUNT,
        masked(PONG) * COUNT,
        packets("3"),
        packets("6"),
        packets("439[]"),
        packets("439[" + "1," * 1000 + "1]"),
        packets("41/elsewhere,"),
        packets('42/elsewhere,["say"]'),
        packets("40/elsewhere,"),
        packets("40"),
    ],
    ids=["ping", "pong", "3", "6", "ack", "long ack", "41", "42", "40", "40 again"],
)
async def test_who_says_many_waits(many: bytes) -> None:
    time = asyncio.get_running_loop().time
    async with serving(answering()) as port:
        raw, _ = await socketio(port)
        async with raw:
            began = time()
            raw.send(many)
            raw.text(SAY)
            await heard(raw)
            assert time() - began >= COST


async def test_who_says_little_in_each_fragment_waits() -> None:
    time = asyncio.get_running_loop().time
    async with serving(answering()) as port:
        raw, _ = await socketio(port)
        async with raw:
            began = time()
            raw.frame(TEXT, SAY[:1].encode(), fin=False)
            raw.send(masked(CONTINUATION, fin=False) * COUNT)
            raw.frame(CONTINUATION, SAY[1:].encode())
            await heard(raw)
            assert time() - began >= COST


@pytest.mark.parametrize("aside", ["3", "6", "439[]", "41/elsewhere,"])
async def test_who_posts_many_waits(aside: str) -> None:
    time = asyncio.get_running_loop().time
    async with serving(answering()) as port, Polling(port) as session:
        await session.post("40")
        await session.packets()
        began = time()
        assert await session.post("\x1e".join([aside] * COUNT)) == (200, "ok")
        assert time() - began >= COST


async def test_who_says_few_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a page does: a pong for each ping, an acknowledgement of what crossed its going."""
    monkeypatch.setattr(asides, "EACH", 1000.0)
    monkeypatch.setattr(asides, "OWED", 10_000.0)
    async with serving(answering()) as port:
        raw, _ = await socketio(port)
        async with raw:
            raw.send(masked(PING, b"x") + masked(PONG) + masked(TEXT, b"439[]") + masked(TEXT, b"41/x,"))
            raw.text(SAY)
            await heard(raw)
