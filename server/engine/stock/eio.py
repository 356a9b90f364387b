"""python-engineio's face on the engine: what an application, python-socketio and its Admin UI call of it.

Of python-engineio 4.15.1 it keeps the settings, `handlers`, `on`, background tasks, `_ok` and
`_generate_sid_cookie`, and replaces whatever has to do with sockets; tests/engine/test_pins.py fails when
they change.
"""

import asyncio
from collections.abc import Iterator, MutableMapping
from typing import Any

import engineio
from engineio import exceptions as eio_exceptions
from engineio import packet as eio_packet

from server.engine import frames, reasons
from server.engine.asgi import Scope
from server.engine.clients import SocketIOSession
from server.engine.engine import Engine
from server.engine.handshake import Handshake
from server.engine.requests import Headers, OriginCheck, same_origin


class Eio(engineio.AsyncServer):  # type: ignore[misc]  # engineio has no types
    """`engine` is None until `attach_to`: python-socketio makes this before there is one."""

    engine: Engine[SocketIOSession] | None = None

    def __init__(self, **settings: Any) -> None:
        settings["monitor_clients"] = False  # the wheel's work
        settings.setdefault("async_mode", "asgi")
        super().__init__(**settings)
        self._data: dict[str, dict[str, Any]] = {}  # user sessions

    def attach_to(self, engine: Engine[SocketIOSession]) -> None:
        self.engine = engine
        self.sockets = engine.sessions
        self.generate_id = lambda: engine.generate_id()
        engine.ended = self._ended

    # --- handlers

    def on(self, event: str, handler: Any = None) -> Any:
        """The application's connect handler is asked of each session; it has none at first."""
        found = super().on(event, handler)
        if event == "connect" and self.engine is not None:
            self.engine.opened = self._opened
        return found

    def _opened(self, session: SocketIOSession) -> Any:
        return self.handlers["connect"](session.sid, session.handshake)

    async def _ended(self, session: SocketIOSession, reason: str) -> None:
        try:
            await self.handlers["disconnect"](session.sid, reason)
        finally:
            self._data.pop(session.sid, None)

    # --- sockets

    def _get_socket(self, sid: str) -> SocketIOSession:
        session: SocketIOSession = self.sockets[sid]
        return session

    def transport(self, sid: str) -> str:
        return self._get_socket(sid).transport

    async def get_session(self, sid: str) -> dict[str, Any]:
        """The user session of each namespace."""
        self._get_socket(sid)
        return self._data.setdefault(sid, {})

    async def save_session(self, sid: str, session: dict[str, Any]) -> None:
        self._get_socket(sid)
        self._data[sid] = session

    async def send_packet(self, sid: str, pkt: eio_packet.Packet) -> None:
        session = self.sockets.get(sid)
        if session is None:
            raise eio_exceptions.SocketIsClosedError
        encoded = pkt.encode()
        opcode = frames.TEXT if isinstance(encoded, str) else frames.BINARY
        session.push(frames.frame(opcode, encoded.encode() if isinstance(encoded, str) else bytes(encoded)))

    async def disconnect(self, sid: str | None = None) -> None:
        """One, or all; when their handlers have run."""
        if sid is None:
            assert self.engine is not None
            return await self.engine.close_all()
        session = self.sockets.get(sid)
        handlers = None if session is None else session.end(reasons.SERVER_DISCONNECT)
        if handlers is not None:
            await asyncio.wait((handlers,))

    def cookie_of(self, sid: str) -> str:
        cookie = {"name": self.cookie, "path": "/", "SameSite": "Lax"}
        made: str = self._generate_sid_cookie(sid, self.cookie if isinstance(self.cookie, dict) else cookie)
        return made


class Environs(MutableMapping[str, Any]):
    """The environ of each session, which is there as long as that."""

    def __init__(self, sessions: dict[str, SocketIOSession]) -> None:
        self._sessions = sessions

    def __getitem__(self, sid: str) -> Any:
        return self._sessions[sid].handshake

    def __setitem__(self, sid: str, environ: Any) -> None:
        """python-socketio puts it here, where it is already."""

    def __delitem__(self, sid: str) -> None:
        """... and takes it out at the end."""

    def __iter__(self) -> Iterator[str]:
        return iter(self._sessions)

    def __len__(self) -> int:
        return len(self._sessions)


class CorsOrigins(OriginCheck):
    """By python-engineio's settings `cors_allowed_origins` and `cors_credentials`. Stock lets any in on
    WebSockets for `[]` and `"*"`, and takes X-Forwarded-Host's word for what is the same origin."""

    def __init__(self, setting: Any, credentials: bool) -> None:
        super().__init__(self._by_setting)
        self._setting, self._credentials = setting, credentials

    def _by_setting(self, origin: str, scope: Scope) -> bool:
        rule = self._setting
        if callable(rule):
            try:
                return bool(rule(origin, Handshake(scope, "polling").environ()))
            except TypeError:
                return bool(rule(origin))
        if rule == "*" or (isinstance(rule, list | tuple | set) and "*" in rule):
            return True
        return same_origin(origin, scope) or origin in ([rule] if isinstance(rule, str) else rule or ())

    def _allowing(self, origin: str) -> Headers:
        if self._setting in ("*", ["*"]):
            return [(b"access-control-allow-origin", b"*")]  # anybody, but nobody's cookies
        headers = super()._allowing(origin)
        return headers if self._credentials else headers[:2]
