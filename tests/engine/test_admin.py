"""`instrument()`: what the Socket.IO Admin UI is told, with handlers and with a door."""

import asyncio
import json
from typing import Any

import pytest
import socketio as python_socketio

from events.hub import Hub
from server.engine import server
from server.engine.stock import Server
from tests.engine.kit import LIMIT, Raw, engineio, serving, socketio
from tests.engine.test_door import GOOD, Codec, Door

LOGIN = {"username": "admin", "password": "pw"}


async def admin_of(port: int) -> Raw:
    raw, _ = await engineio(port)
    raw.text("40/admin," + json.dumps(LOGIN))
    assert (await raw.next_text()).startswith("40/admin,")
    return raw


async def told(raw: Raw, name: str) -> list[Any]:
    """The arguments of the next admin event of that name."""
    async with asyncio.timeout(LIMIT):
        while True:
            text = await raw.next_text()
            assert text.startswith("42/admin,"), text
            event = json.loads(text[len("42/admin,") :])
            if event[0] == name:
                return event[1:]  # type: ignore[no-any-return]


async def test_wrong_password() -> None:
    sio = Server()
    sio.instrument(auth=LOGIN)
    async with serving(python_socketio.ASGIApp(sio)) as port:
        raw, _ = await engineio(port)
        async with raw:
            raw.text('40/admin,{"username":"admin","password":"x"}')
            assert await raw.next_text() == '44/admin,{"message":"authentication failed"}'


@pytest.mark.parametrize("with_door", [False, True])
async def test_development_mode(with_door: bool) -> None:
    door, hub = Door(), Hub()
    sio = Server(core=server.Server(door=door, hub=hub, codec=Codec()) if with_door else None)
    if not with_door:
        sio.on("connect", lambda sid, environ, auth: None)
        sio.on("say", lambda sid, data: {"n": 1})
    admin = sio.instrument(auth=LOGIN, read_only=with_door, server_stats_interval=0.05)
    async with serving(python_socketio.ASGIApp(sio)) as port:
        raw, answer = await socketio(port, GOOD)
        sid = answer["sid"]
        await sio.enter_room(sid, "r")
        watcher = await admin_of(port)
        config = (await told(watcher, "config"))[0]
        assert ("EMIT" in config["supportedFeatures"]) is not with_door
        sockets = {s["id"]: s for s in (await told(watcher, "all_sockets"))[0]}
        assert sockets[sid]["rooms"] == [sid, "r"]
        assert (sockets[sid]["transport"], sockets[sid]["nsp"]) == ("websocket", "/")
        stats = (await told(watcher, "server_stats"))[0]
        assert stats["clientsCount"] == 2
        assert {"name": "/admin", "socketsCount": 1} in stats["namespaces"]
        second, again = await socketio(port, GOOD)
        assert (await told(watcher, "socket_connected"))[0]["id"] == again["sid"]
        second.text('421["say",{}]')
        assert json.loads((await second.next_text())[3:]) == [{"n": 1}]
        if not with_door:
            assert (await told(watcher, "event_received"))[2][0] == "say"
        await sio.enter_room(again["sid"], "q")
        assert (await told(watcher, "room_joined"))[:3] == ["/", "q", again["sid"]]
        await sio.emit("x", {"y": 1}, room="q")
        assert (await told(watcher, "event_sent"))[:3] == ["/", again["sid"], ["x", {"y": 1}]]
        sio.emit_now("x", {"y": 2}, room="q")
        assert (await told(watcher, "event_sent"))[:3] == ["/", again["sid"], ["x", {"y": 2}]]
        await second.close()
        assert (await told(watcher, "socket_disconnected"))[:3] == ["/", again["sid"], "transport close"]
        await watcher.close()
        await raw.close()
        await admin.shutdown()
