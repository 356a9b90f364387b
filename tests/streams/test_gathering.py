"""Chunks that come fast are let gather; nothing else is made to wait."""

import asyncio
from collections.abc import Iterator

import pytest

from events import outbox
from events.event import Event, Kind, chunk_event
from events.outbox import LONG, PAUSE, Flusher, Sink
from server.transports.codecs import SocketIOCodec

CHUNK = chunk_event("room", "stream", 0, ["piece"], 0.0)
TYPING = Event("room", "typing", b"{}", Kind.VOLATILE)
CODEC = SocketIOCodec()


class Reader(Sink):
    """Keeps what it is given."""

    def __init__(self, flusher: Flusher) -> None:
        super().__init__(flusher)
        self.got: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.got.append(data)


class Time:
    """A clock that only sleeping and `passes` move."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept = 0

    def passes(self, seconds: float) -> None:
        self.now += seconds

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    time = Time()
    monkeypatch.setattr(outbox, "sleep", time.sleep)
    monkeypatch.setattr(outbox, "monotonic", lambda: time.now)
    yield time


async def turn(flusher: Flusher, sinks: list[Reader], *events: Event) -> None:
    for event in events:
        flusher.fan_out(sinks, CODEC.encode(event), event, CODEC)
    await asyncio.sleep(0)


async def test_chunks_that_come_fast_gather(time: Time) -> None:
    flusher = Flusher()
    reader = Reader(flusher)
    await turn(flusher, [reader], CHUNK)
    assert time.slept == 0
    time.passes(PAUSE / 2)
    await turn(flusher, [reader], CHUNK)
    assert time.slept == 1
    await turn(flusher, [reader], CHUNK, CHUNK)  # what gathered meanwhile: worth another moment
    assert time.slept == 2
    assert len(reader.got) == 3  # and everything was written before the loop slept


async def test_few_chunks_are_carried_as_they_come(time: Time) -> None:
    flusher = Flusher()
    reader = Reader(flusher)
    for _ in range(5):
        await turn(flusher, [reader], CHUNK)
        time.passes(PAUSE * 1.01)
    assert time.slept == 0


async def test_who_waits_for_anything_else_does_not_wait_for_this(time: Time) -> None:
    flusher = Flusher()
    reader, other = Reader(flusher), Reader(flusher)
    for _ in range(3):
        await turn(flusher, [reader], CHUNK, CHUNK, TYPING)
    for _ in range(3):
        other.push(b"an acknowledgement")
        await turn(flusher, [reader], CHUNK, CHUNK)
    assert time.slept == 0
    await turn(flusher, [reader], CHUNK, CHUNK)
    assert time.slept == 1


async def test_a_long_turn_needs_no_pause(time: Time) -> None:
    flusher = Flusher()
    readers = [Reader(flusher) for _ in range(LONG + 1)]
    for _ in range(3):
        await turn(flusher, readers, CHUNK, CHUNK)
    assert time.slept == 0
    await turn(flusher, readers[:LONG], CHUNK, CHUNK)
    assert time.slept == 1
