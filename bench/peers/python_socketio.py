"""Stock python-socketio under uvicorn, with uvloop, httptools and orjson.

python_socketio.py PORT [--gc] [--relay]

--gc freezes and tunes the garbage collector; --relay answers the product's
events as node_relay.js does, checking tokens with JWT_SECRET_KEY. With REDIS_URL
in the environment it is one node of several.
"""

import argparse
import gc
import itertools
import os
from typing import Any

import jwt
import orjson
import socketio
import uvicorn


class OrJson:
    """The part of the json module's interface that python-socketio uses."""

    @staticmethod
    def dumps(obj: Any, **_kwargs: Any) -> str:
        return orjson.dumps(obj).decode()

    @staticmethod
    def loads(text: str) -> Any:
        return orjson.loads(text)


def echo_rooms(sio: Any) -> None:
    """The events of every peer: join, say -> msg, echo."""

    async def connect(sid: str, environ: dict[str, Any], auth: dict[str, str]) -> bool:
        return auth["token"] == "secret"

    async def join(sid: str, room: str) -> str:
        await sio.enter_room(sid, room)
        return "ok"

    async def say(sid: str, data: dict[str, Any]) -> None:
        await sio.emit("msg", data, room=data["room"])

    async def echo(sid: str, data: Any) -> Any:
        return data

    for handler in (connect, join, say, echo):
        sio.on(handler.__name__, handler)


def relay(sio: Any) -> None:
    """The product's events, passed on as they came."""
    key = os.environ["JWT_SECRET_KEY"]
    streams = itertools.count(1)

    async def connect(sid: str, environ: dict[str, Any], auth: dict[str, str]) -> bool:
        try:
            jwt.decode(auth["token"], key, algorithms=["HS256"])
        except jwt.InvalidTokenError:
            return False
        return True

    async def join(sid: str, data: dict[str, Any]) -> dict[str, Any]:
        await sio.enter_room(sid, data["session_id"])
        return {"ok": True}

    async def stream_start(sid: str, data: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "message_id": f"msg_{next(streams)}"}

    for handler in (connect, join, stream_start):
        sio.on(handler.__name__, handler)
    for event in ("typing", "stream_chunk", "stream_end"):
        sio.on(event, forwarder(sio, event))


def forwarder(sio: Any, event: str) -> Any:
    async def forward(sid: str, data: dict[str, Any]) -> None:
        await sio.emit(event, data, room=data["session_id"], skip_sid=sid)

    return forward


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--gc", action="store_true")
    parser.add_argument("--relay", action="store_true")
    opts = parser.parse_args()
    redis = os.environ.get("REDIS_URL")
    manager = socketio.AsyncRedisManager(redis) if redis else None
    sio = socketio.AsyncServer(async_mode="asgi", json=OrJson, client_manager=manager)
    if opts.relay:
        relay(sio)
    else:
        echo_rooms(sio)
    if opts.gc:
        gc.collect()
        gc.freeze()
        gc.set_threshold(50000, 20, 100)
    uvicorn.run(
        socketio.ASGIApp(sio),
        host="127.0.0.1",
        port=opts.port,
        loop="uvloop",
        http="httptools",
        backlog=2048,
        log_level="warning",
        access_log=False,
        ws_per_message_deflate=False,
    )


if __name__ == "__main__":
    main()
