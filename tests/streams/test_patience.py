"""Who comes and goes is told with what follows, or in a moment; nothing overtakes anything."""

import asyncio

import pytest

from events import outbox
from events.event import Event, Kind
from events.outbox import Flusher, Sink

PRESENCE = Event("room", "presence", b"{}", Kind.VOLATILE)
TYPING = Event("room", "typing", b"{}", Kind.VOLATILE)


class Plain:
    """Frames without a frame."""

    def encode(self, event: Event) -> bytes:
        return event.name.encode() + b" "


CODEC = Plain()


class Reader(Sink):
    def __init__(self, flusher: Flusher) -> None:
        super().__init__(flusher)
        self.got: list[bytes] = []
        self.wrote = asyncio.Event()

    def write(self, data: bytes) -> None:
        self.got.append(data)
        self.wrote.set()

    def cut(self) -> None:
        self.got.append(b"cut")


def fan_out(sinks: list[Reader], *events: Event) -> None:
    for event in events:
        sinks[0].flusher.fan_out(sinks, CODEC.encode(event), event, CODEC)


@pytest.fixture
def readers() -> list[Reader]:
    flusher = Flusher()
    return [Reader(flusher) for _ in range(3)]


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_pushed_in_one_turn_leaves_in_pieces(readers: list[Reader]) -> None:
    frames = [b"%08d" % n * 10 for n in range(2000)]
    for n, frame in enumerate(frames):
        if n % 2:
            readers[0].push(frame)
            readers[1].push(frame)
        else:
            readers[0].flusher.fan_out(readers, frame, TYPING, CODEC)
        for reader in readers:
            assert len(reader.out or b"") <= outbox.FULL + len(frame)
    await turns()
    assert b"".join(readers[0].got) == b"".join(frames) == b"".join(readers[1].got)
    assert b"".join(readers[2].got) == b"".join(frames[::2])
    assert len(readers[0].got) == len(b"".join(frames)) // (outbox.FULL + 80) + 1


async def test_it_leaves_alone_in_a_moment_and_all_of_it_at_once(
    readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "PATIENCE", 0.05)
    fan_out(readers, PRESENCE)
    await turns()
    assert [reader.got for reader in readers] == [[], [], []]
    fan_out(readers[:2], PRESENCE)
    async with asyncio.timeout(10):
        await asyncio.gather(*(reader.wrote.wait() for reader in readers))
    assert [reader.got for reader in readers] == [
        [b"presence presence "],
        [b"presence presence "],
        [b"presence "],
    ]
    for reader in readers:
        reader.wrote.clear()
    fan_out(readers, PRESENCE)  # and so the next time
    async with asyncio.timeout(10):
        await asyncio.gather(*(reader.wrote.wait() for reader in readers))
    assert [len(reader.got) for reader in readers] == [2, 2, 2]


async def test_what_follows_takes_it_along(readers: list[Reader]) -> None:
    first, second, _ = readers
    fan_out(readers, PRESENCE)
    await turns()
    first.push(b"answer ")
    fan_out([second], TYPING)
    await turns()
    assert [reader.got for reader in readers] == [[b"presence answer "], [b"presence typing "], []]


async def test_behind_what_leaves_anyway_it_leaves_too(readers: list[Reader]) -> None:
    first, second, _ = readers
    first.push(b"answer ")
    fan_out(readers[:2], TYPING)
    fan_out(readers, PRESENCE)
    fan_out([second], TYPING)
    await turns()
    assert [r.got for r in readers] == [[b"answer typing presence "], [b"typing presence typing "], []]


async def test_it_goes_before_what_waits_for_a_slow_reader(readers: list[Reader]) -> None:
    reader = readers[0]
    fan_out([reader], PRESENCE)
    reader.pause(1000)
    reader.push(b"answer ")
    fan_out([reader], PRESENCE)  # volatile: dropped
    reader.resume()
    assert reader.got == [b"presence ", b"answer "]
    await turns()
    assert len(reader.got) == 2


async def test_whoever_ends_a_connection_gets_it(
    readers: list[Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "PATIENCE", 0.02)
    reader, other = readers[:2]
    fan_out([reader, other], PRESENCE, PRESENCE)
    reader.push(b"answer ")
    assert reader.leaving() == b"presence presence answer "
    assert reader.leaving() is None
    async with asyncio.timeout(10):
        await other.wrote.wait()
    assert reader.got == []
