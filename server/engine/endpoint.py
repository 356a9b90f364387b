"""The requests for the Engine.IO path: WebSockets that open a session or take one over, and where long
polling's begin (`longpoll.py`)."""

import asyncio
from typing import Generic

from server.engine import frames
from server.engine.asgi import Receive, Scope, Send
from server.engine.engine import Engine, S
from server.engine.longpoll import LongPolling
from server.engine.protocol import WebSocketProtocol
from server.engine.requests import OriginCheck, error, query_of, respond


class Endpoint(Generic[S]):
    """An ASGI application for one path."""

    def __init__(self, engine: Engine[S], origins: OriginCheck) -> None:
        self._engine, self._origins = engine, origins
        self._polling = LongPolling(engine, origins)

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await self._websocket(scope, receive, send)
        else:
            await self._polling.handle_request(scope, receive, send)

    async def turn_away(self, scope: Scope, send: Send, status: int, seconds: int, body: bytes) -> None:
        """Nobody new comes in now: the answer to a request that would open a session. An HTTP error is no
        CONNECT_ERROR: the official client tries again, with growing delays."""
        headers = self._origins.headers(scope) if scope["type"] == "http" else []
        fields = [(b"retry-after", b"%d" % seconds)]
        if headers is None:
            await respond(send, 403, [], error(4))
        elif scope["type"] == "http":
            await respond(send, status, headers + fields, body)
        else:
            fields.append((b"content-type", b"application/json"))
            scope["extensions"]["parley.protocol"]["protocol"].refuse(status, fields, body)

    def at_once(self, scope: Scope, protocol: WebSocketProtocol) -> bool:
        """A new session over WebSocket, with nothing to wait for; anything else is `handle_request`'s."""
        query = query_of(scope)
        if b"sid" in query or self._engine.opened is not None or self._refusal(query, scope) is not None:
            return False
        self._start(self._engine.new(scope, "websocket"), protocol)
        return True

    def _refusal(self, query: dict[bytes, bytes], scope: Scope) -> tuple[int, int] | None:
        """Why a WebSocket may not come in: an HTTP status and the error's number."""
        allowed = self._origins.allowed(scope)
        if query.get(b"transport") != b"websocket" or "websocket" not in self._engine.settings.transports:
            return 400, 0
        if query.get(b"EIO") != b"4":
            return 400, 5
        return None if allowed else (403, 4)

    def _start(self, session: S, protocol: WebSocketProtocol) -> None:
        session.start(protocol, frames.text(self._engine.opening(session.sid, False)))
        self._engine.begin(session)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        engine = self._engine
        query = query_of(scope)
        sid = query.get(b"sid", b"").decode("latin-1")
        protocol: WebSocketProtocol | None = (
            scope.get("extensions", {}).get("parley.protocol", {}).get("protocol")
        )
        if protocol is None:
            raise RuntimeError("WebSockets need uvicorn with ws=WebSocketProtocol (server.engine.run)")
        refusal = self._refusal(query, scope)
        if refusal is not None:
            body = self._origins.refusal(scope) if refusal[0] == 403 else error(refusal[1])
            protocol.refuse(refusal[0], (), body)
        elif not sid:
            session = await engine.open(scope, "websocket")
            if session is None:
                protocol.refuse(401)
            else:
                self._start(session, protocol)
        else:
            session = engine.find(sid, scope)
            if session is not None:
                await self._upgrade(session, protocol, receive, send)
                return
            elsewhere = engine.settings.elsewhere if sid not in engine.sessions else None
            if elsewhere is None or not await elsewhere(sid, scope, receive, send):
                protocol.refuse(400, (), error(1))

    async def _upgrade(self, session: S, protocol: WebSocketProtocol, receive: Receive, send: Send) -> None:
        """From polling to WebSocket (engine.io-protocol, "Upgrade")."""
        engine = self._engine
        await send({"type": "websocket.accept", "parley.max_size": session.size_limit})
        if not (session.upgradable and engine.settings.allow_upgrades):
            await send({"type": "websocket.close"})
            return
        engine.upgrade_begins(session, protocol)
        try:
            # a probe that goes nowhere must not hold the session back for long
            async with asyncio.timeout(engine.settings.ping_timeout):
                if (await receive()).get("text") == "2probe" and not session.closing:
                    await send({"type": "websocket.send", "text": "3probe"})
                    session.probed()
                    if (await receive()).get("text") == "5" and not session.closing:
                        session.start(protocol)
                        return
        except (TimeoutError, OSError):
            pass
        finally:
            engine.upgrade_ends(session)
        protocol.close()
