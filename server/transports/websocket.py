"""The raw WebSocket door, `/ws/{session_id}`: accepted first, so that a browser sees why it is closed."""

import json
import re
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Receive, Scope, Send

from events.access import Caller
from events.dispatch import Reply
from events.errors import (
    ChatError,
    PayloadTooLarge,
    RateLimited,
    SessionNotFound,
    Unavailable,
    ValidationFailed,
)
from events.event import Codec, to_json
from events.ids import new_id
from events.line import Line
from events.outline import Nested
from events.room import Connection
from events.sessions import Origin
from server.admission import Visitor
from server.engine import packets
from server.engine.heartbeat import Wheel
from server.engine.protocol import HEAD_LIMIT, WebSocketProtocol
from server.errors import close_code
from server.identity import peer
from server.services import Services
from server.transports.base import Channel, Transport, opening
from server.transports.codecs import WebSocketCodec
from server.transports.rawsocket import RawConnection, RawSocket, told

#: Session ids that a client may make up (WS_CREATE_SESSIONS).
_OWN_ID = re.compile(r"^[A-Za-z0-9._:\-]{1,100}\Z")
#: Refused commands in a row, within their limits' minute, that close the connection.
ABUSE = 30
#: Bytes of what is refused that the lenient, slow reader goes through for a `ref`: about a millisecond.
LENIENT = 16 * 1024
#: Bytes of a `ref`, as JSON. It is kept as it is while its command waits, and nobody counts it: as objects a
#: message full of them would be ten times as much.
REF = 1024


class RawDoor:
    """ASGI application for `/ws/{session_id}`."""

    def __init__(self, services: Services, codec: Codec) -> None:
        self.services = services
        self._codec = codec
        settings = services.settings
        self.tick = min(1.0, max(0.01, min(settings.ws_heartbeat_interval, settings.ws_ping_timeout) / 10))
        self.wheel = Wheel(self.tick)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await PlainTextResponse("A WebSocket is expected here\n", status_code=426)(scope, receive, send)
            return
        await receive()
        offered = scope.get("subprotocols", [])
        bearer = "bearer" if len(offered) >= 2 and offered[0].lower() == "bearer" else None
        protocol: WebSocketProtocol = scope["extensions"]["parley.protocol"]["protocol"]
        session_id = scope["path_params"]["session_id"]
        socket = RawSocket(self, protocol, session_id, self.wheel.now())
        admission = self.services.admission
        try:
            address = self.services.address_of(scope["client"], scope["headers"])
            caller = await admission.admitted(Visitor.of_request(scope, address))
            admission.place(RawConnection, caller, address)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the browser is told a close code
            error = self.services.dispatcher.error_of(failure, "connect")
            self._refused(scope, error)
            # Whatever it says is not looked at: it has been told, and has to close.
            await send({"type": "websocket.accept", "subprotocol": bearer, "parley.max_size": HEAD_LIMIT})
            await send({"type": "websocket.send", "text": to_json(told(error)).decode()})
            await send({"type": "websocket.close", "code": close_code(error) or 1011, "reason": error.code})
            return
        conn = RawConnection(new_id("conn"), caller, self._codec, socket, "websocket", self.services.clock())
        conn.address = address
        protocol.known()
        conn.line = Line(self.services.dispatcher, conn, self)
        socket.conn = conn
        socket.pause_writing()  # nothing goes before the answer to the upgrade
        await admission.enter(conn)
        protocol.take_over(socket, subprotocol=bearer, max_size=self.services.settings.ws_frame_size_limit)
        socket.resume()
        self.wheel.add(socket, self.wheel.now() + self.services.settings.ws_heartbeat_interval)
        # What the client says before it has been welcomed waits in line.
        query = _query(scope)
        conn.line.first(self._welcome(socket, conn, query, scope))

    def _refused(self, scope: Scope, error: ChatError) -> None:
        address = self.services.address_of(scope["client"], scope["headers"])
        self.services.gate.journal.refused("websocket", error, address, scope["path"])

    async def _welcome(
        self, socket: RawSocket, conn: Connection, query: dict[str, str], scope: Scope
    ) -> None:
        services = self.services
        try:
            after = query.get("after")
            after_revision = _number(query.get("after_revision"))
            limit = _number(query.get("limit")) or 50
            if "\0" in socket.session_id:
                raise SessionNotFound  # PostgreSQL cannot even be asked
            try:
                joined = await services.joining.join(
                    conn,
                    socket.session_id,
                    after_revision,
                    min(max(limit, 1), 500),
                    query.get("lineage"),
                    after=after,
                )
            except SessionNotFound:
                if not await self._create(conn.caller, socket.session_id, scope):
                    raise
                joined = await services.joining.join(conn, socket.session_id)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the browser is told a close code
            error = services.dispatcher.error_of(failure, "join")
            self._refused(scope, error)
            socket.end(error if close_code(error) else Unavailable(error.text))
            return
        welcome = {"type": "welcome", "ok": True, **joined.reply, "connection_id": conn.id}
        welcome["recovered"] = joined.recovered
        socket.tell(welcome)
        joined.then()
        member = conn.member(socket.session_id)
        if member is not None:
            services.sessions.touches.touch_live(member.room, services.clock())

    async def _create(self, caller: Caller, session_id: str, scope: Scope) -> bool:
        """WS_CREATE_SESSIONS: an unused id becomes the caller's session."""
        services = self.services
        if not services.settings.ws_create_sessions or not _OWN_ID.match(session_id):
            return False
        if session_id.startswith("sess_"):
            return False  # ours, and erased: its links lead nowhere, not to whoever comes first
        address = services.address_of(scope["client"], scope["headers"])
        agent = peer.header(scope["headers"], b"user-agent")
        try:
            origin = Origin("websocket", address, agent)
            create = partial(services.sessions.create_session, caller, origin, session_id=session_id)
            waiting = services.dispatcher.limit("create_session", caller)
            if waiting is not None:
                await waiting
            await services.dispatcher.perform("create_session", create, session_id)
        except ChatError as error:
            if error.code in ("CONFLICT", "FORBIDDEN"):
                return False  # somebody else's: to this caller it does not exist
            raise
        return True

    # --- what comes in

    def heard(self, socket: RawSocket, data: bytes) -> None:
        conn = socket.conn
        if conn is None or conn.line is None:
            return
        conn.heard_at = self.services.clock()
        try:
            message = packets.loads(data)
        except ValueError as failure:
            problem = str(failure) if isinstance(failure, Nested) else "not strict JSON"
            conn.line.refuse(ValidationFailed(problem), "", _ref_of(data))
            return
        ref = message.pop("ref", None) if isinstance(message, dict) else None
        if ref is not None and not _is_small(ref):
            conn.line.refuse(ValidationFailed(f"at most {REF} bytes", field="ref"), "", None)
            return
        if not isinstance(message, dict) or not isinstance(name := message.get("type"), str):
            conn.line.refuse(ValidationFailed('a message is {"type": name, …}'), "", ref)
            return
        limit = self.services.settings.ws_message_size_limit
        if len(data) > limit:
            large = PayloadTooLarge.beyond(limit, len(data))
            self.services.gate.journal.refused("websocket", large, conn.address)
            conn.line.refuse(large, name, ref)
            return
        given = message.get("session_id")
        if given is not None and given != socket.session_id:
            error = ValidationFailed("this connection is another session's", field="session_id")
            conn.line.refuse(error, name, ref)
            return
        message["session_id"] = socket.session_id
        conn.line.put(name, message, ref)

    def refuse(self, socket: RawSocket, error: ChatError) -> None:
        conn = socket.conn
        if conn is not None and conn.line is not None:
            conn.heard_at = self.services.clock()
            conn.line.refuse(error, "", None)

    def answer(self, conn: RawConnection, ref: Any, name: str, reply: Reply | ChatError) -> None:
        """`{"type": "ack", "ref": …}`; without a ref only failures are sent."""
        socket = conn.sink
        if isinstance(reply, ChatError):
            error = reply.as_dict()
            if ref is None:
                socket.tell({"type": "error", **error, "command": name[:100]})
            else:
                socket.tell({"type": "ack", "ref": ref, "ok": False, "error": error})
            socket.refusals = socket.refusals + 1 if isinstance(reply, RateLimited) else socket.refusals
            if socket.refusals > ABUSE:
                socket.end(reply)
            return
        socket.refusals = 0
        if ref is not None:
            socket.tell({"type": "ack", "ref": ref, "ok": True, **reply})

    def hold_up(self, conn: RawConnection, stop: bool) -> None:
        socket = conn.sink
        if not socket.ended:
            (socket.protocol.pause_reading if stop else socket.protocol.resume_reading)()

    def gone(self, socket: RawSocket, reason: str) -> None:
        socket.ended = True
        socket.flusher.held.discard(socket)
        self.wheel.discard(socket)
        conn, socket.conn = socket.conn, None
        if conn is not None:
            self.services.admission.left(conn, reason)


