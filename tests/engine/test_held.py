"""What a node holds for its connections: messages that have begun, and what waits for those who do not read.
One account's thousand connections do not take the room of others."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from events.access import Caller
from events.errors import ValidationFailed
from events.event import Event, Kind
from events.held import Held
from events.outbox import Flusher, Sink
from server.engine import asides, parser
from server.engine.answers import counted
from server.engine.asgi import Receive, Scope, Send
from server.engine.clients import Client
from server.engine.stock.encoding import EventCodec
from server.routes.reading import body_of
from server.transports.eventstream import HEADERS, EventStream
from tests.engine.kit import (
    BINARY,
    CONTINUATION,
    LIMIT,
    PING,
    TEXT,
    Http,
    Polling,
    Raw,
    masked,
    serving,
    socketio,
)
from tests.engine.test_door import house

BOB = Caller("user", "bob").account
MOST = 300_000
SIZE = 90_000
TEXT_OF = b'42["say",{"x":"%s"}]' % (b"x" * SIZE)
HALF = masked(TEXT, TEXT_OF)[:-10]
FRAGMENTS = masked(TEXT, TEXT_OF[:50_000], fin=False) + masked(CONTINUATION, TEXT_OF[50_000:], fin=False)


@asynccontextmanager
async def crowd() -> AsyncIterator[tuple[int, Any, Held]]:
    """A house that knows its callers, and holds MOST bytes."""
    async with house() as (port, door, hub):

        async def named(conn: Client, auth: dict[str, Any]) -> None:
            conn.caller = Caller("user", auth["sub"])

        door.on_connect = named
        hub.flusher.held.most = hub.flusher.held._share = MOST
        yield port, door, hub.flusher.held


def shown(sub: str) -> dict[str, str]:
    return {"token": "good", "sub": sub}


async def until(true: Any) -> None:
    async with asyncio.timeout(LIMIT):
        while not true():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("unended", [HALF, FRAGMENTS], ids=["half a frame", "fragments"])
async def test_messages_that_do_not_end_have_a_bound_together(unended: bytes) -> None:
    async with crowd() as (port, door, held), AsyncExitStack() as stack:
        bob = await stack.enter_async_context((await socketio(port, shown("bob")))[0])
        mine = masked(TEXT, TEXT_OF.replace(b'42["say"', b'427["say"'))
        bob.send(mine[:60_000])
        await until(lambda: held.of(BOB) > 50_000)
        raws: list[Raw] = []
        for _ in range(8):
            raws.append(await stack.enter_async_context((await socketio(port, shown("alice")))[0]))
            raws[-1].send(unended)
        codes = [await raw.closed() for raw in raws[:6]]  # the oldest go
        assert codes == [1013] * 6
        assert held.weight <= MOST
        # Who has begun before them all is heard to the end.
        bob.send(mine[60_000:])
        assert await bob.next_text() == '437[{"n":1}]'
        assert held.of(BOB) == 0
        for raw in raws[6:]:  # and those for whom there is room
            raw.send(masked(TEXT, TEXT_OF)[-10:] if unended is HALF else masked(CONTINUATION, b""))
        await until(lambda: held.weight == 0)
        assert len([entry for entry in door.log if entry[:2] == ("event", "say")]) == 3


async def test_what_was_read_of_who_is_held_up_counts_until_it_is_looked_at() -> None:
    count = 5000
    async with crowd() as (port, door, held), (await socketio(port, shown("bob")))[0] as raw:
        session = door.conns[0].session
        raw.send(masked(TEXT, b'42["stop"]'))
        door.event, event = lambda *_: session.hold_up(True), door.event
        raw.send(masked(TEXT, b'42["say"]') * count)
        await until(lambda: held.of(BOB) > 0)
        door.event = event
        session.hold_up(False)
        await until(lambda: held.of(BOB) == 0)
        raw.text('429["last"]')
        assert await raw.next_text() == '439[{"n":0}]'
        assert len(door.log) > count - parser.AT_A_TIME // 15


async def test_bodies_of_known_polling_sessions_count_as_well() -> None:
    async with crowd() as (port, door, held), AsyncExitStack() as stack:
        ways: list[Http] = []
        for number in range(6):
            session = await stack.enter_async_context(Polling(port))
            await session.post("40" + json.dumps(shown("bob" if number == 0 else "alice")))
            assert (await session.packets())[0][:2] == "40"
            http = await Http.connect(port)
            stack.push_async_callback(http.close)
            http.send(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (
                session.target.encode(), len(TEXT_OF)))  # fmt: skip
            http.send(TEXT_OF[:-10])
            ways.append(http)
            if number == 0:
                await until(lambda: held.of(BOB) > SIZE - 100)
        assert [(await http.response())[0] for http in ways[1:4]] == [503] * 3
        assert held.weight <= MOST
        for http in (ways[0], *ways[4:]):
            http.send(TEXT_OF[-10:])
            assert (await http.response())[2] == b"ok"
        await until(lambda: held.weight == 0)
        assert len([entry for entry in door.log if entry[:2] == ("event", "say")]) == 3


REPLY = b'"%b"' % bytes(8 << 20).replace(b"\0", b"x")  # more than the kernel keeps for a client


async def unread(port: int, door: Any, sub: str, transport: str, stack: AsyncExitStack) -> Raw:
    """A client with little room that is sent a large reply, and reads nothing of it."""
    if transport == "websocket":
        raw, _ = await socketio(port, shown(sub), buffer=4096)
        await stack.enter_async_context(raw)
    else:
        session = await stack.enter_async_context(Polling(port))
        await session.post("40" + json.dumps(shown(sub)))
        assert (await session.packets())[0][:2] == "40"
        raw = await stack.enter_async_context(await Raw.connect(port, buffer=4096))
        raw.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % session.target.encode())
        await until(lambda: door.conns[-1].session.poll is not None)
    door.conns[-1].ack(7, REPLY)
    return raw


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_replies_that_nobody_reads_have_a_bound_together(transport: str) -> None:
    async with crowd() as (port, door, held), AsyncExitStack() as stack:
        held.most = held._share = 20 << 20
        bob = await unread(port, door, "bob", transport, stack)
        await until(lambda: held.of(BOB) > 2 << 20)
        alices = [await unread(port, door, "alice", transport, stack) for _ in range(5)]
        got = [await rest(raw) for raw in alices[:2]]  # the oldest go
        assert all(0 < size < len(REPLY) for size in got)
        assert held.weight <= held.most
        # Bob was before them all: he is not interrupted.
        async with asyncio.timeout(LIMIT):
            size = 0
            while size < len(REPLY):
                size += len(piece := await bob.reader.read(1 << 20))
                assert piece
        await until(lambda: held.of(BOB) == 0)


class Requests:
    """Alice's: bodies that are read, and an event stream, whose first 8 MiB go at once."""

    def __init__(self) -> None:
        self.held = Held(20 << 20)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        counted(scope, "alice")
        if scope["method"] == "POST":
            with suppress(ValidationFailed):
                await body_of(Request(scope, receive), limit=1 << 20)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            return await send({"type": "http.response.body", "body": b""})
        node = SimpleNamespace(
            hub=SimpleNamespace(flusher=Flusher(held=self.held)),
            settings=SimpleNamespace(outbox_limit=16 << 20),
        )
        stream = EventStream(node)  # type: ignore[arg-type]
        stream.conn = SimpleNamespace(caller=Caller("user", "alice"))  # type: ignore[assignment]
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        for _ in range(2):
            stream.push(bytes(4 << 20))
        await stream.serve(receive, send, lambda: False)


