"""A transport of lines over a WebSocket: `name ref {payload}` in, `ack ref {reply}` and `name {payload}` out.

A recipe puts it beside the others.
"""

import asyncio
import json
from typing import Any

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Receive, Scope, Send

from events.dispatch import Reply
from events.errors import ChatError, SlowConsumer
from events.event import Event, to_json
from events.ids import new_id
from events.line import Line
from events.outbox import Sink
from events.room import Connection
from server.admission import Visitor
from server.services import Services
from server.transports.base import Channel, Transport, opening


class LineCodec:
    def __init__(self) -> None:
        self.poisoned: Any = self

    def encode(self, event: Event) -> bytes:
        return b"%b %b\n" % (event.name.encode(), event.data)


class LineSink(Sink):
    """What it is given waits here until `send` takes it."""

    def __init__(self, services: Services) -> None:
        super().__init__(services.hub.flusher)
        self._limit = services.settings.outbox_limit
        self._given: list[bytes] = []
        self._ready = asyncio.Event()
        self.ended: ChatError | None = None

    def write(self, data: bytes) -> None:
        self._given.append(data)
        self._ready.set()

    def cut(self) -> None:
        self.end(SlowConsumer())

    def end(self, error: ChatError) -> None:
        self.ended = error
        self._ready.set()

    async def serve(self, send: Send) -> None:
        while self.ended is None:
            await self._ready.wait()
            self._ready.clear()
            data, self._given = b"".join(self._given), []
            if data:
                self.pause(self._limit)
                await send({"type": "websocket.send", "text": data.decode()})
                self.resume()
        await refuse(send, self.ended)


class LineConnection(Connection):
    sink: LineSink

    def end(self, error: ChatError) -> None:
        self.sink.end(error)


async def refuse(send: Send, error: ChatError) -> None:
    told = b"error " + to_json(error.as_dict())
    await send({"type": "websocket.send", "text": told.decode()})
    await send({"type": "websocket.close", "code": 1008, "reason": error.code})


class LineDoor:
    def __init__(self, services: Services) -> None:
        self._services, self._codec = services, LineCodec()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        services = self._services
        address = services.address_of(scope["client"], scope["headers"])
        try:
            caller = await services.admission.admitted(Visitor.of_request(scope, address))
            services.admission.place(LineConnection, caller, address)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the client is told
            await send({"type": "websocket.accept"})
            return await refuse(send, services.dispatcher.error_of(failure, "connect"))
        sink = LineSink(services)
        conn = LineConnection(new_id("conn"), caller, self._codec, sink, "lines", services.clock())
        conn.address = address
        conn.line = Line(services.dispatcher, conn, self)
        await services.admission.enter(conn)
        await send({"type": "websocket.accept"})
        serving = asyncio.create_task(sink.serve(send))
        hearing = asyncio.create_task(self._hear(conn, receive))
        await asyncio.wait((serving, hearing), return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        hearing.cancel()
        services.admission.left(conn, sink.ended.code if sink.ended else "closed")

    async def _hear(self, conn: Connection, receive: Receive) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            conn.heard_at = self._services.clock()
            name, ref, payload = message["text"].split(" ", 2)
            conn.line.put(name, json.loads(payload), ref)

    def answer(self, conn: Connection, ref: str, name: str, reply: Reply | ChatError) -> None:
        failed = isinstance(reply, ChatError)
        told = {"ok": False, "error": reply.as_dict()} if failed else {"ok": True, **reply}
        conn.sink.push(b"ack %b %b\n" % (ref.encode(), to_json(told)))

    def hold_up(self, conn: Connection, stop: bool) -> None: ...


def offer(services: Services) -> list[BaseRoute]:
    return [WebSocketRoute("/lines", LineDoor(services))]


TRANSPORT = Transport(
    "lines",
    Channel("lines", "/lines", "A line for each command, reply and event", welcomes=False),
    offer,
    {"`/lines`": opening("everybody")},
)