class _Referred(msgspec.Struct):
    """All else is skipped, not built."""

    ref: Any = None


def _ref_of(data: bytes) -> Any:
    """The `ref` of what only a lenient reader takes for JSON (NaN, lone surrogates, NUL, nested too deep):
    the refusal still finds the one who waits for it."""
    try:
        if len(data) > LENIENT:
            ref = msgspec.json.decode(data, type=_Referred).ref
        else:
            message = json.loads(data)
            ref = message.get("ref") if isinstance(message, dict) else None
    except (ValueError, RecursionError):
        return None
    if isinstance(ref, str):
        return ref if ref.isprintable() and _is_small(ref) else None
    return ref if isinstance(ref, int) and abs(ref) < 2**53 else None


def _is_small(ref: Any) -> bool:
    if isinstance(ref, int | float | bool) or (isinstance(ref, str) and len(ref) * 6 <= REF):
        return True  # most are: no letter takes more in JSON
    return len(to_json(ref)) <= REF


def _query(scope: Scope) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode("latin-1")))


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else None


def offer(services: Services) -> list[BaseRoute]:
    return [WebSocketRoute("/ws/{session_id:path}", RawDoor(services, WebSocketCodec()))]


TRANSPORT = Transport(
    "websocket",
    Channel(
        "websocket",
        "/ws/{session_id}",
        'Raw WebSocket: `{"type": name, "ref"?, …payload}` in, `{"type": name, …payload, "position"?}` out',
    ),
    offer,
    {"`/ws/{session_id}`": opening("who may see the session")},
)
