"""The Socket.IO door: authenticates a CONNECT, recovers it or makes it new, and hands events to the line."""

import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from events.access import Caller
from events.dispatch import Reply
from events.errors import (
    ChatError,
    Draining,
    Internal,
    PayloadTooLarge,
    UnknownCommand,
    ValidationFailed,
)
from events.event import to_json
from events.line import Line
from events.outline import Nested
from events.recovery import new_pid
from server.admission import Visitor
from server.engine import frames
from server.engine.asgi import Headers
from server.engine.clients import Client
from server.engine.context import Work
from server.engine.door import ComeBack, ConnectRefused, Problem
from server.engine.handshake import Handshake
from server.errors import close_code
from server.services import Services
from server.transports.base import Channel, Transport, opening
from server.transports.codecs import PlainSocketIOCodec
from server.transports.recovering import takes_positions
from storage.patience import PATIENCE, Patience

#: Seconds for which one who is to come back is kept waiting, at random: a herd of thousands comes back as a
#: few hundred a second. Python's client gives a CONNECT one second, and goes to its own growing delays where
#: that has passed.
WAITS: Final = (1.2, 5.0)
#: ... after what its error asks for, up to this: nobody is held for longer than AUTH_TIMEOUT would.
ASKED: Final = 5.0

_PROBLEMS: dict[Problem, str] = {
    "malformed": "an event is a name and one JSON object, in strict JSON",
    "nested": str(Nested()),
    "binary": "binary attachments are not accepted",
}


