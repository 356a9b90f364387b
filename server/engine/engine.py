"""The Engine.IO server: python-engineio's AsyncServer with sessions and request handling of our own.

Knows Socket.IO only as the two functions that take what comes in. Of python-engineio 4.15.1 it keeps
`handlers`, `sockets`, `_get_socket`, `_generate_sid_cookie`, `reason` and the public methods that use them;
`generate_id` is replaced; tests/engine/test_pins.py fails when they change.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import engineio
import orjson

from events.held import SMALL
from events.ids import new_token
from events.outbox import Flusher
from server.engine import frames
from server.engine.asgi import Message, Receive, Scope, Send
from server.engine.handshake import Handshake, Keep
from server.engine.heartbeat import Wheel
from server.engine.http import counted, protocol_of
from server.engine.lastwords import LastWords
from server.engine.protocol import WebSocketProtocol
from server.engine.requests import (
    HELD_UP,
    Headers,
    OriginRule,
    Origins,
    Refused,
    TooLong,
    error,
    query_of,
    read_body,
    respond,
)
from server.engine.session import AT_ONCE, LAST_POLL, Session
from server.engine.strangers import HEAD, Strangers

#: A request for a session that is not here: True if it has been answered (by the node that has it).
Elsewhere = Callable[[str, Scope, Receive, Send], Awaitable[bool]]


class Engine(engineio.AsyncServer):  # type: ignore[misc]  # engineio has no types
    """Sessions by sid, their one wheel, and the requests that open, poll, feed and upgrade them."""

    def __init__(
        self,
        *,
        message: Callable[[Session, bytes], Coroutine[Any, Any, None] | None],
        attachment: Callable[[Session, bytes], Coroutine[Any, Any, None] | None],
        flusher: Flusher,
        outbox_limit: int,
        connect_timeout: float,
        origin: OriginRule | None,
        refused_origin: Refused | None,
        identify: Callable[[Scope], bytes | None],
        elsewhere: Elsewhere | None,
        strangers: Strangers | None = None,
        place: Callable[[Scope], str] = lambda scope: "",
        keep: Keep | None = None,
        stranger_limit: int | None = None,
        too_big: Callable[[Session, bytes, int], None] = lambda session, beginning, size: None,
        **settings: Any,
    ) -> None:
        """`place` tells where a stranger's request is counted; `keep` tells which lines of a head that opens
        a session will be asked for; None keeps all. `stranger_limit` is for a message's bytes from
        who has not shown who it is; `too_big` gets the beginning of one beyond its limit, before its session
        ends."""
        settings["monitor_clients"] = False  # the wheel's work
        super().__init__(**settings)
        self.message = message
        self.attachment = attachment
        self.flusher = flusher
        self.outbox_limit = outbox_limit
        self.connect_timeout = connect_timeout
        self.identify = identify
        self._origins = Origins(origin, self.cors_allowed_origins, self.cors_credentials, refused_origin)
        self.elsewhere = elsewhere
        self.too_big = too_big
        self.stranger_limit = stranger_limit or self.max_http_buffer_size
        self.strangers, self._place, self._keep = strangers, place, keep
        self.sockets: dict[str, Session]
        self.log = logging.getLogger("parley.engine")
        self.tick = min(1.0, max(0.005, min(self.ping_interval, self.ping_timeout) / 25))
        self.wheel = Wheel(self.tick)
        self.last_words = LastWords(self.ping_timeout)
        self._upgrades: dict[
            Session, WebSocketProtocol
        ] = {}  # to which their sessions have not gone over yet
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references
        #: A connect handler that neither waits nor refuses: with any other, every connection has a task.
        self.plain_handler: Any = None
        interval = self.ping_interval + self.ping_interval_grace_period
        self._open_tail = orjson.dumps(
            {
                "pingInterval": round(interval * 1000),
                "pingTimeout": round(self.ping_timeout * 1000),
                "maxPayload": self.max_http_buffer_size,
            }
        )[1:]

    # --- requests

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI request or websocket for the Engine.IO path."""
        if scope["type"] == "websocket":
            await receive()
            await self._websocket(scope, receive, send)
        else:
            await self._http(scope, receive, send)

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
        if b"sid" in query or self._refusal(query, scope) is not None:
            return False
        if self.handlers["connect"] is not self.plain_handler:
            return False
        self._start(self._new(scope, "websocket")[0], protocol)
        return True

    def _refusal(self, query: dict[bytes, bytes], scope: Scope) -> tuple[int, int] | None:
        """Why a WebSocket may not come in: an HTTP status and the error's number."""
        allowed = self._origins.allowed(scope)
        if query.get(b"transport") != b"websocket" or "websocket" not in self.transports:
            return 400, 0
        if query.get(b"EIO") != b"4":
            return 400, 5
        return None if allowed else (403, 4)

    def _start(self, session: Session, protocol: WebSocketProtocol) -> None:
        session.start(protocol, frames.text(self._opening(session.sid, False)))
        self.wheel.add(session, self._first_deadline(session))

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
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
            session = await self._open(scope, "websocket")
            if session is None:
                protocol.refuse(401)
            else:
                self._start(session, protocol)
        else:
            session = self._find(sid, scope)
            if session is None:
                away = self.elsewhere is not None and sid not in self.sockets
                if not (
                    away and self.elsewhere is not None and await self.elsewhere(sid, scope, receive, send)
                ):
                    protocol.refuse(400, (), error(1))
            else:
                await self._upgrade(session, protocol, receive, send)

    async def _upgrade(
        self, session: Session, protocol: WebSocketProtocol, receive: Receive, send: Send
    ) -> None:
        """From polling to WebSocket (engine.io-protocol, "Upgrade")."""
        await send({"type": "websocket.accept", "parley.max_size": self.size_for(session)})
        if session.upgraded or session.upgrading is not None or not self.allow_upgrades:
            await send({"type": "websocket.close"})
            return
        session.upgrading = AT_ONCE
        self._upgrades[session] = protocol
        try:
            # a probe that goes nowhere must not hold the session back for long
            async with asyncio.timeout(self.ping_timeout):
                if (await receive()).get("text") == "2probe" and not session.closing:
                    await send({"type": "websocket.send", "text": "3probe"})
                    session.probed()
                    if (await receive()).get("text") == "5" and not session.closing:
                        session.start(protocol)
                        return
        except (TimeoutError, OSError):
            pass
        finally:
            del self._upgrades[session]
            if not session.upgraded:
                session.upgrade_failed()
        protocol.close()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, query = scope["method"], query_of(scope)
        headers = self._origins.headers(scope)
        if headers is None:
            return await respond(send, 403, [], self._origins.refusal(scope))
        if method == "OPTIONS":
            return await respond(send, 204, headers, b"")
        sid = query.get(b"sid", b"").decode("latin-1")
        if query.get(b"transport") != b"polling" or "polling" not in self.transports:
            code = 3 if query.get(b"transport") == b"websocket" else 0
            return await respond(send, 400, headers, error(code))
        if b"j" in query:  # JSONP: nothing that speaks protocol 4 needs it
            return await respond(send, 400, headers, error(3))
        if not sid:
            if query.get(b"EIO") != b"4":
                return await respond(send, 400, headers, error(5))
            if method != "GET":
                return await respond(send, 400, headers, error(2))
            return await self._open_polling(scope, send, headers)
        asked = method == "HEAD" and "parley.forwarded" in scope  # another node has a request for the session
        if method not in ("GET", "POST") and not asked:
            return await respond(send, 400, headers, error(2))
        session = self._find(sid, scope)
        if session is not None and session.owner is not None and self.identify(scope) is None:
            session = None  # unlike a browser's WebSocket, a request can show them
        if asked:
            return await respond(send, 404 if session is None else 204, headers, b"")
        if session is None:
            words = self.last_words.take(sid, self.identify(scope)) if method == "GET" else None
            if words is not None:
                return await respond(send, 200, headers, words)
            away = self.elsewhere is not None and sid not in self.sockets
            if away and self.elsewhere is not None and await self.elsewhere(sid, scope, receive, send):
                return
            return await respond(send, 400, headers, error(1))
        if session.upgraded:
            await respond(send, 400, headers, error(3))
        elif method == "GET":
            await self._poll(session, scope, send, headers)
        else:
            await self._post(session, scope, receive, send, headers)

    async def _open_polling(self, scope: Scope, send: Send, headers: Headers) -> None:
        session = await self._open(scope, "polling")
        if session is None:
            return await respond(send, 401, headers, b'"Unauthorized"')
        self.wheel.add(session, self._first_deadline(session))
        if self.cookie:
            cookie = {"name": self.cookie, "path": "/", "SameSite": "Lax"}
            cookie = self.cookie if isinstance(self.cookie, dict) else cookie
            headers = [*headers, (b"set-cookie", self._generate_sid_cookie(session.sid, cookie).encode())]
        await respond(send, 200, headers, self._opening(session.sid, "websocket" in self.transports))

    async def _poll(self, session: Session, scope: Scope, send: Send, headers: Headers) -> None:
        """Wait until there is something to say; the wheel's ping is the latest."""
        if session.untaken is not None:  # who polls again has it, or will never have it
            session.untaken.abort()
        waiting = session.begin_poll()
        if waiting is None:
            return await respond(send, 400, headers, error(3))
        if session.known:
            counted(scope)
        if waiting.done():
            await respond(send, 200, headers, waiting.result())
            return _untaken(session, scope)
        http = protocol_of(scope)
        if http is not None:
            http.waiter = session
        session.asked = scope
        try:
            body = await waiting
        finally:
            if session.asked is scope:
                session.asked = None
            if http is not None:
                http.waiter = None
        await respond(send, 200, headers, body)
        _untaken(session, scope)

    async def _post(
        self, session: Session, scope: Scope, receive: Receive, send: Send, headers: Headers
    ) -> None:
        if session.busy:  # which of the two comes first could not be told
            session.end(self.reason.TRANSPORT_ERROR)
            return await respond(send, 400, headers, error(3))
        session.busy = True
        if session.known:
            counted(scope)
        size = told = 0

        async def counted_in() -> Message:
            nonlocal size, told
            message = await receive()
            size += len(message.get("body", b""))
            if size > SMALL and size > told:
                session.holds(size - told)
                told = size
            return message

        try:
            async with asyncio.timeout(None) as session.posting:
                status, answer = await self._posted(session, scope, counted_in)
        except TimeoutError:  # there is no room for it, and its session has ended
            status, answer = 503, error(3)
        finally:
            session.busy, session.posting = False, None
            if told:
                session.holds(-told)
        await respond(send, status, headers, answer)

    async def _posted(self, session: Session, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        try:
            body = await read_body(scope, receive, self.size_for(session))
        except (TimeoutError, ConnectionError):
            session.end(self.reason.TRANSPORT_ERROR)
            return 400, error(3)
        if isinstance(body, TooLong):
            self.log.warning("a request of %d bytes ends its session (413)", body.size)
            self.too_big(session, body.beginning, body.size)
            # The reply goes with the poll that waits: a client that heard of the end first, or together with
            # it, would not look at it.
            await asyncio.sleep(LAST_POLL)
            session.end(self.reason.TRANSPORT_ERROR)
            return 413, error(6)
        came = await session.came(body)
        if came is None or not (session.feed(came) or await self._rest(session, came)):
            return 400, error(3)
        return 200, b"ok"

    async def _rest(self, session: Session, came: Iterator[tuple[bytes, bool]]) -> bool:
        """What of a POST had to wait: no answer before, and so no next POST. Whether it was taken."""
        try:
            async with asyncio.timeout(HELD_UP):
                while True:
                    if session.held_up is not None:
                        await asyncio.wait((session.held_up,))
                    else:
                        await asyncio.sleep(0)
                    if session.held_up is None and session.feed(came):
                        break
        except TimeoutError:
            session.end(self.reason.TRANSPORT_ERROR)
            return False
        return True

    # --- sessions

    generate_id = staticmethod(new_token)

    async def _open(self, scope: Scope, transport: str) -> Session | None:
        session, answer = self._new(scope, transport)
        try:
            if inspect.isawaitable(answer):
                answer = await answer
        except BaseException:
            self._never_was(session)
            raise
        if answer is not None and answer is not True:
            self._never_was(session)
            return None
        return session

    def _never_was(self, session: Session) -> None:
        """Its connect handler did not let it in."""
        self.sockets.pop(session.sid, None)
        if self.strangers is not None:
            self.strangers.discard(session)

    def _new(self, scope: Scope, transport: str) -> tuple[Session, Any]:
        """A session, and what its connect handler answered."""
        sid = self.generate_id()
        handshake = Handshake(scope, transport, self._keep)
        session = Session(self, sid, handshake, self.wheel.now())
        session.owner = self.identify(scope)
        self.sockets[sid] = session
        if self.strangers is not None:
            # A WebSocket is counted itself.
            weight = handshake.size // HEAD + (transport == "polling")
            if weight:
                self.strangers.add(session, self._place(scope), weight)
        try:
            return session, self.handlers["connect"](sid, handshake)
        except BaseException:
            self._never_was(session)
            raise

    def _opening(self, sid: str, upgrade: bool) -> bytes:
        upgrades = b'["websocket"]' if upgrade and self.allow_upgrades else b"[]"
        return b'0{"sid":"' + sid.encode() + b'","upgrades":' + upgrades + b"," + self._open_tail

    def _first_deadline(self, session: Session) -> float:
        first: float = min(self.ping_interval, self.connect_timeout)
        return session.opened + first

    def _find(self, sid: str, scope: Scope) -> Session | None:
        """The session, if it is here and not somebody else's. A browser's WebSocket cannot show the
        credentials that its polling was opened with, and comes without any."""
        session = self.sockets.get(sid)
        if session is None or session.closing:
            return None
        caller = self.identify(scope)
        return session if caller is None or caller == session.owner else None

    def known(self, session: Session) -> None:
        """Its client has shown who it is."""
        if self.strangers is not None:
            self.strangers.discard(session)
        if session.asked is not None:
            counted(session.asked)
        protocol = session.protocol
        if session.upgrading is not None:  # what is behind its last packet of the upgrade may be as large
            protocol = self._upgrades.get(session)
        if protocol is not None:
            protocol.known(self.max_http_buffer_size)

    def grows(self, session: Session, by: int) -> None:
        """What a stranger said weighs so much more."""
        if self.strangers is not None and by:
            one = session if session.protocol is None else session.protocol.transport
            self.strangers.grows(one, by)

    def size_for(self, session: Session) -> int:
        """Bytes of a message that its client may send."""
        size: int = self.max_http_buffer_size if session.known else self.stranger_limit
        return size

    def ended(self, session: Session, reason: str) -> asyncio.Task[None]:
        if self.strangers is not None:
            self.strangers.discard(session)
        return self.run(self._ended(session, reason))

    async def _ended(self, session: Session, reason: str) -> None:
        try:
            answer = self.handlers["disconnect"](session.sid, reason)
            if inspect.isawaitable(answer):
                await answer
        except Exception:
            self.log.exception("error in a disconnect handler")
        session.closed = True
        if self.sockets.get(session.sid) is session:
            del self.sockets[session.sid]

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close_all(self, reason: str | None = None) -> None:
        """End every session; clients come back by themselves, to whoever takes connections then."""
        ended = [s.end(reason or self.reason.SERVER_DISCONNECT) for s in list(self.sockets.values())]
        tasks = [task for task in ended if task is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def shutdown(self) -> None:
        self.wheel.stop()


def _untaken(session: Session, scope: Scope) -> None:
    """A session has one answer on its way at most."""
    http = protocol_of(scope)
    if http is None or http.taken:
        return
    transport = session.untaken = http.transport

    def taken() -> None:
        if session.untaken is transport:
            session.untaken = None

    http.once_taken(taken)
