"""The application that the official JavaScript client's own test suite talks to (packages/socket.io-client of
the socketio/socket.io repository), on our engine: `python -m tests.conformance.client_suite [--port 3210]`.

docs/conformance.md tells how it is run and what fails for want of the Node server.
"""

import argparse
import asyncio
import datetime
from typing import Any
from urllib.parse import parse_qsl

import socketio
import uvicorn
from socketio.exceptions import ConnectionRefusedError as Refused

from server.engine.asgi import Receive, Scope, Send
from server.engine.run import uvicorn_config
from server.engine.stock import Server

NAMESPACES = ["/", "/foo", "/timeout_socket", "/valid", "/asd", "/abc", "/no"]


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def build() -> Server:
    sio = Server(namespaces=NAMESPACES, ping_interval=2, ping_timeout=20, cors_allowed_origins="*")
    auths: dict[str, Any] = {}

    def handshake(sid: str, namespace: str = "/") -> dict[str, Any]:
        environ = sio.get_environ(sid, namespace)
        headers = {k[5:].lower().replace("_", "-"): v for k, v in environ.items() if k.startswith("HTTP_")}
        return {
            "query": dict(parse_qsl(environ["QUERY_STRING"])),
            "headers": headers,
            "auth": auths.get(sid, {}),
            "url": environ["RAW_URI"],
            "address": environ["REMOTE_ADDR"],
        }

    @sio.event
    async def connect(sid: str, environ: Any, auth: Any) -> None:
        auths[sid] = auth or {}
        if "fail" in dict(parse_qsl(environ["QUERY_STRING"])):
            raise Refused("Auth failed (main namespace)")

    @sio.on("connect", namespace="/no")
    async def no(sid: str, environ: Any, auth: Any) -> None:
        raise Refused("Auth failed (custom namespace)")

    @sio.on("connect", namespace="/abc")
    async def abc(sid: str, environ: Any, auth: Any) -> None:
        auths[sid] = auth or {}
        await sio.emit("handshake", handshake(sid, "/abc"), to=sid, namespace="/abc")

    sio.on("getId", lambda sid: sid, namespace="/foo")
    sio.on("getId", lambda sid: sid)
    sio.on("echo", lambda sid, arg=None: (arg,))  # None alone would acknowledge without an argument
    sio.on("getAckDate", lambda sid, data: now())
    sio.on("getHandshake", lambda sid: handshake(sid))

    def answers(name: str, *payloads: tuple[str, Any], after: Any = None) -> None:
        async def handler(sid: str, *args: Any) -> None:
            if after is None or after(*args):
                for event, payload in payloads:
                    await sio.emit(event, payload() if callable(payload) else payload, to=sid)

        sio.on(name, handler)

    def mixed(data: Any) -> bool:
        return (data["hello"], type(data["message"]), data["goodbye"]) == ("lol", bytes, "gotcha")

    texts = ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"]
    answers("hi", ("hi", None))
    answers("getDate", ("takeDate", now))
    answers("getDateObj", ("takeDateObj", lambda: {"date": now()}))
    answers("getUtf8", *[("takeUtf8", text) for text in texts])
    answers("false", ("false", False))
    answers("doge", ("doge", b"asdfasdf"))
    answers("getbin", ("takebin", b"asdfasdf"))
    answers("buffa", ("buffack", None), after=lambda a: isinstance(a, bytes))
    answers("jsonbuff", ("jsonbuff-ack", None), after=mixed)
    answers("abuff1", after=lambda a: isinstance(a, bytes))
    answers("abuff2", ("abuff2-ack", None))
    answers("blob", ("back", None), after=lambda a: isinstance(a, bytes))
    answers("jsonblob", ("jsonblob-ack", None), after=mixed)
    answers("blob3", ("blob3-ack", None), after=lambda a: isinstance(a, bytes))

    @sio.event
    async def ack(sid: str) -> Any:
        async def acknowledged(a: Any, b: Any) -> None:
            if a == 5 and b["test"]:
                await sio.emit("got it", to=sid)

        await sio.emit("ack", to=sid, callback=acknowledged)
        return sio.not_handled  # no acknowledgement

    return sio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=3210)
    inner = socketio.ASGIApp(build())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and b"sid=" not in scope["query_string"]:
            await asyncio.sleep(0.01)  # as the suite's own server, for its connection time-out
        await inner(scope, receive, send)

    uvicorn.Server(uvicorn_config(app, port=parser.parse_args().port)).run()


if __name__ == "__main__":
    main()
