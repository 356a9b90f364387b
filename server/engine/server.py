"""The Socket.IO server: Engine.IO sessions that carry namespaces, and the CONNECT that leads into one.

The namespace "/" belongs to the product's `Door`. Others are refused, unless somebody offers them: the Admin
UI does, by way of python-socketio's face (`stock/`).
"""

import asyncio
import logging
from collections.abc import Callable
from math import ceil
from typing import Any, Final, NamedTuple

from events.event import Codec
from events.hub import Hub
from server.engine import packets, polling, reasons
from server.engine.asgi import Receive, Scope, Send
from server.engine.clients import Client, SocketIOSession, State
from server.engine.context import Work
from server.engine.door import ComeBack, ConnectRefused, Door
from server.engine.endpoint import Endpoint
from server.engine.engine import Engine, EngineSettings
from server.engine.inbound import Inbound
from server.engine.namespaces import Namespace
from server.engine.packets import Packet
from server.engine.protocol import WebSocketProtocol
from server.engine.requests import OriginCheck

#: Seconds after which one who is to come back is looked for again: it may have gone.
_LOOK: Final = 1.0

log = logging.getLogger("parley.engine")


class Server:
    """`door`, `hub` and `codec`: whose the namespace "/" is, which hub has its rooms, and what its broadcast
    events look like on the wire; `payload_limit`: bytes of an event's payload, less than a message's limit by
    what is around it at least; `origins`: who may come in from where. All others are `EngineSettings`."""

    def __init__(
        self,
        *,
        door: Door,
        hub: Hub,
        codec: Codec,
        payload_limit: int | None = None,
        origins: OriginCheck | None = None,
        root: Callable[[str, Door, Hub, Codec], Namespace] = Namespace,
        **settings: Any,
    ) -> None:
        self.namespaces = {"/": root("/", door, hub, codec)}
        #: Makes a namespace that is not there, if there may be one of that name.
        self.offered: Callable[[str], Namespace | None] | None = None
        #: Whether the request that opened a session is kept as long as that, for others than the door.
        self.keeps_requests = False
        self.inbound = Inbound(self.namespaces, self.connect, payload_limit)
        self.engine: Engine[SocketIOSession] = Engine(
            SocketIOSession,
            EngineSettings(**settings),
            flusher=hub.flusher,
            message=self.inbound.packet,
            attachment=self.inbound.attachment,
            too_big=self.inbound.too_big,
            ended=self.ended,
        )
        self.endpoint = Endpoint(self.engine, origins or OriginCheck())

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI request or websocket for the Engine.IO path."""
        await self.endpoint.handle_request(scope, receive, send)

    def at_once(self, scope: Scope, protocol: WebSocketProtocol) -> bool:
        """A new session over WebSocket, with nothing to wait for; anything else is `handle_request`'s."""
        return self.endpoint.at_once(scope, protocol)

    def namespace(self, name: str) -> Namespace | None:
        found = self.namespaces.get(name)
        return self.offered(name) if found is None and self.offered is not None else found

    # --- coming

    def connect(self, session: SocketIOSession, packet: Packet) -> Work | None:
        """CONNECT: decided at once, or when what is returned has been awaited."""
        namespace = self.namespace(packet.namespace)
        if namespace is None:
            _say_no(session, packet.namespace, "Invalid namespace")
            return None
        if session.client_in(namespace.name) is not None:
            _say_no(session, namespace.name, "Unable to connect")
            return None
        if session.handshake is None:
            # it was here before and left; the request that the door judges by is no longer kept (half a
            # KiB each): a client whose connection ends comes back on a new one
            session.end(reasons.SERVER_DISCONNECT)
            return None
        client = namespace.add(session, sid := self.engine.generate_id())
        waiting: Work | None = None
        refusal: _Refusal | None = None
        try:
            waiting = namespace.door.connect(client, session.handshake, packet.data or {})
        except ComeBack as later:
            waiting = _raised(later)
        except ConnectRefused as refused:
            refusal = _refusal(refused)
        except Exception:
            log.exception("error in the door's connect")
            refusal = _BROKEN
        if waiting is not None:
            session.hold()
            return self._await_door(namespace, client, sid, waiting)
        session.push(self._connect_reply(namespace, session, client, refusal))
        self._settled(namespace, session, refusal)
        return None

    async def _await_door(self, namespace: Namespace, client: Client, sid: str, work: Work) -> None:
        """What is sent to the client meanwhile waits, and follows the answer. `sid` is the one that it had
        before the door was asked."""
        session = client.session
        refusal: _Refusal | None = _Refusal(None)
        try:
            await work
            refusal = None
            if client.sid != sid:
                namespace.rename(client, sid)
        except ComeBack as later:
            await self._send_away(session, later)
        except ConnectRefused as refused:
            refusal = _refusal(refused)
        except Exception:
            log.exception("error in the door's connect")
            refusal = _BROKEN
        finally:
            answer = self._connect_reply(namespace, session, client, refusal)
            if refusal is not None and session.backlog is not None:
                # what was sent to everybody meanwhile is not for who was refused
                events = packets.events_of(client.namespace)
                session.backlog.keep(lambda frame: not events(polling.payload(frame)))
            namespace.answer(session, answer)
        if session.closing and refusal is None:
            await namespace.gone(client, reasons.TRANSPORT_CLOSE)
        self._settled(namespace, session, refusal)

    def _connect_reply(
        self, namespace: Namespace, session: SocketIOSession, client: Client, refusal: "_Refusal | None"
    ) -> bytes:
        """The answer to a CONNECT, which counts from now on."""
        if refusal is not None:
            namespace.remove(client)
            return packets.packet_frames(packets.CONNECT_ERROR, client.namespace, None, refusal.data)
        if not session.closing:
            client.state = State.CONNECTED
            self.engine.known(session)
        data = {"sid": client.sid} if client.pid is None else {"sid": client.sid, "pid": client.pid}
        return packets.packet_frames(packets.CONNECT, client.namespace, None, data)

    def _settled(self, namespace: Namespace, session: SocketIOSession, refusal: "_Refusal | None") -> None:
        """The door needs no more of the request that opened the connection."""
        if refusal is not None:
            namespace.was_refused(session)
        if not self.keeps_requests:
            session.handshake = None
        elif session.handshake is not None:
            session.handshake.compact()

    async def _send_away(self, session: SocketIOSession, later: ComeBack) -> None:
        """Until then the client is not listened to, and its session is a stranger's."""
        session.ignore()
        looks = ceil(later.seconds / _LOOK)
        for _ in range(looks):
            if not session.closing:
                await asyncio.sleep(later.seconds / looks)
        session.end(reasons.TRANSPORT_CLOSE, close=(later.code, later.reason))

    # --- going

    async def ended(self, session: SocketIOSession, reason: reasons.Reason) -> None:
        """The session is over: so are its clients, but for one that is connecting, which sees for itself."""
        for client in session.clients():
            await client.leave(client, reason)


class _Refusal(NamedTuple):
    """A CONNECT was refused."""

    data: Any  # for the client


_BROKEN: Final = _Refusal({"message": "Connection refused by server"})


def _refusal(refused: ConnectRefused) -> _Refusal:
    data = {"message": refused.message}
    return _Refusal(data if refused.data is None else {**data, "data": refused.data})


async def _raised(later: ComeBack) -> None:
    raise later


def _say_no(session: SocketIOSession, namespace: str, why: str) -> None:
    session.aside()
    answer = packets.packet_frames(packets.CONNECT_ERROR, namespace, None, {"message": why})
    session.push(answer)