async def test_bodies_of_requests_count_as_well() -> None:
    app = Requests()
    async with serving(app) as port, await Raw.connect(port) as raw:
        raw.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + b" " * 800_000)
        await until(lambda: app.held.of("alice") == 800_000)
        raw.send(b" " * 100_000)
        assert (await raw.response())[0] == 204
        await until(lambda: app.held.weight == 0)


async def test_what_an_event_stream_waits_to_send_counts_until_it_has_left() -> None:
    app = Requests()
    async with serving(app) as port, await Raw.connect(port, buffer=4096) as raw:
        raw.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: app.held.of("alice") > 3 << 20)  # the rest is the kernel's
        assert app.held.of("alice") < 9 << 20
        await raw.reader.readuntil(b"\r\n\r\n")
        size = 0
        async with asyncio.timeout(LIMIT):
            while size < 8 << 20:
                size += len(piece := await raw.reader.read(1 << 20))
                assert piece
        await until(lambda: app.held.weight == 0)


async def rest(raw: Raw) -> int:
    """Bytes until the connection is cut off."""
    size = 0
    with suppress(ConnectionError):
        async with asyncio.timeout(LIMIT):
            while piece := await raw.reader.read(1 << 20):
                size += len(piece)
    return size


async def test_a_packet_whose_attachments_do_not_come_is_not_kept() -> None:
    async with crowd() as (port, door, _), (await socketio(port, shown("alice")))[0] as raw:
        raw.text('451-9["picture",{"_placeholder":true,"num":0},[' + ",".join(["{}"] * 20_000) + "]]")
        await until(lambda: door.conns[0].session.attachments is not None)
        assert door.conns[0].session.attachments.packet.data == ["picture"]
        raw.frame(BINARY, b"late")
        assert (
            await raw.next_text()
            == '439{"problem": "binary", "name": "picture"}'.replace("439", "439[") + "]"
        )


