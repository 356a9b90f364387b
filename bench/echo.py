"""A bare application on the engine, for `make bench`: `python -m bench.echo --port N`.

It answers what the peers answer: `join ROOM` (acknowledged), `say {room, t, p}` (sends `msg` with the same
object to the room), `echo DATA` (acknowledged with DATA); `auth` is {token: "secret"}.
"""

import argparse
from typing import Any

import socketio
import uvicorn

from server.engine.run import tune_collector, uvicorn_config
from server.engine.stock import Server


def application() -> socketio.ASGIApp:
    sio = Server()

    @sio.event  # type: ignore[untyped-decorator]
    async def connect(sid: str, environ: Any, auth: dict[str, Any]) -> bool:
        return bool(auth["token"] == "secret")

    @sio.event  # type: ignore[untyped-decorator]
    async def join(sid: str, room: str) -> str:
        await sio.enter_room(sid, room)
        return "ok"

    @sio.event  # type: ignore[untyped-decorator]
    def say(sid: str, data: dict[str, Any]) -> None:  # need not wait, so it needs no task
        sio.emit_now("msg", data, room=data["room"])

    @sio.event  # type: ignore[untyped-decorator]
    def echo(sid: str, data: Any) -> Any:
        return data

    return socketio.ASGIApp(sio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    config = uvicorn_config(application(), port=options.port)
    config.load()
    tune_collector()
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
