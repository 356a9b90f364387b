"""The engine with a product's door, over both transports: order, refusals, a sid given back, backpressure."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import socketio as python_socketio

from events.event import Event, Kind
from events.hub import Hub
from server.engine import stock
from server.engine.clients import Client
from server.engine.door import ComeBack, ConnectRefused, Problem
from server.engine.handshake import Handshake
from server.engine.server import Server
from server.engine.stock.encoding import EventCodec
from tests.engine.kit import BINARY, LIMIT, TEXT, Http, Polling, QuickApp, Raw, engineio, serving, socketio


class Door:
    """Lets in who brings `{"token": "good"}`; what to do on the way in is the test's."""

    at_once = False
    server: Server
    face: stock.Server  # python-socketio's, of a server that has other namespaces

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.seen = asyncio.Event()
        self.on_connect: Callable[[Client, dict[str, Any]], Awaitable[None]] | None = None
        self.conns: list[Client] = []
        self.infos: list[Handshake] = []

    def write(self, *entry: Any) -> None:
        self.log.append(entry)
        self.seen.set()

    async def until(self, *entry: Any) -> None:
        async with asyncio.timeout(LIMIT):
            while entry not in self.log:
                self.seen.clear()
                await self.seen.wait()

    async def ended(self, port: int) -> None:
        """The server has seen what happened before: another connection came and went."""
        raw, _ = await engineio(port)
        raw.text("1")
        await raw.closed()
        await raw.close()

    def connect(
        self, conn: Client, info: Handshake, auth: dict[str, Any]
    ) -> Coroutine[Any, Any, None] | None:
        self.infos.append(info)
        if self.on_connect is None and self.at_once:
            self.judge(conn, auth)
            return None
        return self.wait(conn, auth)

    async def wait(self, conn: Client, auth: dict[str, Any]) -> None:
        if self.on_connect is not None:
            await self.on_connect(conn, auth)
        self.judge(conn, auth)

    def judge(self, conn: Client, auth: dict[str, Any]) -> None:
        if auth.get("token") == "bug":
            raise ValueError("on purpose")
        if auth.get("token") != "good":
            raise ConnectRefused("no", {"code": "UNAUTHORIZED"})
        self.conns.append(conn)

    def event(self, conn: Client, name: str, args: list[Any], ack_id: int | None) -> None:
        self.write("event", name, *args)
        if name == "bug":
            raise ValueError("on purpose")
        conn.ack(ack_id, b'{"n":%d}' % len(args))

    def refused(
        self, conn: Client, name: str | None, ack_id: int | None, problem: Problem, size: int
    ) -> None:
        conn.ack(ack_id, json.dumps({"problem": problem, "name": name}).encode())
        if ack_id is None:
            conn.emit("error", json.dumps({"problem": problem, "name": name}).encode())

    def gone(self, conn: Client, reason: str) -> None:
        self.write("gone", reason)


