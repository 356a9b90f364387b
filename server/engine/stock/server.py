"""`socketio.AsyncServer` on our sessions: with a server of its own, or as the face of one that has a door.

Of python-socketio 5.18.1 it replaces `_engineio_server_class`, `_send_packet`, `_send_eio_packet`,
`_handle_eio_disconnect`, `emit` and `disconnect`, and calls `_handle_eio_message` for other serializers;
tests/engine/test_pins.py fails when they change.
"""

from collections.abc import Callable
from typing import Any

import socketio
from engineio import packet as eio_packet
from socketio import packet as sio_packet

from events.hub import Hub
from server.engine import packets, server
from server.engine.asgi import Receive, Scope, Send
from server.engine.clients import CONNECTED, SocketIOSession
from server.engine.context import Work
from server.engine.namespaces import Namespace
from server.engine.protocol import WebSocketProtocol
from server.engine.reasons import SERVER_DISCONNECT
from server.engine.requests import OriginCheck, OriginRule
from server.engine.stock.eio import CorsOrigins, Eio, Environs
from server.engine.stock.encoding import EventCodec, legacy_frames, packet_frames
from server.engine.stock.handlers import HandlerNamespace, Handlers, Watched, offered
from server.engine.stock.manager import Manager


class Server(socketio.AsyncServer):  # type: ignore[misc]  # socketio has no types
    """`core` is the server whose face it is: its door keeps "/", and other namespaces are offered here.
    Without one it has its own: `origin` tells who may come in (instead of `cors_allowed_origins`); settings
    that python-socketio does not have are `engine.EngineSettings`, in `engine`."""

    eio: Eio
    manager: Manager
    #: Somebody has to see every event pass through `_trigger_event`.
    instrumented = False

    def __init__(
        self,
        client_manager: Manager | None = None,
        *,
        core: "server.Server | None" = None,
        origin: OriginRule | None = None,
        engine: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(client_manager=client_manager or Manager(), **settings)
        self.root = Handlers(self, "/")
        self.core = core or self._own(origin, engine or {})
        self.engine = self.core.engine
        self.core.offered = self._offer
        self.core.keeps_requests = True
        self.eio.attach_to(self.engine)
        self.environ = Environs(self.engine.sessions)
        self.manager.core = self.core
        self.manager_initialized = True
        self.manager.initialize()
        #: (kind, namespace, id, data) to the WebSocket frames of a packet
        self.encode: Callable[[int, str, int | None, Any], bytes] = packet_frames
        if self.packet_class is not sio_packet.Packet:  # python-socketio's to decode and encode
            self.encode = self._encode_otherwise
            self.engine.context.message = self._otherwise
            self.engine.context.attachment = self._otherwise

    def _engineio_server_class(self) -> Any:
        return Eio

    def _own(self, origin: OriginRule | None, settings: dict[str, Any]) -> "server.Server":
        eio = self.eio
        cors = CorsOrigins(eio.cors_allowed_origins, eio.cors_credentials)
        return server.Server(
            door=self.root, hub=Hub(), codec=EventCodec(), root=HandlerNamespace,
            origins=cors if origin is None else OriginCheck(origin),
            ping_interval=eio.ping_interval, ping_timeout=eio.ping_timeout,
            ping_grace=eio.ping_interval_grace_period, max_size=eio.max_http_buffer_size,
            transports=tuple(eio.transports), allow_upgrades=eio.allow_upgrades,
            cookie=eio.cookie_of if eio.cookie else None,
            **settings,
        )  # fmt: skip

    def _offer(self, name: str) -> Namespace | None:
        if not offered(self, name):
            return None
        all, hub = self.core.namespaces, Hub(self.core.engine.context.flusher)
        made = all[name] = HandlerNamespace(name, Handlers(self, name), hub, EventCodec(), all)
        return made

    def instrument(self, *args: Any, **kwargs: Any) -> Any:
        admin = super().instrument(*args, **kwargs)
        self.instrumented = True
        self.root.forget()
        root = self.core.namespaces["/"]
        if root.door is not self.root:
            root.door = Watched(root.door, self)
        return admin

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.core.handle_request(scope, receive, send)

    def at_once(self, scope: Scope, protocol: WebSocketProtocol) -> bool:
        return self.core.at_once(scope, protocol)

    # --- handlers

    def on(self, event: str, handler: Any = None, namespace: str | None = None) -> Any:
        self.root.forget()
        return super().on(event, handler, namespace)

    def register_namespace(self, namespace_handler: Any) -> None:
        self.root.forget()
        super().register_namespace(namespace_handler)

    # --- what goes out

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
        if self.instrumented:  # the Admin UI looks on where `emit` goes
            self.engine.context.run(self.emit(event, data, room=room, skip_sid=skip_sid, namespace=namespace))
        else:
            self.manager.emit_now(event, data, namespace or "/", room, skip_sid)

    async def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        client = self.manager.client(sid, namespace or "/")
        if client is not None and client.state is CONNECTED:
            client.session.push(self.encode(packets.DISCONNECT, client.namespace, None, None))
            await client.leave(client, SERVER_DISCONNECT)

    async def _send_packet(self, eio_sid: str, pkt: Any) -> None:
        session = self.engine.sessions.get(eio_sid)
        if session is not None:
            session.push(legacy_frames(pkt))

    async def _send_eio_packet(self, eio_sid: str, eio_pkt: eio_packet.Packet) -> None:
        if eio_sid in self.engine.sessions:
            await self.eio.send_packet(eio_sid, eio_pkt)

    # --- what comes in

    async def _handle_eio_disconnect(self, eio_sid: str, reason: Any) -> None:
        session = self.engine.sessions.get(eio_sid)
        if session is not None:
            await self.core.ended(session, reason)

    # --- another serializer

    def _encode_otherwise(self, kind: int, namespace: str, id: int | None, data: Any) -> bytes:
        return legacy_frames(self.packet_class(kind, namespace=namespace, data=data, id=id))

    def _otherwise(self, session: SocketIOSession, data: bytes) -> Work:
        """A text message without its "4", or a binary one."""
        message: Any = data[1:].decode() if data[:1] == b"4" else data
        work: Work = self._handle_eio_message(session.sid, message)
        return work