async def test_small_frames_leave_turns_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read of nothing but pings: the newest is answered, and others' events are handled between."""
    monkeypatch.setattr(asides, "EACH", 0.0)
    async with crowd() as (port, _, _), (await socketio(port, shown("alice")))[0] as raw:
        raw.send(b"".join(masked(PING, b"%d" % n) for n in range(50_000)) + masked(TEXT, b'421["say",{}]'))
        last, pongs = b"", 0
        while True:
            opcode, data = await raw.receive()
            if opcode == TEXT and data != b"2":
                break
            last, pongs = data, pongs + 1
        assert data == b'431[{"n":1}]'
        assert pongs < 25_000
        assert last == b"49999"


class Slow(Sink):
    def __init__(self, flusher: Flusher, account: str) -> None:
        super().__init__(flusher)
        self._account, self.gone = account, False
        self.pause(1 << 20)

    @property
    def account(self) -> str | None:
        return None if self.gone else self._account

    def write(self, data: bytes) -> None: ...

    def cut(self) -> None:
        self.gone = True
        self.flusher.held.discard(self)


async def test_what_waits_for_slow_readers_has_a_bound_together() -> None:
    flusher = Flusher(held=Held(MOST))
    bob = Slow(flusher, "bob")
    bob.push(bytes(SIZE))
    alices = [Slow(flusher, "alice") for _ in range(6)]
    for one in alices:
        one.push(bytes(SIZE))
        await asyncio.sleep(0)
    assert [one.gone for one in alices] == [True] * 4 + [False] * 2
    assert not bob.gone
    assert flusher.held.weight == 3 * SIZE
    for one in (bob, *alices[4:]):
        one.resume()
    assert flusher.held.weight == 0


async def test_a_rooms_frame_that_waits_for_many_counts_once() -> None:
    flusher = Flusher(held=Held(MOST))
    slow = [Slow(flusher, f"user {n}") for n in range(50)]
    event = Event(name="message", room="r", data=b"{}", kind=Kind.LOGGED)
    for _ in range(2):
        flusher.fan_out([*slow], bytes(100_000), event, EventCodec())
    await asyncio.sleep(0)
    assert not any(one.gone for one in slow)
    assert flusher.held.weight == 0  # 4,000 bytes each
    flusher.fan_out([*slow], bytes(100_000), event, EventCodec())
    assert flusher.held.weight == 300_000