class SocketIODoor:
    """`server.engine.door.Door` for the namespace "/"."""

    def __init__(self, services: Services, spread: Callable[[float, float], float] = random.uniform) -> None:
        """`spread` is any number between two."""
        self._services, self._clock, self._spread = services, services.clock, spread
        self._plain = PlainSocketIOCodec()
        self._spare: Line | None = None  # nobody's

    def connect(self, conn: Client, info: Handshake, auth: dict[str, Any]) -> Work | None:
        conn.connected_at = conn.heard_at = self._clock()
        try:
            waiting = self._admit(conn, info, auth)
        except Exception as error:
            raise self._refused(error, info) from error
        if waiting is not None:
            return self._admitted(waiting, conn, info)
        self._services.admission.entered(conn)
        return None

    async def _admitted(self, waiting: Work, conn: Client, info: Handshake) -> None:
        try:
            await waiting
        except Exception as error:
            raise self._refused(error, info) from error
        self._services.admission.entered(conn)

    def _refused(self, failure: Exception, info: Handshake) -> ConnectRefused | ComeBack:
        """CONNECT_ERROR is for what a person or a program has to change."""
        services = self._services
        error = services.dispatcher.error_of(failure, "connect")
        if isinstance(failure, ChatError):
            services.observer.disconnected("socketio", error.code)
        services.gate.journal.refused("socketio", error, services.address_of(info.client, info.headers))
        if not error.retryable:
            return ConnectRefused(error.text, error.as_dict())
        wait = 0.0  # while draining: another node is free
        if not isinstance(error, Draining):
            wait = min((error.retry_after or 0) / 1000, ASKED) + self._spread(*WAITS)
        return ComeBack(wait, close_code(error) or frames.NORMAL, error.code)

    def _admit(self, conn: Client, info: Handshake, auth: dict[str, Any]) -> Work | None:
        headers = info.headers
        visitor = self._visitor(info, headers, auth)
        conn.address = visitor.address
        if not takes_positions(auth, info.query_string, headers):
            conn.codec = self._plain
        admitted = self._services.admission.admit(visitor)
        if isinstance(admitted, Caller):
            conn.caller = admitted
            return self._seat(conn, auth)
        return self._admit_later(conn, auth, admitted)

    async def _admit_later(self, conn: Client, auth: dict[str, Any], admitted: Awaitable[Caller]) -> None:
        conn.caller = await admitted
        rest = self._seat(conn, auth)
        if rest is not None:
            await rest

    def _visitor(self, info: Handshake, headers: Headers, auth: dict[str, Any]) -> Visitor:
        """The engine has looked at the Origin of the session's first request."""
        services, source = self._services, "auth"
        token = auth.get("token")
        if token is None:
            token, source = services.token_of(headers, info.query_string, ()) or (None, "")
        return Visitor(
            services.address_of(info.client, headers),
            token,
            headers,
            source == "query",
            None,
            None,
            "a token is needed: auth: {token}",
        )

    def _seat(self, conn: Client, auth: dict[str, Any]) -> Work | None:
        """In the place of the connection that it had before, or in one of its own."""
        pid, offset = auth.get("pid"), auth.get("offset")
        if isinstance(pid, str) and isinstance(offset, str | None):
            return self._recover_or_enter(conn, pid, offset)
        self._services.admission.place(Client, conn.caller, conn.address)
        return self._enter(conn)

    async def _recover_or_enter(self, conn: Client, pid: str, offset: str | None) -> None:
        services = self._services
        with services.admission.kept_place(conn, services.membership.alive(pid)):
            rest = None if await self._recover(conn, pid, offset) else self._enter(conn)
        if rest is not None:
            await rest

    def _enter(self, conn: Client) -> Work | None:
        """As a new connection, which has a place."""
        if conn.codec is not self._plain:
            conn.pid = new_pid(conn.id)
        return self._services.membership.connected(conn)

    async def _recover(self, conn: Client, pid: str, offset: str | None) -> bool:
        patience = Patience()
        PATIENCE.set(patience)
        try:
            recovered = await self._services.takeover.recover(conn, pid, offset)
        finally:
            patience.until = None
        if recovered:
            conn.sid = conn.id
        return recovered

    def event(self, conn: Client, name: str, args: list[Any], ack_id: int | None) -> None:
        conn.heard_at = self._clock()
        payload = args[0] if len(args) == 1 else None
        if conn.line is not None:
            conn.line.put(name, payload, ack_id)
            return
        line = self._lent(conn)
        line.put(name, payload, ack_id)
        if line.idle:  # most are answered at once: then it serves the next connection
            conn.line, self._spare = None, line

    def _lent(self, conn: Client) -> Line:
        line, self._spare = self._spare or Line(self._services.dispatcher, conn, self), None
        line.conn, conn.line = conn, line
        return line

    def refused(
        self, conn: Client, name: str | None, ack_id: int | None, problem: Problem, size: int
    ) -> None:
        error: ChatError
        if problem == "reserved":
            error = UnknownCommand(f"{name} is not a command")
        elif problem == "large":
            error = PayloadTooLarge.beyond(self._services.settings.ws_message_size_limit, size)
            self._services.gate.journal.refused("socketio", error, conn.address)
        else:
            error = ValidationFailed(_PROBLEMS[problem])
        line = conn.line or self._lent(conn)
        # What is larger than a message may be ends its session.
        line.refuse(error, name or "", ack_id, last=problem == "large" and name is None)
        if line.idle:
            conn.line, self._spare = None, line

    def answer(self, conn: Client, ref: int | None, name: str, reply: Reply | ChatError) -> None:
        """The ack; without one, a failure is sent as an `error` event."""
        if ref is not None:
            conn.ack(ref, encode_reply(reply))
        elif isinstance(reply, ChatError):
            conn.emit("error", to_json({**reply.as_dict(), "command": name[:100]}))

    def hold_up(self, conn: Client, stop: bool) -> None:
        conn.session.hold_up(stop)

    def gone(self, conn: Client, reason: str) -> None:
        self._services.admission.left(conn, reason)


def encode_reply(reply: Reply | ChatError) -> bytes:
    """`{"ok": true, …}` or `{"ok": false, "error": {…}}`. A reply that cannot be encoded is our fault."""
    if isinstance(reply, ChatError):
        return to_json({"ok": False, "error": reply.as_dict()})
    try:
        return to_json({"ok": True, **reply})
    except (TypeError, ValueError):
        return to_json({"ok": False, "error": Internal().as_dict()})


TRANSPORT = Transport(
    "socketio",
    Channel(
        "socketio",
        "/socket.io/",
        "Socket.IO, namespace `/`: `emit(name, payload, ack?)`, `on(name, payload)`",
        welcomes=False,
    ),
    bounds={"Socket.IO CONNECT": opening("everybody")},
)
