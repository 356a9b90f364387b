"""The server without a door: order, other serializers, cookies, origins, credentials, closing."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest
import socketio as python_socketio
from socketio import packet as sio_packet

from server.engine.carrier import AT_ONCE
from server.engine.session import AT_A_TIME
from server.engine.stock import Server
from server.engine.strangers import Strangers
from tests.engine.kit import BINARY, TEXT, Http, Polling, QuickApp, Raw, engineio, serving, socketio

OPEN = "/socket.io/?EIO=4&transport=polling"


class Way:
    """Whether a WebSocket comes in at once, or by way of an ASGI task."""

    app: Any = QuickApp


@pytest.fixture(params=["task", "at once"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Way, "app", QuickApp if request.param == "at once" else python_socketio.ASGIApp)


def app_of(sio: Server) -> Any:
    return Way.app(sio)


async def test_handlers_of_one_client_run_in_order_when_asked_to() -> None:
    sio = Server(async_handlers=False)
    done: list[int] = []

    async def say(sid: str, n: int) -> int:
        for _ in range((7 * n) % 5):
            await asyncio.sleep(0)
        done.append(n)
        return n

    sio.on("say", say)
    async with serving(app_of(sio)) as port:
        raw, _ = await socketio(port)
        async with raw:
            for n in range(200):
                raw.text(f'42{n}["say",{n}]')
            for n in range(200):
                assert await raw.next_text() == f"43{n}[{n}]"
    assert done == list(range(200))


async def test_a_posts_many_packets_leave_turns_to_others() -> None:
    sio, said, turns = Server(), [], 0
    sio.on("say", lambda sid, n: said.append((n, turns)))
    count = 20_000

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with serving(app_of(sio)) as port:
        polling = await Polling(port).open()
        assert (await polling.post("40"))[0] == 200
        await polling.packets()
        waiting = asyncio.create_task(others())
        body = ['42["say",0]', *['42["a"]'] * count, '42["say",1]', *['42["b",1]'] * count, '42["say",2]']
        assert (await polling.post("\x1e".join(body)))[0] == 200
        waiting.cancel()
        await polling.close()
    assert [n for n, _ in said] == [0, 1, 2]
    assert all(later - before >= count // AT_A_TIME for (_, before), (_, later) in pairwise(said))


async def test_another_serializer_is_python_socketios_to_decode() -> None:
    class Custom(sio_packet.Packet):  # type: ignore[misc]
        pass

    sio = Server(serializer=Custom)
    sio.on("echo", lambda sid, *args: args)
    async with serving(app_of(sio)) as port:
        raw, _ = await socketio(port)
        async with raw:
            raw.text('421["echo",1,{"x":[2]}]')
            assert await raw.next_text() == '431[1,{"x":[2]}]'
            raw.text('451-2["echo",{"_placeholder":true,"num":0}]')
            raw.frame(BINARY, b"\x00\x01")
            assert await raw.next_text() == '461-2[{"_placeholder":true,"num":0}]'
            assert await raw.receive() == (BINARY, b"\x00\x01")
            await sio.emit("x", {"y": 1})
            assert await raw.next_text() == '42["x",{"y":1}]'


async def test_a_plain_handler_may_emit_as_a_coroutine_does() -> None:
    sio = Server()

    @sio.event  # type: ignore[untyped-decorator]
    def say(sid: str, data: Any) -> None:
        sio.emit_now("msg", data, room=["r", sid], skip_sid=data["skip"])
        sio.emit_now("end")

    @sio.event  # type: ignore[untyped-decorator]
    async def waiting(sid: str, data: Any) -> None:
        await sio.emit("msg", data, room=["r", sid], skip_sid=data["skip"])
        await sio.emit("end")

    async with serving(app_of(sio)) as port:
        (first, one), (second, two) = await socketio(port), await socketio(port)
        async with first, second:
            await sio.enter_room(two["sid"], "r")
            for name in ("say", "waiting"):
                for skip, has in ((None, (first, second)), (one["sid"], (second,)), ([two["sid"]], (first,))):
                    first.text(f'42["{name}",{json.dumps({"skip": skip})}]')
                    for raw in (first, second):
                        if raw in has:
                            assert json.loads((await raw.next_text())[2:]) == ["msg", {"skip": skip}]
                        assert await raw.next_text() == '42["end"]'


@pytest.mark.parametrize("cookie", ["io", {"name": "io", "path": "/", "HttpOnly": True}])
async def test_cookie(cookie: Any) -> None:
    async with serving(app_of(Server(cookie=cookie))) as port, await Http.connect(port) as http:
        assert isinstance(http, Http)
        _, headers, body = await http.request("GET", OPEN)
        assert headers["set-cookie"].startswith(f"io={json.loads(body[1:])['sid']}; path=/")


ORIGINS = [
    ({}, "https://elsewhere.test", False),
    ({}, "http://127.0.0.1", True),
    ({"cors_allowed_origins": []}, "https://elsewhere.test", False),
    ({"cors_allowed_origins": "https://a.test"}, "https://a.test", True),
    ({"cors_allowed_origins": ["https://a.test"]}, "https://a.test", True),
    ({"cors_allowed_origins": ["https://a.test"]}, "https://a.test.evil", False),
    ({"cors_allowed_origins": lambda origin: origin.endswith(".test")}, "https://a.test", True),
    ({"cors_allowed_origins": lambda origin, environ: "HTTP_HOST" in environ}, "https://b", True),
    ({"origin": lambda origin, scope: False, "cors_allowed_origins": "*"}, "https://a.test", False),
    ({"origin": lambda origin, scope: True}, "https://a.test", True),
]


@pytest.mark.parametrize(("settings", "origin", "allowed"), ORIGINS)
async def test_origins_at_both_doors(settings: dict[str, Any], origin: str, allowed: bool) -> None:
    async with serving(app_of(Server(**settings))) as port:
        spoofed = {"Origin": origin, "X-Forwarded-Host": "elsewhere.test", "X-Forwarded-Proto": "https"}
        async with await Http.connect(port) as http:
            assert isinstance(http, Http)
            status, headers, _ = await http.request("GET", OPEN, headers=spoofed)
            assert status == (200 if allowed else 403)
            if allowed:
                assert headers["access-control-allow-origin"] == origin
                assert headers["access-control-allow-credentials"] == "true"
                assert headers["vary"] == "Origin"
        async with await Raw.connect(port) as raw:
            status, _, _ = await raw.upgrade("/socket.io/?EIO=4&transport=websocket", spoofed)
            assert status == (101 if allowed else 403)


async def test_an_upgrade_needs_the_sessions_own_credentials() -> None:
    async with serving(app_of(Server())) as port:
        async with Polling(port, headers={"Authorization": "Bearer mine"}) as session:
            path = f"/socket.io/?EIO=4&transport=websocket&sid={session.opening['sid']}"
            async with await Raw.connect(port) as raw:
                assert (await raw.upgrade(path, {"Authorization": "Bearer other"}))[0] == 400
            async with await Raw.connect(port) as raw:
                assert (await raw.upgrade(path + "&token=other"))[0] == 400
            async with await Raw.connect(port) as raw:
                assert (await raw.upgrade(path, {"Authorization": "Bearer mine"}))[0] == 101
                raw.text("2probe")
                assert await raw.receive() == (TEXT, b"3probe")
        async with Polling(port, headers={"Authorization": "Bearer mine"}) as session:
            session.headers = {}
            assert (await session.get())[0] == 400
            assert (await session.post("40"))[0] == 400
            path = f"/socket.io/?EIO=4&transport=websocket&sid={session.opening['sid']}"
            async with await Raw.connect(port) as raw:  # a browser's cannot show them
                assert (await raw.upgrade(path))[0] == 101
        async with Polling(port) as session:  # opened with none: it stays with none
            status, _, _ = await session.request("POST", session.target + "&token=late", b"40")
            assert status == 400


async def test_an_upgrade_that_does_not_come_about_holds_nothing_up() -> None:
    sio = Server()
    async with serving(app_of(sio)) as port, Polling(port) as session:
        await session.post("40")
        await session.packets()
        path = f"/socket.io/?EIO=4&transport=websocket&sid={session.opening['sid']}"
        async with await Raw.websocket(port, path) as raw:
            await sio.emit("before", {})
            for _ in range(AT_ONCE):  # an upgrade that comes about takes fewer
                assert await session.packets() == ["6"]
            assert await session.packets() == ['42["before",{}]']
            waiting = asyncio.create_task(session.packets())
            await sio.emit("waited", {})
            assert await waiting == ['42["waited",{}]']
            raw.text("2probe")
            assert await raw.receive() == (TEXT, b"3probe")
            assert await session.packets() == ["6"]  # it is to come over
            await sio.emit("probed", {})
            assert await session.packets() == ['42["probed",{}]']
            await sio.emit("over", {})
            raw.text("5")
            assert await raw.next_text() == '42["over",{}]'


async def test_what_was_polled_counts_for_the_websockets_limit() -> None:
    sio, gate = Server(), asyncio.Event()

    async def connect(sid: str, environ: Any) -> None:
        await gate.wait()

    sio.on("connect", connect)
    sio.on("n", lambda sid, n: n)
    async with serving(app_of(sio)) as port, Polling(port) as session:
        await session.post("\x1e".join(["40", *(f'42{n}["n",{n}]' for n in range(100))]))
        path = f"/socket.io/?EIO=4&transport=websocket&sid={session.opening['sid']}"
        async with await Raw.websocket(port, path) as raw:
            raw.text("2probe")
            assert await raw.receive() == (TEXT, b"3probe")
            raw.text("5")
            raw.text('42100["n",100]')
            inner = sio.engine.sessions[session.opening["sid"]]
            while inner.protocol is None or inner.protocol.transport.is_reading():
                await asyncio.sleep(0.001)
            gate.set()
            assert (await raw.next_text()).startswith("40")
            for n in range(101):
                assert await raw.next_text() == f"43{n}[{n}]"


async def test_an_answer_that_cannot_be_encoded_is_all_that_is_lost() -> None:
    sio = Server()

    async def connect(sid: str, environ: Any) -> None:
        await asyncio.sleep(0)

    sio.on("connect", connect)
    sio.on("bad", lambda sid: {1, 2})
    sio.on("good", lambda sid: 1)
    packets = ["40", '421["bad"]', '422["good"]']
    async with serving(app_of(sio)) as port:
        raw, _ = await engineio(port)
        async with raw:
            for packet in (*packets, *packets[1:]):  # behind the CONNECT, and when it is answered
                raw.text(packet)
            assert (await raw.next_text()).startswith("40")
            assert [await raw.next_text(), await raw.next_text()] == ["432[1]", "432[1]"]
            raw.text('421["bad"]')
            raw.text('422["good"]')
            assert await raw.next_text() == "432[1]"
        async with Polling(port) as session:
            await session.post("40")
            await session.packets()
            assert await session.post("\x1e".join(packets[1:])) == (200, "ok")
            assert await session.packets() == ["432[1]"]


async def test_who_is_refused_keeps_what_other_namespaces_sent() -> None:
    sio = Server(namespaces=["/", "/other"])

    async def connect(sid: str, environ: Any) -> bool:
        await sio.emit("mine", {})
        await sio.emit("theirs", {}, namespace="/other")
        return False

    sio.on("connect", connect)
    async with serving(app_of(sio)) as port:
        raw, _ = await engineio(port)
        async with raw:
            raw.text("40/other,")
            assert (await raw.next_text()).startswith("40/other,")
            raw.text("40")
            assert (await raw.next_text()).startswith("44")
            assert await raw.next_text() == '42/other,["theirs",{}]'
            raw.text("42/other,1[]")  # no packet: the end
            await raw.closed()


async def test_a_session_of_another_node_is_the_hooks() -> None:
    async def elsewhere(sid: str, scope: Any, receive: Any, send: Any) -> bool:
        if sid != "there":
            return False
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"away"})
        return True

    async with (
        serving(app_of(Server(engine={"elsewhere": elsewhere}))) as port,
        await Http.connect(port) as http,
    ):
        assert isinstance(http, Http)
        assert (await http.request("GET", OPEN + "&sid=there"))[2] == b"away"
        assert (await http.request("GET", OPEN + "&sid=nowhere"))[0] == 400


async def test_close_all() -> None:
    reasons: list[str] = []
    sio = Server()
    sio.on("connect", lambda sid, environ: None)
    sio.on("disconnect", lambda sid, reason: reasons.append(reason))
    async with serving(app_of(sio)) as port:
        raw, _ = await socketio(port)
        idle, _ = await engineio(port)
        async with raw, idle:
            await sio.engine.close_all()
            assert await raw.closed() == 1000
            assert await idle.closed() == 1000
    assert reasons == ["server disconnect"]
    assert sio.engine.sessions == {}


async def test_the_last_seen_names_do_not_fill_the_memory() -> None:
    sio = Server()
    sio.on("*", lambda event, sid: event)
    async with serving(app_of(sio)) as port:
        raw, _ = await socketio(port)
        async with raw:
            for i in range(1500):
                raw.text(f'42{i}["name {i}"]')
            for i in range(1500):
                assert await raw.next_text() == f'43{i}["name {i}"]'
    assert len(sio.root._known) <= 1000


async def test_transports_may_be_limited() -> None:
    async with serving(app_of(Server(transports=["websocket"]))) as port, await Http.connect(port) as http:
        assert isinstance(http, Http)
        assert (await http.request("GET", OPEN))[0] == 400
        raw, _ = await socketio(port)
        await raw.close()
    async with serving(app_of(Server(transports=["polling"]))) as port, await Raw.connect(port) as raw:
        assert (await raw.upgrade("/socket.io/?EIO=4&transport=websocket"))[0] == 400
    async with serving(app_of(Server(allow_upgrades=False))) as port, Polling(port) as session:
        assert session.opening["upgrades"] == []


@pytest.mark.parametrize("how", ["refuses", "raises", "refuses later", "raises later"])
async def test_who_was_not_let_in_has_no_strangers_place(how: str) -> None:
    strangers = Strangers(10, str)
    sio = Server(engine={"strangers": strangers})

    def refused(sid: str, environ: Any) -> bool:
        if "raises" in how:
            raise RuntimeError("on purpose")
        return False

    async def later(sid: str, environ: Any) -> bool:
        return refused(sid, environ)

    sio.eio.on("connect", later if "later" in how else refused)
    async with serving(app_of(sio)) as port, await Http.connect(port) as http:
        status, _, _ = await http.request("GET", OPEN)
        assert status in (401, 500)
    assert len(strangers) == 0 and sio.engine.sessions == {}
