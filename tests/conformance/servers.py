"""The two applications that the protocols' test suites describe, on our engine.

`python -m tests.conformance.servers [--port 3000] [--interval 0.3] [--timeout 0.2] [--connect-timeout 1]`
serves both, for running those suites from their own repositories (docs/conformance.md).
"""

import argparse
from typing import Any

import socketio
import uvicorn

from events.outbox import Flusher
from server.engine import frames
from server.engine.asgi import Receive, Scope, Send
from server.engine.endpoint import Endpoint
from server.engine.engine import Engine, EngineSettings
from server.engine.run import uvicorn_config
from server.engine.session import Session
from server.engine.stock import Server
from server.engine.stock.eio import CorsOrigins


def engineio_echo(interval: float, timeout: float) -> Endpoint:
    """Sends every message back, without Socket.IO."""

    def message(session: Session, body: bytes) -> None:
        session.push(frames.frame(frames.TEXT, body))

    def attachment(session: Session, data: bytes) -> None:
        session.push(frames.frame(frames.BINARY, data))

    engine = Engine(
        Session,
        EngineSettings(ping_interval=interval, ping_timeout=timeout, connect_timeout=float("inf")),
        flusher=Flusher(), message=message, attachment=attachment, ended=lambda session, reason: None,
    )  # fmt: skip
    return Endpoint(engine, CorsOrigins("*", credentials=True))


def socketio_echo(interval: float, timeout: float, connect_timeout: float) -> Server:
    sio = Server(
        ping_interval=interval, ping_timeout=timeout, cors_allowed_origins="*",
        engine={"connect_timeout": connect_timeout},
        namespaces=["/", "/custom"],
    )  # fmt: skip

    async def connect(sid: str, environ: Any, auth: Any = None) -> None:
        await sio.emit("auth", auth or {}, to=sid)

    async def custom(sid: str, environ: Any, auth: Any = None) -> None:
        await sio.emit("auth", auth or {}, to=sid, namespace="/custom")

    async def message(sid: str, *args: Any) -> None:
        await sio.emit("message-back", args, to=sid)

    def with_ack(sid: str, *args: Any) -> Any:
        return args

    sio.on("connect", connect)
    sio.on("connect", custom, namespace="/custom")
    sio.on("message", message)
    sio.on("message-with-ack", with_ack)
    return sio


def application(interval: float = 0.3, timeout: float = 0.2, connect_timeout: float = 1.0) -> Any:
    """Both, each under its own path."""
    engine = engineio_echo(interval, timeout)
    sio = socketio_echo(interval, timeout, connect_timeout)
    other = socketio.ASGIApp(sio)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and scope["path"].startswith("/engine.io/"):
            await engine.handle_request(scope, receive, send)
        else:
            await other(scope, receive, send)

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--interval", type=float, default=0.3)
    parser.add_argument("--timeout", type=float, default=0.2)
    parser.add_argument("--connect-timeout", type=float, default=1.0)
    options = parser.parse_args()
    app = application(options.interval, options.timeout, options.connect_timeout)
    uvicorn.Server(uvicorn_config(app, port=options.port)).run()


if __name__ == "__main__":
    main()