@pytest.fixture(params=["waits", "at once"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Door, "at_once", request.param == "at once")


class Codec:
    """As the product's: the position rides last."""

    def encode(self, event: Event) -> bytes:
        return EventCodec().encode(event)


@asynccontextmanager
async def house(namespaces: list[str] | None = None, **settings: Any) -> AsyncIterator[tuple[int, Door, Hub]]:
    door, hub = Door(), Hub()
    sio = Server(door=door, hub=hub, codec=Codec(), **settings)
    if namespaces is not None:
        door.face = stock.Server(core=sio, namespaces=namespaces)
    app = QuickApp if door.at_once else python_socketio.ASGIApp
    door.server = sio
    made = app(sio)
    made.held = hub.flusher.held
    async with serving(made) as port:
        yield port, door, hub


GOOD = {"token": "good"}


def an_event(name: str, data: dict[str, Any], kind: Kind = Kind.LOGGED, **more: Any) -> Event:
    return Event(name=name, room="r", data=json.dumps(data).encode(), kind=kind, **more)


# --- coming in


async def test_connect_and_events_in_order() -> None:
    async with house() as (port, door, _):
        raw, answer = await socketio(port, GOOD, headers={"X-Test": "yes", "Authorization": "Bearer x"})
        async with raw:
            assert answer == {"sid": door.conns[0].sid}
            for i in range(200):
                raw.text(f'42{i}["say",{{"n":{i}}}]')
            for i in range(200):
                assert await raw.next_text() == f'43{i}[{{"n":1}}]'
            assert door.log == [("event", "say", {"n": i}) for i in range(200)]
            raw.text('42["no ack"]')
            raw.text('427["two",1,2]')
            assert await raw.next_text() == '437[{"n":2}]'
            info = door.infos[0]
            assert (info.address, info.header(b"x-test"), info.transport) == ("127.0.0.1", "yes", "websocket")
            assert door.conns[0].engine_transport == "websocket"
            assert abs(door.conns[0].connected_at - door.conns[0].last_ping) < 5
        await door.until("gone", "transport close")


async def test_who_leaves_before_the_answer_is_gone_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the door has begun with, it hears the end of, though nobody had waited for its answer yet."""

    def connect(self: Door, conn: Client, info: Handshake, auth: dict[str, Any]) -> Any:
        conn.session.end("transport close")
        return self.wait(conn, auth)

    monkeypatch.setattr(Door, "connect", connect)
    async with house() as (port, door, _):
        raw, _ = await engineio(port)
        async with raw:
            raw.text("40" + json.dumps(GOOD))
            await door.until("gone", "transport close")
            assert len(door.conns) == 1
        assert door.log == [("gone", "transport close")]


@pytest.mark.parametrize(
    ("auth", "error"),
    [
        ({"token": "bad"}, {"message": "no", "data": {"code": "UNAUTHORIZED"}}),
        (None, {"message": "no", "data": {"code": "UNAUTHORIZED"}}),
        ({"token": "bug"}, {"message": "Connection refused by server"}),
    ],
)
async def test_refused(auth: Any, error: Any) -> None:
    async with house() as (port, door, _):
        raw, _ = await engineio(port)
        async with raw:
            raw.text("40" + ("" if auth is None else json.dumps(auth)))
            answer = await raw.next_text()
            assert (answer[:2], json.loads(answer[2:])) == ("44", error)
            assert await raw.closed() == 1000
        async with Polling(port) as session:
            await session.post("40" + ("" if auth is None else json.dumps(auth)))
            status, body = await session.get()
            assert status == 200
            error_packet, close = body.split("\x1e")
            assert (json.loads(error_packet[2:]), close) == (error, "1")
            assert (await session.get())[0] == 400
        assert door.log == []


async def test_what_comes_before_the_answer_follows_it_in_one_piece() -> None:
    async with house() as (port, door, hub):

        async def recover(conn: Client, auth: dict[str, Any]) -> None:
            hub.enter(conn, "r")
            conn.sid, conn.pid = "old-sid", "old-pid"
            conn.emit("missed", b"1")
            await asyncio.sleep(0)
            hub.broadcast(hub.rooms["r"], an_event("missed", {"n": 2}))
            conn.session.push(b"")

        door.on_connect = recover
        raw, _ = await engineio(port)
        async with raw:
            raw.text("40" + json.dumps({**GOOD, "pid": "old-pid", "offset": "x"}))
            raw.text('421["say"]')
            piece = await raw.reader.read(65536)
            assert piece[2:].startswith(b'40{"sid":"old-sid","pid":"old-pid"}')
            assert b'42["missed",1]' in piece
            assert b'42["missed",{"n": 2}]' in piece
            raw.text("42[]")
            while b"43" not in piece:
                piece += await raw.reader.read(65536)
            assert b'431[{"n":0}]' in piece
        async with Polling(port) as session:
            await session.post("40" + json.dumps({**GOOD, "pid": "old-pid"}))
            assert await session.packets() == [
                '40{"sid":"old-sid","pid":"old-pid"}', '42["missed",1]', '42["missed",{"n": 2}]'
            ]  # fmt: skip


async def test_events_behind_a_slow_connect_wait_in_order() -> None:
    async with house() as (port, door, _):
        go = asyncio.Event()

        async def slow(conn: Client, auth: dict[str, Any]) -> None:
            await go.wait()

        door.on_connect = slow
        raw, _ = await engineio(port)
        async with raw:
            raw.text("40" + json.dumps(GOOD))
            for i in range(300):
                raw.text(f'42{i}["say",{i}]')
            await raw.writer.drain()
            go.set()
            assert (await raw.next_text())[:2] == "40"
            for i in range(300):
                assert await raw.next_text() == f'43{i}[{{"n":1}}]'


async def test_other_namespaces_beside_the_doors() -> None:
    async with house(namespaces=["/", "/x"]) as (port, _, _hub):
        raw, _ = await socketio(port, GOOD)
        async with raw:
            raw.text("40/x,")
            assert (await raw.next_text()).startswith('40/x,{"sid":')
            raw.text("41")
            raw.text("40" + json.dumps(GOOD))
            assert (await raw.next_text()).startswith('40{"sid":')


async def test_another_namespace_loses_nothing_of_the_doors() -> None:
    async with house(namespaces=["/", "/other"]) as (port, door, hub):
        raw, _ = await socketio(port, GOOD)
        async with raw:
            hub.enter(door.conns[0], "r")
            hub.broadcast(hub.rooms["r"], an_event("presence", {"n": 1}, Kind.VOLATILE))
            raw.text("40/other,")
            assert await raw.next_text() == '42["presence",{"n": 1}]'
            assert (await raw.next_text()).startswith("40/other,")


async def test_a_refusal_elsewhere_costs_the_door_no_chunk() -> None:
    async with house(namespaces=["/", "/other"]) as (port, door, hub):
        raw, _ = await socketio(port, GOOD)
        async with raw:
            hub.enter(door.conns[0], "r")

            async def meanwhile(sid: str, environ: Any) -> bool:
                chunk = an_event("stream_chunk", {"n": 1}, stream="m", sizes=(1,))
                hub.broadcast(hub.rooms["r"], chunk)
                return False

            door.face.on("connect", meanwhile, namespace="/other")
            raw.text("40/other,")
            assert (await raw.next_text()).startswith("44/other,")
            assert await raw.next_text() == '42["stream_chunk",{"n": 1}]'


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_who_is_refused_gets_nothing_that_was_for_others(transport: str) -> None:
    async with house(namespaces=["/"]) as (port, door, _):

        async def meanwhile(conn: Client, auth: dict[str, Any]) -> None:
            await door.face.emit("secret", {"a": 1})

        door.on_connect = meanwhile
        if transport == "websocket":
            raw, _ = await engineio(port)
            async with raw:
                raw.text('40{"token":"bad"}')
                assert (await raw.next_text()).startswith("44")
                assert await raw.closed() == 1000
        else:
            async with Polling(port) as session:
                await session.post('40{"token":"bad"}')
                refusal, *rest = await session.packets()
                assert refusal.startswith("44")
                assert rest in ([], ["1"])


async def test_a_client_that_leaves_during_connect_is_gone_once() -> None:
    async with house() as (port, door, hub):
        go, entered = asyncio.Event(), asyncio.Event()

        async def slow(conn: Client, auth: dict[str, Any]) -> None:
            hub.enter(conn, "r")
            entered.set()
            await go.wait()

        door.on_connect = slow
        raw, _ = await engineio(port)
        raw.text("40" + json.dumps(GOOD))
        await entered.wait()
        await raw.close()
        await door.ended(port)
        go.set()
        await door.until("gone", "transport close")
        assert len(door.log) == 1
        assert hub.rooms == {}


async def test_nobody_stays_who_does_not_connect() -> None:
    async with house(connect_timeout=0.2, ping_interval=0.5, ping_timeout=0.5) as (port, door, _):
        raw, _ = await engineio(port)
        async with raw:
            assert await raw.closed() == 1000
        async with Polling(port) as session:
            assert await session.get() == (200, "1")
        raw, _ = await socketio(port, GOOD)
        async with raw:
            for _ in range(3):
                assert await raw.receive() == (TEXT, b"2")
                raw.text("3")
        await door.until("gone", "transport close")


async def test_a_recovered_sid_belongs_to_the_new_connection() -> None:
    async with house() as (port, door, _):
        first, answer = await socketio(port, GOOD)

        async def take(conn: Client, auth: dict[str, Any]) -> None:
            conn.sid = answer["sid"]
            door.conns[0].close("taken over")

        door.on_connect = take
        second, again = await socketio(port, GOOD)
        assert again["sid"] == answer["sid"]
        assert await first.closed() == 1000
        await door.until("gone", "taken over")
        second.text('421["say"]')
        assert await second.next_text() == '431[{"n":0}]'
        await second.close()
        await first.close()


# --- what is not let through


@pytest.mark.parametrize(
    ("packet", "answer"),
    [
        ('425["connect",{}]', {"problem": "reserved", "name": "connect"}),
        ('425["disconnect"]', {"problem": "reserved", "name": "disconnect"}),
        ('425["newListener"]', {"problem": "reserved", "name": "newListener"}),
        ('425["say",{"x":NaN}]', {"problem": "malformed", "name": None}),
        ('425["say",{"x":Infinity}]', {"problem": "malformed", "name": None}),
        ('425["say","\\ud800"]', {"problem": "malformed", "name": None}),
        ('425["say","\\u0000"]', {"problem": "malformed", "name": None}),
        ('425["say",', {"problem": "malformed", "name": None}),
        ("425[]", {"problem": "malformed", "name": None}),
        ("425[1]", {"problem": "malformed", "name": None}),
        ('425["say","\\\\u0000 is fine"]', {"n": 1}),
    ],
)
@pytest.mark.parametrize("ack", [True, False])
async def test_events_not_let_through_are_answered(packet: str, answer: Any, ack: bool) -> None:
    async with house() as (port, _, _hub):
        raw, _ = await socketio(port, GOOD)
        async with raw:
            raw.text(packet if ack else packet.replace("425", "42"))
            if ack:
                got = await raw.next_text()
                assert (got[:3], json.loads(got[3:])) == ("435", [answer])
            elif "problem" in answer:
                assert json.loads((await raw.next_text())[2:]) == ["error", answer]
            raw.text('426["still here"]')
            assert await raw.next_text() == '436[{"n":0}]'


async def test_binary_events_are_answered_and_their_attachments_swallowed() -> None:
    async with house() as (port, door, _):
        raw, _ = await socketio(port, GOOD)
        async with raw:
            raw.text('452-9["say",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
            raw.frame(BINARY, b"\x01")
            raw.frame(BINARY, b"\x02")
            assert json.loads((await raw.next_text())[3:]) == [{"problem": "binary", "name": "say"}]
            raw.text('450-9["say"]')
            assert json.loads((await raw.next_text())[3:]) == [{"problem": "binary", "name": "say"}]
            raw.text('421["say"]')
            assert await raw.next_text() == '431[{"n":0}]'
            raw.text('4599-["say"]')
            await raw.closed()
        await door.until("gone", "transport error")


async def test_a_door_that_fails_harms_nobody() -> None:
    async with house() as (port, _, _hub):
        raw, _ = await socketio(port, GOOD)
        async with raw:
            raw.text('421["bug"]')
            raw.text('422["say"]')
            assert await raw.next_text() == '432[{"n":0}]'


# --- out


async def test_ask() -> None:
    async with house() as (port, door, _):
        raw, _ = await socketio(port, GOOD)
        asked = door.conns[0].ask("agent_request", b'{"x":1}')
        assert await raw.next_text() == '421["agent_request",{"x":1}]'
        raw.text('431["yes",2]')
        assert await asked == ["yes", 2]
        unanswered = door.conns[0].ask("agent_request", b"{}")
        await raw.close()
        async with asyncio.timeout(LIMIT):
            with pytest.raises(asyncio.CancelledError):
                await unanswered


async def test_close_and_disconnect() -> None:
    async with house() as (port, door, _):
        raw, _ = await socketio(port, GOOD)
        door.conns[0].emit("bye", b"1")
        door.conns[0].close()
        assert await raw.next_text() == '42["bye",1]'
        assert await raw.closed() == 1000
        await raw.close()
        raw, _ = await socketio(port, GOOD)
        door.conns[1].disconnect()
        assert await raw.next_text() == "41"
        await raw.close()
        await door.until("gone", "server disconnect")
        assert door.log.count(("gone", "server disconnect")) == 2
        async with Polling(port) as session:
            await session.post("40" + json.dumps(GOOD))
            assert (await session.packets())[0][:2] == "40"
            door.conns[2].emit("bye", b"1")
            door.conns[2].close()
            assert await session.get() == (200, '42["bye",1]\x1e1')


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_what_waits_for_company_leaves_before_the_end(transport: str) -> None:
    async with house() as (port, door, hub):

        def tell_and_end() -> None:
            hub.enter(door.conns[0], "r")
            hub.broadcast(hub.rooms["r"], an_event("presence", {"n": 1}, Kind.VOLATILE))
            door.conns[0].close()

        if transport == "websocket":
            raw, _ = await socketio(port, GOOD)
            async with raw:
                tell_and_end()
                assert await raw.next_text() == '42["presence",{"n": 1}]'
                assert await raw.closed() == 1000
        else:
            async with Polling(port) as session:
                await session.post("40" + json.dumps(GOOD))
                await session.packets()
                tell_and_end()
                assert await session.packets() == ['42["presence",{"n": 1}]', "1"]


async def test_client_says_goodbye() -> None:
    async with house() as (port, door, _):
        raw, _ = await socketio(port, GOOD)
        async with raw:
            raw.text("41")
            await door.until("gone", "client disconnect")
            raw.text('421["say"]')
            raw.text("40" + json.dumps(GOOD))  # it may come back, but on a new connection
            assert await raw.closed() == 1000
        assert door.log == [("gone", "client disconnect")]


async def test_a_room_is_the_hubs_for_the_server_too() -> None:
    door, hub = Door(), Hub()
    sio = stock.Server(core=Server(door=door, hub=hub, codec=Codec()))
    async with serving(python_socketio.ASGIApp(sio)) as port:
        raws = [(await socketio(port, GOOD))[0] for _ in range(3)]
        for conn in door.conns[:2]:
            hub.enter(conn, "r")
        await sio.enter_room(door.conns[2].sid, "r")
        assert set(hub.rooms["r"].members) == set(door.conns)
        await sio.emit("x", {"a": 1}, room="r", skip_sid=door.conns[1].sid)
        hub.broadcast(hub.rooms["r"], an_event("y", {"b": 2}))
        for raw, sid in zip(raws, [c.sid for c in door.conns], strict=True):
            if sid != door.conns[1].sid:
                assert await raw.next_text() == '42["x",{"a":1}]'
            assert await raw.next_text() == '42["y",{"b": 2}]'
        assert sio.rooms(door.conns[2].sid) == [door.conns[2].sid, "r"]
        await sio.close_room("r")
        assert hub.rooms == {}
        for raw in raws:
            await raw.close()


# --- slow readers


def chunk(i: int, text: str) -> Event:
    data = {"session_id": "r", "message_id": "m", "content": text, "index": i, "count": 1, "timestamp": "t"}
    return an_event("stream_chunk", data, stream="m", index=i, sizes=(len(text),))


async def test_a_slow_reader_loses_volatile_events_and_gets_merged_chunks() -> None:
    async with house(outbox_limit=4 << 20) as (port, door, hub):
        raw, _ = await socketio(port, GOOD, buffer=4096)
        conn = door.conns[0]
        hub.enter(conn, "r")
        while conn.sink.backlog is None:
            conn.emit("fill", b'"%s"' % (b"x" * 60_000))
            await asyncio.sleep(0)
        room = hub.rooms["r"]
        for i in range(100):
            hub.broadcast(room, an_event("typing", {"i": i}, Kind.VOLATILE))
            hub.broadcast(room, chunk(i, "a"))
        hub.broadcast(room, an_event("message", {"last": True}, Kind.DURABLE))
        got = []
        while not got or got[-1][0] != "message":
            got.append(json.loads((await raw.next_text())[2:]))
        names = [entry[0] for entry in got]
        assert "typing" not in names
        assert names.count("stream_chunk") == 1
        merged = next(entry[1] for entry in got if entry[0] == "stream_chunk")
        assert (merged["content"], merged["index"], merged["count"]) == ("a" * 100, 0, 100)
        assert conn.sink.backlog is None
        await raw.close()


async def test_a_reader_that_stalls_is_cut_at_the_limit() -> None:
    async with house(outbox_limit=1 << 18) as (port, door, hub):
        stalled, _ = await socketio(port, GOOD, buffer=4096)
        healthy, _ = await socketio(port, GOOD)
        for conn in door.conns:
            hub.enter(conn, "r")
        payload = {"x": "y" * 20_000}
        for i in range(1000):
            if "r" not in hub.rooms or len(hub.rooms["r"].members) == 1:
                break
            hub.broadcast(hub.rooms["r"], an_event("message", {**payload, "i": i}, Kind.DURABLE))
            assert json.loads((await healthy.next_text())[2:])[1]["i"] == i
            backlog = door.conns[0].sink.backlog
            assert backlog is None or backlog.size <= 1 << 18
        await door.until("gone", "transport error")
        await stalled.ended()
        await stalled.close()
        await healthy.close()


async def test_polling_keeps_what_comes_between_two_requests_and_is_cut_at_the_limit() -> None:
    async with house(outbox_limit=1 << 18) as (port, door, hub), Polling(port) as session:
        await session.post("40" + json.dumps(GOOD))
        assert (await session.packets())[0][:2] == "40"
        conn = door.conns[0]
        hub.enter(conn, "r")
        room = hub.rooms["r"]
        hub.broadcast(room, an_event("typing", {}, Kind.VOLATILE))
        for i in range(3):
            hub.broadcast(room, chunk(i, "b"))
        hub.broadcast(room, an_event("message", {"i": 1}, Kind.DURABLE))
        got = [json.loads(packet[2:]) for packet in await session.packets()]
        assert [entry[0] for entry in got] == ["typing", "stream_chunk", "message"]
        assert got[1][1]["content"] == "bbb"
        for i in range(30):
            hub.broadcast(room, an_event("message", {"i": i, "x": "y" * 20_000}, Kind.DURABLE))
        await door.until("gone", "transport error")
        assert (await session.get())[0] == 400


async def test_hold_up_makes_a_poster_wait() -> None:
    async with house() as (port, door, _), Polling(port) as session:
        await session.post("40" + json.dumps(GOOD))
        assert (await session.packets())[0][:2] == "40"
        door.conns[0].session.hold_up(True)
        posting = asyncio.create_task(session.post('42["say"]'))
        await door.until("event", "say")
        assert not posting.done()
        door.conns[0].session.hold_up(False)
        assert await posting == (200, "ok")


@pytest.mark.parametrize(
    "payload", ['{"x":"%s"}', '["%s"]', '"%s"', '"","%s"'], ids=["object", "array", "string", "two"]
)
async def test_a_payload_of_any_kind_has_a_size(payload: str) -> None:
    """Of the frame it is what stands behind the event's name."""
    async with house(payload_limit=1000) as (port, door, _):
        raw, _ = await socketio(port, GOOD)
        async with raw:
            raw.text('42["say", ' + payload % ("x" * 980) + " ]")
            await door.until("event", "say", *json.loads("[" + payload % ("x" * 980) + "]"))
            large = payload % ("x" * 1001)
            raw.text('42["say", ' + large + " ]")
            assert '"large"' in await raw.next_text()


@pytest.mark.parametrize("how", ["one POST", "two at a time"])
async def test_what_a_post_brings_waits_for_who_is_held_up(how: str) -> None:
    async with house() as (port, door, _), Polling(port) as session:
        await session.post("40" + json.dumps(GOOD))
        assert (await session.packets())[0][:2] == "40"
        door.conns[0].session.hold_up(True)
        said = [f"say {n}" for n in range(50)]
        posting = asyncio.create_task(session.post("\x1e".join(f'42["{name}"]' for name in said)))
        await door.until("event", said[0])
        if how == "one POST":
            assert [entry[1] for entry in door.log] == said[:1]
            door.conns[0].session.hold_up(False)
            assert await posting == (200, "ok")
            assert [entry[1] for entry in door.log] == said
        else:
            assert (await session.post('42["more"]'))[0] == 400
            await door.until("gone", "transport error")
            await posting
            assert [entry[1] for entry in door.log if entry[0] == "event"] == said[:1]


async def test_who_is_held_up_is_not_taken_for_dead() -> None:
    """Nothing is read from it: its pong does not come."""
    async with house(ping_interval=0.1, ping_timeout=0.8) as (port, door, _):
        raw, _ = await socketio(port, GOOD)
        async with raw:
            held = door.conns[0].session
            held.hold_up(True)
            other, _ = await socketio(port, GOOD)
            async with other:
                await door.until("gone", "ping timeout")
            assert not held.closing
            held.hold_up(False)
            raw.text('42["say"]')
            await door.until("event", "say")


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_decision_lets_little_wait_and_loses_nothing(transport: str) -> None:
    """Of who is not known yet: reading pauses, or a POST is not answered, until there is room."""
    decided = asyncio.Event()

    async def decide(conn: Client, auth: dict[str, Any]) -> None:
        await decided.wait()

    said = [json.dumps(["say", {"n": n, "x": "x" * 900}]) for n in range(100)]
    async with house() as (port, door, _):
        door.on_connect = decide
        if transport == "polling":
            async with Polling(port) as session:
                await session.post("40" + json.dumps(GOOD))
                body = "\x1e".join("42" + each for each in said)
                posting = asyncio.create_task(session.post(body))
                async with asyncio.timeout(LIMIT):
                    while not any(s.busy for s in door.server.engine.sessions.values()):
                        await asyncio.sleep(0)
                waiting = asyncio.create_task(session.packets())
                (engine_session,) = door.server.engine.sessions.values()
                async with asyncio.timeout(LIMIT):
                    while engine_session.held_up is None:
                        await asyncio.sleep(0)
                assert not posting.done()
                decided.set()
                assert await posting == (200, "ok")
                assert (await waiting)[0][:2] == "40"
        else:
            raw, _ = await engineio(port)
            async with raw:
                raw.text("40" + json.dumps(GOOD))
                for each in said:
                    raw.text("42" + each)
                (engine_session,) = door.server.engine.sessions.values()
                async with asyncio.timeout(LIMIT):
                    while engine_session.held_up is None:
                        await asyncio.sleep(0)
                decided.set()
                assert (await raw.next_text())[:2] == "40"
                await door.until("event", "say", json.loads(said[-1])[1])
        await door.until("event", "say", json.loads(said[-1])[1])
        assert [entry[2]["n"] for entry in door.log if entry[0] == "event"] == list(range(100))


async def test_who_is_sent_away_is_not_listened_to() -> None:
    """A polling session: whatever it says is answered at once, and kept nowhere."""

    async def full(conn: Client, auth: dict[str, Any]) -> None:
        raise ComeBack(LIMIT, 1013, "SERVER_FULL")

    async with house() as (port, door, _), Polling(port) as session:
        door.on_connect = full
        await session.post("40" + json.dumps(GOOD))
        (engine_session,) = door.server.engine.sessions.values()
        body = "\x1e".join('42["say",{"x":"' + "x" * 900 + '"}]' for _ in range(100))
        for _ in range(20):
            assert await session.post(body) == (200, "ok")
        assert not engine_session.known and engine_session.held_up is None
        await session.post("1")
        await door.ended(port)


@pytest.mark.parametrize("known", [False, True], ids=["stranger", "known"])
async def test_an_upgrade_takes_as_much_as_its_session_may_send(known: bool) -> None:
    async with house(stranger_limit=2000) as (port, door, _), Polling(port) as session:
        path = f"/socket.io/?EIO=4&transport=websocket&sid={session.opening['sid']}"
        raw = await Raw.websocket(port, path)
        async with raw:
            raw.text("2probe")
            assert await raw.next_text() == "3probe"
            if not known:
                raw.frame(TEXT, b"5", claim=100_000)
                assert await raw.closed() == 1009
                return
            await session.post("40" + json.dumps(GOOD))
            assert "40" in (await session.get())[1][:2] or (await session.packets())
            raw.text("5")
            raw.text('42["say",{"x":"' + "x" * 50_000 + '"}]')
            await door.until("event", "say", {"x": "x" * 50_000})


async def test_many_members_get_everything_in_order() -> None:
    """More than the flush budget of one turn."""
    async with house() as (port, door, hub):
        raws = [(await socketio(port, GOOD))[0] for _ in range(450)]
        for conn in door.conns:
            hub.enter(conn, "r")
        for i in range(5):
            hub.broadcast(hub.rooms["r"], an_event("n", {"i": i}))
            await asyncio.sleep(0)
        for raw in raws:
            assert [json.loads((await raw.next_text())[2:])[1]["i"] for _ in range(5)] == list(range(5))
            await raw.close()


async def test_the_server_stops_while_a_poll_waits() -> None:
    async with house() as (port, _door, _):
        session = await Polling(port).open()
        await session.post("40" + json.dumps(GOOD))
        assert (await session.packets())[0][:2] == "40"
        http = await Http.connect(port)
        http.send(f"GET {session.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await session.post("3")  # handled after the GET, which was sent before it
    assert (await http.response())[2] == b"1"
    await http.close()
    await session.close()


async def test_a_polling_session_has_one_answer_on_its_way() -> None:
    """Who polls again has the last one, or will never have it."""
    size = 8 << 20  # more than the kernel keeps for a client
    async with house(outbox_limit=2 * size) as (port, door, _), Polling(port) as session:
        await session.post("40" + json.dumps(GOOD))
        assert (await session.packets())[0][:2] == "40"
        door.conns[0].emit("big", b'"%s"' % (b"x" * size))
        async with await Raw.connect(port, buffer=4096) as unread:
            unread.send(f"GET {session.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            async with asyncio.timeout(LIMIT):
                assert b" 200 " in await unread.reader.readline()
                polling = asyncio.create_task(session.packets())
                got = 0
                with suppress(ConnectionError):
                    while piece := await unread.reader.read(1 << 16):
                        got += len(piece)
            assert got < size
            door.conns[0].emit("next", b"1")
            assert await polling == ['42["next",1]']


@pytest.mark.parametrize(
    "packet", ['431[{"x":"%s"}]', '42/other,["say",{"x":"%s"}]', '43/other,1[{"x":"%s"}]'],
    ids=["an answer to no question", "an event elsewhere", "an answer elsewhere"],
)  # fmt: skip
async def test_a_long_packet_for_nobody_is_not_read(packet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would cost its bytes' time, as often as its client likes."""
    read: list[int] = []

    def loads(data: bytes) -> Any:
        read.append(len(data))
        return json.loads(data)

    async with house() as (port, door, _):
        raw, _ = await socketio(port, GOOD)
        async with raw:
            monkeypatch.setattr("server.engine.packets.loads", loads)
            for _ in range(3):
                raw.text(packet % ("y" * 5000))
            raw.text('427["say",{"n":1}]')
            assert await raw.next_text() == '437[{"n":1}]'
            assert not read
            answer = door.conns[0].ask("question", b"1")
            assert await raw.next_text() == '421["question",1]'
            raw.text('431["%s"]' % ("z" * 5000))
            assert await asyncio.wait_for(answer, 5) == ["z" * 5000]
