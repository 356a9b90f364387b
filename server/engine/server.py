"""The Socket.IO server: `socketio.AsyncServer` on our sessions, with strict packets and the product's door.

Of python-socketio 5.18.1 it replaces `_engineio_server_class`, `_handle_eio_message`, `_send_packet`,
`_send_eio_packet`, `_handle_connect` and the way to a handler, does what `_handle_eio_connect` does
(`manager_initialized`), and calls `_trigger_event`, `_handle_event`, `_get_event_handler`,
`_get_namespace_handler`; tests/engine/test_pins.py fails when they change.
"""

import asyncio
import inspect
import sys
from collections.abc import Callable
from math import ceil
from typing import Any, Final

import socketio
from engineio import packet as eio_packet
from socketio import exceptions as sio_exceptions
from socketio import packet as sio_packet

from events.event import Codec
from events.hub import Hub
from events.outbox import Flusher
from server.engine import packets, polling
from server.engine.asgi import Scope
from server.engine.door import ComeBack, ConnectRefused, Door, Work
from server.engine.engine import Elsewhere, Engine
from server.engine.handshake import Handshake, Keep
from server.engine.inbound import Inbound
from server.engine.packets import Packet
from server.engine.requests import OriginRule, Refused, credentials
from server.engine.rooms import Client, EventCodec, Manager, Space
from server.engine.session import Session
from server.engine.strangers import Strangers

#: On 3.12 and later: no turn of the loop for a handler that does not wait.
_EAGERLY: Final[dict[str, Any]] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
#: Seconds after which one who is to come back is looked for again: it may have gone.
_LOOK: Final = 1.0


