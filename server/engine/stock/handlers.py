"""Handlers, as python-socketio calls them, in a door's place: one for each namespace.

Leans on python-socketio 5.18.1's `_get_event_handler`, `_trigger_event` and `_handle_event`, `handlers`,
`not_handled` and `environ`; tests/engine/test_pins.py fails when they change.
"""

import asyncio
import inspect
import json
import logging
import sys
from typing import Any, Final

import orjson
import socketio
from socketio import exceptions as sio_exceptions

from events.event import Codec
from events.hub import Hub
from server.engine import packets
from server.engine.attachments import Attachments
from server.engine.clients import Client, SocketIOSession
from server.engine.context import Work
from server.engine.door import ConnectRefused, Door, Problem
from server.engine.handshake import Handshake
from server.engine.namespaces import Namespace
from server.engine.packets import ACK, Packet
from server.engine.reasons import TRANSPORT_ERROR
from server.engine.stock.encoding import KeptAttachments

#: On 3.12 and later: no turn of the loop for a handler that does not wait.
_EAGERLY: Final[dict[str, Any]] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
#: Seconds between a CONNECT's answer and what was sent while it was decided.
APART: Final = 0.01
#: Names whose handlers are known: they are the client's to choose.
MOST_NAMES: Final = 1000

log = logging.getLogger("parley.engine")


class HandlerNamespace(Namespace):
    """`all` are the namespaces that are there: it is among them as long as it has members."""

    def __init__(
        self, name: str, door: Door, hub: Hub, codec: Codec, all: dict[str, Namespace] | None = None
    ) -> None:
        super().__init__(name, door, hub, codec)
        self._all = all

    def remove(self, client: Client) -> None:
        super().remove(client)
        if self._all is not None and not self.members and self._all.get(self.name) is self:
            del self._all[self.name]

    def answer(self, session: SocketIOSession, packet: bytes) -> None:
        """Apart, for clients that wait for one message after another, as the protocol's own test suite does:
        with both in one read the second is gone before they listen (Node's server fails there too)."""
        waiting = session.backlog
        if session.closing or session.slow or session.protocol is None or waiting is None or not waiting.size:
            session.release(packet)
        else:
            session.write(packet)
            asyncio.get_running_loop().call_later(APART, session.release, b"")

    def was_refused(self, session: SocketIOSession) -> None:
        """It may go on elsewhere, or try again."""

    def attachments(self, client: Client, packet: Packet) -> Attachments:
        return KeptAttachments(packet)

    def unusual(self, client: Client, packet: Packet) -> Work | None:
        return self.door.event(client, packet.data[0], packet.data[1:], packet.id)


