"""python-socketio's documented server API, in use: on the stock server, or on ours.

`python -m tests.conformance.parity_app stock|ours PORT`; js/parity.cjs drives it and prints what it saw.
"""

import asyncio
import sys
from typing import Any

import socketio
import uvicorn

from server.engine.run import uvicorn_config
from server.engine.stock import Server

SETTINGS: dict[str, Any] = {"namespaces": ["/", "/chat", "/any"], "ping_interval": 1, "ping_timeout": 2}


def build(ours: bool) -> socketio.AsyncServer:
    sio = Server(**SETTINGS) if ours else socketio.AsyncServer(async_mode="asgi", **SETTINGS)
    events: list[str] = []

    @sio.event
    async def connect(sid: str, environ: Any, auth: Any) -> Any:
        if not auth or auth.get("token") != "secret":
            if auth and auth.get("how") == "args":
                raise socketio.exceptions.ConnectionRefusedError("no", {"why": "because"})
            if auth and auth.get("how") == "builtin":
                raise ConnectionRefusedError
            return False
        async with sio.session(sid) as session:
            session["name"] = auth.get("name", "?")
        await sio.save_session(sid, {**await sio.get_session(sid), "agent": "HTTP_HOST" in environ})
        if auth.get("early"):
            await sio.emit("early", {"for": auth["name"]}, to=sid)
            await sio.enter_room(sid, "early")
        return None

    @sio.event
    async def disconnect(sid: str, reason: str) -> None:
        session = await sio.get_session(sid)
        events.append(f"{session['name']} left: {reason}; rooms {len(sio.rooms(sid))}")

    @sio.on("who am I")
    async def who(sid: str) -> Any:
        session = await sio.get_session(sid)
        environ = sio.get_environ(sid)
        path, query = environ["PATH_INFO"], "EIO=4" in environ["QUERY_STRING"]
        return session, sio.transport(sid), path, query, environ["HTTP_X_TEST"], environ["REQUEST_METHOD"]

    @sio.event
    async def join(sid: str, room: str) -> Any:
        await sio.enter_room(sid, room)
        await sio.enter_room(sid, room)
        return "joined", sorted(r for r in sio.rooms(sid) if r != sid)

    @sio.event
    async def leave(sid: str, room: str) -> Any:
        await sio.leave_room(sid, room)
        await sio.leave_room(sid, "never there")
        return sorted(r for r in sio.rooms(sid) if r != sid)

    @sio.event
    async def say(sid: str, data: Any) -> None:
        await sio.emit("msg", data, room=data["room"])

    @sio.event
    async def say_to(sid: str, data: Any) -> None:
        await sio.emit("msg", data, to=data["room"], skip_sid=[sid, "nobody"])

    @sio.event
    async def others(sid: str, data: Any) -> None:
        await sio.emit("msg", data, room=data["room"], skip_sid=sid)

    @sio.event
    async def several(sid: str, rooms: list[str], text: str) -> None:
        await sio.emit("msg", (text, {"rooms": rooms}), room=rooms)

    @sio.event
    async def nothing(sid: str) -> None:
        await sio.emit("void", to=sid)
        await sio.emit("void", (), to=sid)
        await sio.emit("void", None, to=sid)
        await sio.emit("void", [1, [2]], to=sid)
        await sio.emit("void", ("é", None, True, 1.5), to=sid)

    @sio.event
    async def message(sid: str, data: Any) -> None:
        await sio.send({"echo": data}, to=sid)

    @sio.event
    async def ask_me(sid: str, question: str) -> Any:
        return {"answer": await sio.call("question", question, to=sid, timeout=5)}

    @sio.event
    async def ask_in_vain(sid: str) -> str:
        try:
            await sio.call("nobody answers", to=sid, timeout=0.2)
        except socketio.exceptions.TimeoutError:
            return "timed out"
        return "answered"

    @sio.event
    async def callback(sid: str) -> None:
        def answered(*args: Any) -> None:
            events.append(f"callback {list(args)}")

        async def answered_async(*args: Any) -> None:
            await sio.emit("callback done", list(args), to=sid)

        await sio.emit("question", "sync", to=sid, callback=answered)
        await sio.emit("question", "async", to=sid, callback=answered_async)

    @sio.event
    def plain(sid: str, a: int, b: int) -> int:
        return a + b

    @sio.event
    async def binary(sid: str, data: Any) -> Any:
        assert isinstance(data["blob"], bytes)
        await sio.emit("blob", {"size": len(data["blob"]), "blob": data["blob"][::-1]}, to=sid)
        return data["blob"][:2], {"deep": [data["blob"][2:]]}

    @sio.event
    async def boom(sid: str) -> None:
        raise ValueError("on purpose")

    @sio.event
    def boom_sync(sid: str) -> None:
        raise ValueError("on purpose")

    @sio.event
    async def kick(sid: str) -> None:
        await sio.disconnect(sid)

    @sio.event
    async def close_the_room(sid: str, room: str) -> str:
        await sio.close_room(room)
        try:
            await sio.close_room(sid)
        except ValueError as error:
            return str(error)
        return "closed"

    @sio.event
    async def enter_anothers_sid(sid: str, other: str) -> str:
        try:
            await sio.enter_room(sid, other)
        except ValueError as error:
            return str(error)
        return "entered"

    @sio.event
    async def not_connected(sid: str) -> Any:
        await sio.emit("x", to="nobody")
        await sio.disconnect("nobody")
        await sio.leave_room("nobody", "r")
        return sio.rooms("nobody")

    @sio.event
    async def burst(sid: str, room: str, n: int) -> int:
        for i in range(n):
            await sio.emit("n", i, room=room)
        return n

    @sio.event
    async def slow_then(sid: str, x: Any) -> Any:
        await asyncio.sleep(0.05)
        return x

    @sio.event
    async def log(sid: str) -> Any:
        return (sorted(events),)

    @sio.on("*")
    async def other(event: str, sid: str, *args: Any) -> str:
        return f"catch-all {event} {list(args)}"

    @sio.on("connect", namespace="/chat")
    async def chat_connect(sid: str, environ: Any, auth: Any) -> None:
        await sio.emit("hello", {"ns": "/chat"}, namespace="/chat", to=sid)

    @sio.on("echo", namespace="/chat")
    async def chat_echo(sid: str, data: Any) -> Any:
        await sio.emit("echoed", data, namespace="/chat", to=sid)
        return data

    class Things(socketio.AsyncNamespace):  # type: ignore[misc]
        async def on_connect(self, sid: str, environ: Any, auth: Any) -> None:
            await self.save_session(sid, {"n": 0})

        async def on_count(self, sid: str) -> int:
            async with self.session(sid) as session:
                session["n"] += 1
            return (await self.get_session(sid))["n"]  # type: ignore[no-any-return]

        async def on_gather(self, sid: str) -> Any:
            await self.enter_room(sid, "things")
            await self.emit("thing", {"rooms": len(self.rooms(sid))}, room="things")
            await self.leave_room(sid, "things")
            return await self.call("question", "thing?", to=sid, timeout=5)

        def on_disconnect(self, sid: str, reason: str) -> None:
            events.append(f"thing left: {reason}")

        async def on_leave(self, sid: str) -> None:
            await self.disconnect(sid)

    sio.register_namespace(Things("/things"))

    @sio.on("anything", namespace="*")
    async def anything(namespace: str, sid: str, *args: Any) -> Any:
        return [namespace, list(args)]

    return sio


def main() -> None:
    ours, port = sys.argv[1] == "ours", int(sys.argv[2])
    app = socketio.ASGIApp(build(ours))
    if ours:
        uvicorn.Server(uvicorn_config(app, port=port, log_level="critical")).run()
    else:
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical", access_log=False)


if __name__ == "__main__":
    main()