class Server(socketio.AsyncServer):  # type: ignore[misc]  # socketio has no types
    """`socketio.AsyncServer`, with these settings besides its own:

    `door` and `codec`: whose the namespace "/" is, and what its broadcast events look like on the wire;
    `hub`: the hub that has its rooms; `outbox_limit`: bytes that may wait for a client that reads slowly;
    `connect_timeout`: seconds until a client that is in no namespace is closed; `origin`: who may come in
    from where (instead of `cors_allowed_origins`); `refused_origin`: what the others are told;
    `identify`: a digest of a request's credentials, to which a polling session is bound; `elsewhere`:
    answers polling requests for other nodes' sessions;
    `payload_limit`: bytes of an event's payload, less than `max_http_buffer_size` by what is around it at
    least; `stranger_limit`: bytes of a message from a client that is in no namespace yet.
    """

    eio: Engine
    manager: Manager
    manager_initialized: bool
    inbound: Inbound
    #: The packets are python-socketio's own kind, which we encode and decode ourselves.
    strict: bool

    def __init__(
        self,
        client_manager: Manager | None = None,
        *,
        door: Door | None = None,
        codec: Codec | None = None,
        hub: Hub | None = None,
        outbox_limit: int = 1 << 20,
        connect_timeout: float = 15.0,
        origin: OriginRule | None = None,
        refused_origin: Refused | None = None,
        identify: Callable[[Scope], bytes | None] = credentials,
        elsewhere: Elsewhere | None = None,
        strangers: Strangers | None = None,
        place: Callable[[Scope], str] = lambda scope: "",
        keep: Keep | None = None,
        payload_limit: int | None = None,
        stranger_limit: int | None = None,
        **settings: Any,
    ) -> None:
        self.door = door
        self.codec = codec or EventCodec()
        self.hub = hub
        self.flusher = hub.flusher if hub is not None else Flusher()
        self._payload_limit = payload_limit
        self._running: set[asyncio.Task[None]] = set()
        self._handler_cache: dict[str, tuple[Any, bool, tuple[Any, ...]]] = {}
        self._instrumented = False
        self._engine_settings: dict[str, Any] = {
            "flusher": self.flusher, "outbox_limit": outbox_limit, "connect_timeout": connect_timeout,
            "origin": origin, "refused_origin": refused_origin, "identify": identify, "elsewhere": elsewhere,
            "strangers": strangers, "place": place, "keep": keep, "stranger_limit": stranger_limit,
        }  # fmt: skip
        settings.setdefault("async_mode", "asgi")
        super().__init__(client_manager=client_manager or Manager(), **settings)
        self.eio.plain_handler = self._opened
        self.eio.on("connect", self.eio.plain_handler)
        #: (kind, namespace, id, data) to the WebSocket frames of a packet
        self.encode: Callable[[int, str, int | None, Any], bytes] = (
            packets.packet_frames if self.strict else self._encode_otherwise
        )

    def _engineio_server_class(self) -> Any:
        def engine(**settings: Any) -> Engine:
            # BaseServer.__init__ has set packet_class by now
            self.strict = self.packet_class is sio_packet.Packet
            self.inbound = Inbound(self, self._payload_limit)
            return Engine(
                message=self.inbound.packet,
                attachment=self.inbound.attachment,
                too_big=self.inbound.too_big,
                **self._engine_settings,
                **settings,
            )

        return engine

    def new_space(self, namespace: str) -> Space:
        if namespace == "/" and self.door is not None:
            return Space(self.hub or Hub(self.flusher), self.codec)
        return Space(Hub(self.flusher), EventCodec())

    def instrument(self, *args: Any, **kwargs: Any) -> Any:
        admin = super().instrument(*args, **kwargs)
        self._instrumented = True  # it has to see every event pass through _trigger_event
        return admin

    # --- handlers

    def on(self, event: str, handler: Any = None, namespace: str | None = None) -> Any:
        self._handler_cache.clear()
        return super().on(event, handler, namespace)

    def register_namespace(self, namespace_handler: Any) -> None:
        self._handler_cache.clear()
        super().register_namespace(namespace_handler)

    def _lookup(self, name: str) -> tuple[Any, bool, tuple[Any, ...]]:
        """The handler of an event in "/", whether it is a coroutine function, and what its arguments
        begin with; no handler where only python-socketio's general way finds one."""
        marker = object()
        handler, args = self._get_event_handler(name, "/", (marker,))
        found = (handler, inspect.iscoroutinefunction(handler), args[: args.index(marker)])
        if handler is None or self._instrumented:
            found = (None, False, ())
        if len(self._handler_cache) < 1000:  # names are the client's to choose
            self._handler_cache[name] = found
        return found

    def call_handler(self, client: Client, name: str, args: list[Any], ack_id: int | None) -> Work | None:
        handler, is_coroutine, extra = self._handler_cache.get(name) or self._lookup(name)
        if handler is None:
            work = self._handle_event(client.session.sid, "/", ack_id, args)
            if self.async_handlers:
                self.eio.run(work)
                return None
            return work  # type: ignore[no-any-return]
        args[0] = client.sid
        if extra:
            args = [*extra, *args]
        if is_coroutine:
            mine: list[asyncio.Task[None]] = []
            work = self._run_handler(handler, args, client, ack_id, mine)
            if not self.async_handlers:
                return work
            task = asyncio.Task(work, loop=self.flusher.loop, **_EAGERLY)
            if not task.done():
                mine.append(task)
                self._running.add(task)  # the loop itself keeps only weak references
            return None
        try:
            result = handler(*args)
            if ack_id is not None and result is not self.not_handled:
                self._acknowledge(client, ack_id, result)
        except Exception:
            self.eio.log.exception("error in an event handler")
        return None

    async def _run_handler(
        self,
        handler: Any,
        args: list[Any],
        client: Client,
        ack_id: int | None,
        mine: list[asyncio.Task[None]],
    ) -> None:
        try:
            result = await handler(*args)
            if ack_id is not None and result is not self.not_handled:
                self._acknowledge(client, ack_id, result)
        except Exception:
            self.eio.log.exception("error in an event handler")
        finally:
            if mine:  # cheaper than a callback at the task's end
                self._running.discard(mine[0])

    def _acknowledge(self, client: Client, ack_id: int, result: Any) -> None:
        args = [] if result is None else list(result) if isinstance(result, tuple) else [result]
        client.sink.push(self.encode(packets.ACK, "/", ack_id, args))

    # --- what goes out

    def _encode_otherwise(self, kind: int, namespace: str, id: int | None, data: Any) -> bytes:
        """A packet in another serializer's form, as WebSocket frames."""
        return packets.legacy_frames(self.packet_class(kind, namespace=namespace, data=data, id=id))

    async def emit(
        self, event: str, data: Any = None, to: Any = None, room: Any = None, skip_sid: Any = None,
        namespace: str | None = None, callback: Any = None, ignore_queue: bool = False,
    ) -> None:  # fmt: skip
        await self.manager.emit(
            event, data, namespace or "/", room=to or room, skip_sid=skip_sid, callback=callback,
            ignore_queue=ignore_queue,
        )  # fmt: skip

    def emit_now(
        self,
        event: str,
        data: Any = None,
        room: Any = None,
        skip_sid: Any = None,
        namespace: str | None = None,
    ) -> None:
        """`emit`, which has nothing to wait for, as a plain function: with it a handler can be one, too, and
        needs no task."""
        if self._instrumented:  # the Admin UI looks on where `emit` goes
            self.eio.run(self.emit(event, data, room=room, skip_sid=skip_sid, namespace=namespace))
        else:
            self.manager.emit_now(event, data, namespace or "/", room, skip_sid)

    async def _send_packet(self, eio_sid: str, pkt: Any) -> None:
        session = self.eio.sockets.get(eio_sid)
        if session is not None:
            session.push(packets.legacy_frames(pkt))

    async def _send_eio_packet(self, eio_sid: str, eio_pkt: eio_packet.Packet) -> None:
        session = self.eio.sockets.get(eio_sid)
        if session is not None and not session.closed:
            await session.send(eio_pkt)

    # --- coming

    def connect(self, session: Session, packet: Packet) -> Work | None:
        """CONNECT: decided at once, or when what is returned has been awaited."""
        namespace = packet.namespace
        door = self.door if namespace == "/" else None
        known = door is not None or self.namespaces == "*" or namespace in self.namespaces
        if not (known or namespace in self.handlers or namespace in self.namespace_handlers):
            error = {"message": "Invalid namespace"}
            session.push(self.encode(packets.CONNECT_ERROR, namespace, None, error))
            return None
        if door is not None and session.handshake is None and session.client is None:
            # it was here before and left; the request that the door judges by is no longer kept (half a
            # KiB each): a client whose connection ends comes back on a new one
            session.end(self.reason.SERVER_DISCONNECT)
            return None
        client = self.manager.add(session, namespace)
        if client is None:
            error = {"message": "Unable to connect"}
            session.push(self.encode(packets.CONNECT_ERROR, namespace, None, error))
            return None
        if door is None:
            session.hold()
            return self._deciding(client, self._connect_handler(client, packet.data))
        refusal: _Refused | None = None
        try:
            waiting = self._knock(door, client, packet.data or {})
        except _Refused as error:
            waiting, refusal = None, error
        except ComeBack as later:
            waiting = self._send_away(session, later)
        if waiting is not None:
            session.hold()
            return self._deciding(client, waiting)
        session.push(self._decided(client, refusal))
        self._settled(client, refusal)
        return None

    async def _deciding(self, client: Client, work: Work) -> None:
        """What is sent to the client meanwhile waits, and follows the answer in one write: the official
        client keeps events that come first in a buffer that outlives a broken connection."""
        session = client.session
        mine = client.namespace == "/" and self.door is not None
        if session.closing and not mine:  # between the packet and this task: no handler has begun
            work.close()
            self.manager.remove(client)
            return
        refusal: _Refused | None = _Refused(None)
        try:
            await work
            refusal = None
        except _Refused as error:
            refusal = error
        finally:
            answer = self._decided(client, refusal)
            if refusal is not None and session.backlog is not None:
                # what was sent to everybody meanwhile is not for who was refused
                events = packets.events_of(client.namespace)
                session.backlog.keep(lambda frame: not events(polling.payload(frame)))
            session.release(answer, together=mine)
        if session.closing and refusal is None:
            await self._gone(client, self.reason.TRANSPORT_CLOSE)
        self._settled(client, refusal)

    def _decided(self, client: Client, refusal: "_Refused | None") -> bytes:
        """The answer to a CONNECT, which counts from now on."""
        if refusal is not None:
            self.manager.remove(client)
            return self.encode(packets.CONNECT_ERROR, client.namespace, None, refusal.data)
        if not client.session.closing:
            client.state = None
            self.eio.known(client.session)
        data = {"sid": client.sid} if client.pid is None else {"sid": client.sid, "pid": client.pid}
        return self.encode(packets.CONNECT, client.namespace, None, data)

    def _settled(self, client: Client, refusal: "_Refused | None") -> None:
        """Nothing more needs the request that opened the connection; who is refused has no business here."""
        session = client.session
        door = self.door if client.namespace == "/" else None
        if refusal is not None and door is not None and not session.others:
            session.end(self.reason.SERVER_DISCONNECT)
        if door is not None and not self._elsewhere():
            self.environ.pop(session.sid, None)
            session.handshake = None
        elif isinstance(environ := self.environ.get(session.sid), Handshake):
            environ.compact()

    def _elsewhere(self) -> bool:
        """Whether there are namespaces besides the door's, the Admin UI's say: theirs need the environ."""
        if self.namespaces != ["/"] or self.namespace_handlers:
            return True
        return len(self.handlers) > ("/" in self.handlers)

    def _knock(self, door: Door, client: Client, auth: dict[str, Any]) -> Work | None:
        """What has to be awaited for the door's answer. Raises _Refused."""
        session, sid = client.session, client.sid
        assert session.handshake is not None
        try:
            waiting = door.connect(client, session.handshake, auth)
        except ComeBack:
            raise
        except Exception as error:
            raise self._refused(error) from error
        if waiting is not None or self._instrumented:
            return self._wait_for(client, sid, auth, waiting)
        return None

    async def _wait_for(self, client: Client, sid: str, auth: dict[str, Any], waiting: Work | None) -> None:
        """`sid` is the one that the client had before the door was asked."""
        try:
            if waiting is not None:
                await waiting
        except ComeBack as later:
            await self._send_away(client.session, later)
        except Exception as error:
            raise self._refused(error) from error
        if client.sid != sid:
            self.manager.rename(client, sid)
        if self._instrumented:
            environ = self.environ.get(client.session.sid)
            await self._trigger_event("connect", "/", client.sid, environ, auth)

    async def _send_away(self, session: Session, later: ComeBack) -> None:
        """Until then the client is not listened to, and its session is a stranger's. Raises _Refused."""
        session.ignore()
        looks = ceil(later.seconds / _LOOK)
        for _ in range(looks):
            if not session.closing:
                await asyncio.sleep(later.seconds / looks)
        session.end(self.reason.TRANSPORT_CLOSE, close=(later.code, later.reason))
        raise _Refused(None)

    def _refused(self, error: Exception) -> "_Refused":
        if not isinstance(error, ConnectRefused):
            self.eio.log.error("error in the door's connect", exc_info=error)
            return _Refused({"message": "Connection refused by server"})
        data = {"message": error.message}
        return _Refused(data if error.data is None else {**data, "data": error.data})

    async def _connect_handler(self, client: Client, auth: Any) -> None:
        """The application's connect handler, in either signature (python-socketio's `_handle_connect`)."""
        sid, namespace, environ = client.sid, client.namespace, self.environ[client.session.sid]
        try:
            try:
                success = await self._trigger_event("connect", namespace, sid, environ, auth or None)
            except TypeError as error:
                if auth:
                    raise
                try:
                    success = await self._trigger_event("connect", namespace, sid, environ)
                except TypeError:
                    raise error from None
        except sio_exceptions.ConnectionRefusedError as refusal:
            raise _Refused(refusal.error_args) from refusal
        except ConnectionRefusedError as refusal:
            raise _Refused({"message": "Connection refused by server"}) from refusal
        except Exception as error:
            self.eio.log.exception("error in a connect handler")
            raise _Refused(sio_exceptions.ConnectionRefusedError().error_args) from error
        if success is False:
            raise _Refused(sio_exceptions.ConnectionRefusedError().error_args)

    # --- going

    async def leave(self, client: Client, reason: str) -> None:
        if client.state is None:
            client.state = "disconnecting"
            client.session.attachments = None
            await self._gone(client, reason)

    async def _gone(self, client: Client, reason: str) -> None:
        client.state = "disconnecting"
        try:
            if client.namespace != "/" or self.door is None:
                await self._trigger_event("disconnect", client.namespace, client.sid, reason)
            else:
                self.door.gone(client, reason)
                if self._instrumented:
                    await self._trigger_event("disconnect", "/", client.sid, reason)
        except Exception:
            self.eio.log.exception("error in a disconnect handler")
        finally:
            self.manager.remove(client)

    def _opened(self, eio_sid: str, environ: Any) -> None:
        """As `_handle_eio_connect`, which is a coroutine and need not wait."""
        if not self.manager_initialized:
            self.manager_initialized = True
            self.manager.initialize()
        self.environ[eio_sid] = environ

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        session = self.eio.sockets.get(eio_sid)
        if session is not None:
            for client in [session.client, *(session.others or {}).values()]:
                if client is not None and client.state is None:  # one that is connecting sees for itself
                    await self.leave(client, reason)
        self.environ.pop(eio_sid, None)

    async def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        client = self.manager.client(sid, namespace or "/")
        if client is not None and client.state is None:
            client.session.push(self.encode(packets.DISCONNECT, client.namespace, None, None))
            await self.leave(client, self.reason.SERVER_DISCONNECT)

    def disconnect_soon(self, client: Client) -> None:
        self.eio.run(self.disconnect(client.sid, client.namespace))


class _Refused(Exception):
    """A CONNECT was refused; `data` is for the client."""

    def __init__(self, data: Any) -> None:
        self.data = data