class Handlers:
    """The door of a namespace whose handlers are python-socketio's to find; those of "/" are found once."""

    def __init__(self, sio: socketio.AsyncServer, namespace: str) -> None:
        self._sio, self._namespace = sio, namespace
        self._not_handled = sio.not_handled
        self._known: dict[str, tuple[Any, bool, tuple[Any, ...]]] = {}
        self._running: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references

    def forget(self) -> None:
        """There are others now."""
        self._known.clear()

    # --- coming and going

    def connect(self, client: Client, info: Handshake, auth: dict[str, Any]) -> Work:
        return self._connect(client, auth or None)

    async def _connect(self, client: Client, auth: Any) -> None:
        """The application's connect handler, in either signature (python-socketio's `_handle_connect`)."""
        if client.session.closing:  # between the packet and this task
            raise ConnectRefused("gone")
        trigger, namespace, sid = self._sio._trigger_event, self._namespace, client.sid
        if not offered(self._sio, namespace):
            raise ConnectRefused("Invalid namespace")
        environ = self._sio.environ[client.session.sid]
        try:
            try:
                success = await trigger("connect", namespace, sid, environ, auth)
            except TypeError as error:
                if auth:
                    raise
                try:
                    success = await trigger("connect", namespace, sid, environ)
                except TypeError:
                    raise error from None
        except sio_exceptions.ConnectionRefusedError as refusal:
            raise _refusal(refusal) from refusal
        except ConnectionRefusedError as refusal:
            raise ConnectRefused("Connection refused by server") from refusal
        except Exception as error:
            log.exception("error in a connect handler")
            raise _refusal(sio_exceptions.ConnectionRefusedError()) from error
        if success is False:
            raise _refusal(sio_exceptions.ConnectionRefusedError())

    def gone(self, client: Client, reason: str) -> Work:
        work: Work = self._sio._trigger_event("disconnect", self._namespace, client.sid, reason)
        return work

    # --- events

    def event(self, client: Client, name: str, args: list[Any], ack_id: int | None) -> Work | None:
        handler, is_coroutine, extra = self._known.get(name) or self._lookup(name)
        if handler is None:
            work: Work = self._sio._handle_event(client.session.sid, self._namespace, ack_id, [name, *args])
            if self._sio.async_handlers:
                client.session.context.run(work)
                return None
            return work
        if is_coroutine:
            mine: list[asyncio.Task[None]] = []
            work = self._run(handler, [*extra, client.sid, *args], client, ack_id, mine)
            if not self._sio.async_handlers:
                return work
            task = asyncio.Task(work, loop=client.sink.flusher.loop, **_EAGERLY)
            if not task.done():
                mine.append(task)
                self._running.add(task)
            return None
        try:
            result = handler(*extra, client.sid, *args) if extra else handler(client.sid, *args)
            if ack_id is not None and result is not self._not_handled:
                self._acknowledge(client, ack_id, result)
        except Exception:
            log.exception("error in an event handler")
        return None

    def _lookup(self, name: str) -> tuple[Any, bool, tuple[Any, ...]]:
        """The handler of an event in "/", whether it is a coroutine function, and what its arguments
        begin with; no handler where only python-socketio's general way finds one."""
        marker = object()
        handler, args = self._sio._get_event_handler(name, "/", (marker,))
        found = (handler, inspect.iscoroutinefunction(handler), args[: args.index(marker)])
        if handler is None or self._sio.instrumented or self._namespace != "/":
            found = (None, False, ())
        if len(self._known) < MOST_NAMES:
            self._known[name] = found
        return found

    async def _run(
        self, handler: Any, args: list[Any], client: Client, ack_id: int | None,
        mine: list[asyncio.Task[None]],
    ) -> None:  # fmt: skip
        try:
            result = await handler(*args)
            if ack_id is not None and result is not self._not_handled:
                self._acknowledge(client, ack_id, result)
        except Exception:
            log.exception("error in an event handler")
        finally:
            if mine:  # cheaper than a callback at the task's end
                self._running.discard(mine[0])

    def _acknowledge(self, client: Client, ack_id: int, result: Any) -> None:
        args = [] if result is None else list(result) if isinstance(result, tuple) else [result]
        try:
            answer = packets.packet_frames(ACK, "/", ack_id, args)
        except TypeError:
            answer = self._sio.encode(ACK, "/", ack_id, args)
        client.sink.push(answer)

    def refused(
        self, client: Client, name: str | None, ack_id: int | None, problem: Problem, size: int
    ) -> None:
        """The session ends, as Node's does; one that says too much ends by itself."""
        if problem != "large":
            client.session.end(TRANSPORT_ERROR)


class Watched:
    """A door that the Admin UI looks at: who comes and who goes."""

    def __init__(self, door: Door, sio: socketio.AsyncServer) -> None:
        self._door, self._sio = door, sio
        self.event, self.refused = door.event, door.refused

    def connect(self, client: Client, info: Handshake, auth: dict[str, Any]) -> Work:
        return self._connect(client, self._door.connect(client, info, auth), auth)

    async def _connect(self, client: Client, waiting: Work | None, auth: dict[str, Any]) -> None:
        if waiting is not None:
            await waiting
        environ = self._sio.environ.get(client.session.sid)
        await self._sio._trigger_event("connect", "/", client.sid, environ, auth)

    def gone(self, client: Client, reason: str) -> Work:
        return self._gone(client, reason)

    async def _gone(self, client: Client, reason: str) -> None:
        waiting = self._door.gone(client, reason)
        if waiting is not None:
            await waiting
        await self._sio._trigger_event("disconnect", "/", client.sid, reason)


def offered(sio: socketio.AsyncServer, namespace: str) -> bool:
    """Whether there is such a namespace, or handlers for it."""
    if sio.namespaces == "*" or namespace in sio.namespaces:
        return True
    return namespace in sio.handlers or namespace in sio.namespace_handlers


def _refusal(error: sio_exceptions.ConnectionRefusedError) -> ConnectRefused:
    told = error.error_args
    data = told.get("data")
    try:
        orjson.dumps(data)
    except TypeError:  # what only the standard library's json can do
        data = orjson.Fragment(json.dumps(data))
    return ConnectRefused(told["message"], data)
