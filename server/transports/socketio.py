"""The Socket.IO door: authenticates a CONNECT, recovers it or makes it new, and hands events to the line."""

import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from events.dispatch import Reply
from events.errors import (
    ChatError,
    Draining,
    Internal,
    PayloadTooLarge,
    Unauthorized,
    UnknownCommand,
    ValidationFailed,
)
from events.event import to_json
from events.line import Line
from events.recovery import new_pid
from server.engine import frames
from server.engine.clients import Client
from server.engine.context import Work
from server.engine.door import ComeBack, ConnectRefused, Problem
from server.engine.handshake import Handshake
from server.engine.packets import Nested
from server.errors import close_code
from server.peer import page_of
from server.services import Services
from server.transports.codecs import PlainSocketIOCodec
from server.transports.recovering import takes_positions
from storage.patience import PATIENCE, Patience

#: Seconds for which one who is to come back is kept waiting, at random: a herd of thousands comes back as a
#: few hundred a second. Python's client gives a CONNECT one second, and goes to its own growing delays where
#: that has passed.
WAITS: Final = (1.2, 5.0)
#: ... after what its error asks for, up to this: nobody is held for longer than AUTH_TIMEOUT would.
ASKED: Final = 5.0
#: Token, what shows that it comes from a page, whether the token stood in the query, the client's address.
Shown = tuple[str, str | None, bool, str]

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
        self._connected(conn)
        return None

    async def _admitted(self, waiting: Work, conn: Client, info: Handshake) -> None:
        try:
            await waiting
        except Exception as error:
            raise self._refused(error, info) from error
        self._connected(conn)

    def _connected(self, conn: Client) -> None:
        self._services.observer.connected("socketio")
        self._services.journal.connected("socketio", conn.caller, conn.address)

    def _refused(self, failure: Exception, info: Handshake) -> ConnectRefused | ComeBack:
        """CONNECT_ERROR is for what a person or a program has to change."""
        services = self._services
        error = services.dispatcher.error_of(failure, "connect")
        if isinstance(failure, ChatError):
            services.observer.disconnected("socketio", error.code)
        services.journal.refused("socketio", error, services.address_of(info.client, info.headers))
        if not error.retryable:
            return ConnectRefused(error.text, error.as_dict())
        wait = 0.0  # while draining: another node is free
        if not isinstance(error, Draining):
            wait = min((error.retry_after or 0) / 1000, ASKED) + self._spread(*WAITS)
        return ComeBack(wait, close_code(error) or frames.NORMAL, error.code)

    def _admit(self, conn: Client, info: Handshake, auth: dict[str, Any]) -> Work | None:
        shown = self._shown(info, auth)
        conn.address = shown[3]
        if not takes_positions(auth, info.query_string, info.headers):
            conn.codec = self._plain
        caller = self._services.authenticator.authenticate_now(*shown)
        if caller is None:
            return self._authenticate(conn, auth, shown)
        conn.caller = caller
        return self._seat(conn, auth)

    async def _authenticate(self, conn: Client, auth: dict[str, Any], shown: Shown) -> None:
        conn.caller = await self._services.authenticator.authenticate(*shown)
        waiting = self._seat(conn, auth)
        if waiting is not None:
            await waiting

    def _shown(self, info: Handshake, auth: dict[str, Any]) -> Shown:
        """What a caller shows of itself: token, its page, whether the token stood in the query, address."""
        services = self._services
        if services.draining:
            raise Draining
        services.places.any_left()
        token = auth.get("token") if isinstance(auth, dict) else None
        source = "auth"
        if token is None:
            found = services.token_of(info.headers, info.query_string, ())
            if found is None:
                raise Unauthorized("a token is needed: auth: {token}")
            token, source = found
        if not isinstance(token, str):
            raise Unauthorized("the token must be a string")
        address = services.address_of(info.client, info.headers)
        return token, page_of(info.headers), source == "query", address

    def _seat(self, conn: Client, auth: dict[str, Any]) -> Work | None:
        """In the place of the connection that it had before, or in one of its own."""
        waiting = self._services.limits.check(conn.caller, "connect")
        pid, offset = auth.get("pid"), auth.get("offset")
        if not isinstance(pid, str) or not isinstance(offset, str | None):
            pid = None
        if waiting is None and pid is None:
            return self._begin(conn)
        return self._recover_or_begin(conn, waiting, pid, offset)

    async def _recover_or_begin(
        self, conn: Client, waiting: Awaitable[None] | None, pid: str | None, offset: str | None
    ) -> None:
        if waiting is not None:
            await waiting
        if pid is None:
            rest = self._begin(conn)
        else:
            with self._services.places.kept(conn, self._services.membership.alive(pid)):
                rest = None if await self._recover(conn, pid, offset) else self._enter(conn)
        if rest is not None:
            await rest

    def _begin(self, conn: Client) -> Work | None:
        self._services.places.admit(conn.caller, conn.address)
        return self._enter(conn)

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
            self._services.journal.refused("socketio", error, conn.address)
        else:
            error = ValidationFailed(_PROBLEMS[problem])
        line = conn.line or self._lent(conn)
        line.refuse(error, name or "", ack_id)
        if line.idle:
            conn.line, self._spare = None, line

    def answer(self, conn: Client, ref: int | None, name: str, reply: Reply | ChatError) -> None:
        """The ack; without one, a failure is told by an `error` event."""
        if ref is not None:
            conn.ack(ref, encode_reply(reply))
        elif isinstance(reply, ChatError):
            conn.emit("error", to_json({**reply.as_dict(), "command": name[:100]}))

    def hold_up(self, conn: Client, stop: bool) -> None:
        conn.session.hold_up(stop)

    def gone(self, conn: Client, reason: str) -> None:
        if conn.line is not None:
            conn.line.close()
            conn.line = None
        self._services.membership.disconnected(conn)
        self._services.observer.disconnected("socketio", reason)


def encode_reply(reply: Reply | ChatError) -> bytes:
    """`{"ok": true, …}` or `{"ok": false, "error": {…}}`. A reply that cannot be encoded is our fault."""
    if isinstance(reply, ChatError):
        return to_json({"ok": False, "error": reply.as_dict()})
    try:
        return to_json({"ok": True, **reply})
    except (TypeError, ValueError):
        return to_json({"ok": False, "error": Internal().as_dict()})
