"""The Socket.IO door: authenticates a CONNECT, recovers it or makes it new, and hands events to the line."""

from typing import Any

from events.access import Caller
from events.dispatch import Line, Reply
from events.errors import (
    ChatError,
    Draining,
    Internal,
    PayloadTooLarge,
    ServerFull,
    Unauthorized,
    UnknownCommand,
    ValidationFailed,
)
from events.event import to_json
from events.recovery import new_pid
from server.engine.door import ConnectRefused, Problem
from server.engine.handshake import Handshake
from server.engine.rooms import Client
from server.services import Services

_PROBLEMS: dict[Problem, str] = {
    "malformed": "an event is a name and one JSON object, in strict JSON",
    "binary": "binary attachments are not accepted",
}


class SocketIODoor:
    """`server.engine.door.Door` for the namespace "/"."""

    def __init__(self, services: Services) -> None:
        self._services, self._clock = services, services.clock

    async def connect(self, conn: Client, info: Handshake, auth: dict[str, Any]) -> None:
        try:
            conn.caller = await self._authenticate(info, auth)
            await self._admit(conn, auth)
        except ChatError as error:
            self._services.observer.disconnected("socketio", error.code)
            raise ConnectRefused(error.text, error.as_dict()) from error
        except Exception as error:
            shown = self._services.dispatcher.error_of(error, "connect")
            raise ConnectRefused(shown.text, shown.as_dict()) from error
        self._services.observer.connected("socketio")

    async def _authenticate(self, info: Handshake, auth: dict[str, Any]) -> Caller:
        services = self._services
        if services.draining:
            raise Draining
        if len(services.hub.connections) >= services.settings.ws_max_connections:
            raise ServerFull
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
        return await services.authenticate(token, info.header(b"origin"), source == "query", address)

    async def _admit(self, conn: Client, auth: dict[str, Any]) -> None:
        services = self._services
        waiting = services.limits.check(conn.caller, "connect")
        if waiting is not None:
            await waiting
        pid, offset = auth.get("pid"), auth.get("offset")
        if isinstance(pid, str) and isinstance(offset, str | None) and await self._recover(conn, pid, offset):
            return
        conn.pid = new_pid(conn.id)
        await services.membership.connected(conn)

    async def _recover(self, conn: Client, pid: str, offset: str | None) -> bool:
        recovered = await self._services.takeover.recover(conn, pid, offset)
        if recovered:
            conn.sid = conn.id
        return recovered

    def event(self, conn: Client, name: str, args: list[Any], ack_id: int | None) -> None:
        conn.heard_at = self._clock()
        if conn.line is None:
            # Made when there is something to say, and dropped again (`server.watch`): most only listen.
            conn.line = Line(self._services.dispatcher, conn, self)
        conn.line.put(name, args[0] if len(args) == 1 else None, ack_id)

    def refused(self, conn: Client, name: str | None, ack_id: int | None, problem: Problem) -> None:
        error: ChatError
        if problem == "reserved":
            error = UnknownCommand(f"{name} is not a command")
        elif problem == "large":
            error = PayloadTooLarge(f"at most {self._services.settings.ws_message_size_limit} bytes")
        else:
            error = ValidationFailed(_PROBLEMS[problem])
        self.answer(conn, ack_id, name or "", error)

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
