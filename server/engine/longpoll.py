"""Long polling's requests (engine.io-protocol, "HTTP long-polling"): a GET that opens a session, one that
waits for what it has to say, and a POST with what its client says."""

import asyncio
from collections.abc import Iterator
from typing import Generic

from events.held import SMALL
from server.engine import polling, reasons
from server.engine.answers import counted, protocol_of
from server.engine.asgi import Message, Receive, Scope, Send
from server.engine.carrier import LAST_POLL
from server.engine.engine import Engine, S
from server.engine.requests import (
    HELD_UP,
    Headers,
    OriginCheck,
    TooLong,
    error,
    query_of,
    read_body,
    respond,
)
from server.engine.session import AT_A_TIME, Session


class LongPolling(Generic[S]):
    """An ASGI application for one path."""

    def __init__(self, engine: Engine[S], origins: OriginCheck) -> None:
        self._engine, self._settings, self._origins = engine, engine.settings, origins

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, query = scope["method"], query_of(scope)
        headers = self._origins.headers(scope)
        if headers is None:
            return await respond(send, 403, [], self._origins.refusal(scope))
        if method == "OPTIONS":
            return await respond(send, 204, headers, b"")
        sid = query.get(b"sid", b"").decode("latin-1")
        if query.get(b"transport") != b"polling" or "polling" not in self._settings.transports:
            code = 3 if query.get(b"transport") == b"websocket" else 0
            return await respond(send, 400, headers, error(code))
        if b"j" in query:  # JSONP: nothing that speaks protocol 4 needs it
            return await respond(send, 400, headers, error(3))
        if not sid:
            if query.get(b"EIO") != b"4":
                return await respond(send, 400, headers, error(5))
            if method != "GET":
                return await respond(send, 400, headers, error(2))
            return await self._open(scope, send, headers)
        await self._of_session(sid, method, scope, receive, send, headers)

    async def _of_session(
        self, sid: str, method: str, scope: Scope, receive: Receive, send: Send, headers: Headers
    ) -> None:
        """A request for a session that has begun, here or on another node."""
        engine, identify = self._engine, self._settings.identify
        asked = method == "HEAD" and "parley.forwarded" in scope  # another node has a request for the session
        if method not in ("GET", "POST") and not asked:
            return await respond(send, 400, headers, error(2))
        session = engine.find(sid, scope)
        if session is not None and session.owner is not None and identify(scope) is None:
            session = None  # unlike a browser's WebSocket, a request can show them
        if asked:
            return await respond(send, 404 if session is None else 204, headers, b"")
        if session is None:
            last_words = engine.context.last_words
            words = last_words.take(sid, identify(scope)) if method == "GET" else None
            if words is not None:
                return await respond(send, 200, headers, words)
            elsewhere = self._settings.elsewhere if sid not in engine.sessions else None
            if elsewhere is not None and await elsewhere(sid, scope, receive, send):
                return
            return await respond(send, 400, headers, error(1))
        if session.upgraded:
            await respond(send, 400, headers, error(3))
        elif method == "GET":
            await self._poll(session, scope, send, headers)
        else:
            await self._post(session, scope, receive, send, headers)

    async def _open(self, scope: Scope, send: Send, headers: Headers) -> None:
        session = await self._engine.open(scope, "polling")
        if session is None:
            return await respond(send, 401, headers, b'"Unauthorized"')
        self._engine.begin(session)
        if self._settings.cookie is not None:
            headers = [*headers, (b"set-cookie", self._settings.cookie(session.sid).encode())]
        opening = self._engine.opening(session.sid, "websocket" in self._settings.transports)
        await respond(send, 200, headers, opening)

    # --- what the session says

    async def _poll(self, session: Session, scope: Scope, send: Send, headers: Headers) -> None:
        """Wait until there is something to say; the wheel's ping is the latest."""
        if session.untaken is not None:  # who polls again has it, or will never have it
            session.untaken.abort()
        waiting = session.begin_poll()
        if waiting is None:
            return await respond(send, 400, headers, error(3))
        if session.known:
            counted(scope, session.account)
        if waiting.done():
            await respond(send, 200, headers, waiting.result())
            return _untaken(session, scope)
        http = protocol_of(scope)
        if http is not None:
            http.poller = session
        session.asked = scope
        try:
            body = await waiting
        finally:
            if session.asked is scope:
                session.asked = None
            if http is not None:
                http.poller = None
        await respond(send, 200, headers, body)
        _untaken(session, scope)

    # --- what its client says

    async def _post(
        self, session: Session, scope: Scope, receive: Receive, send: Send, headers: Headers
    ) -> None:
        if session.busy:  # which of the two comes first could not be told
            session.end(reasons.TRANSPORT_ERROR)
            return await respond(send, 400, headers, error(3))
        session.busy = True
        if session.known:
            counted(scope, session.account)
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
            body = await read_body(scope, receive, session.size_limit)
        except (TimeoutError, ConnectionError):
            session.end(reasons.TRANSPORT_ERROR)
            return 400, error(3)
        if isinstance(body, TooLong):
            context = self._engine.context
            context.log.warning("a request of %d bytes ends its session (413)", body.size)
            context.too_big(session, body.beginning, body.size)
            # The reply goes with the poll that waits: a client that heard of the end first, or together with
            # it, would not look at it.
            await asyncio.sleep(LAST_POLL)
            session.end(reasons.TRANSPORT_ERROR)
            return 413, error(6)
        try:
            await _check(body)
        except ValueError:
            session.end(reasons.TRANSPORT_ERROR)
            return 400, error(3)
        came = polling.packets(body)
        if not (session.feed(came) or await self._rest(session, came)):
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
            session.end(reasons.TRANSPORT_ERROR)
            return False
        return True


async def _check(body: bytes) -> None:
    """Raises ValueError if something in a POST is no packet."""
    for number, _ in enumerate(polling.packets(body), 1):
        if not number % AT_A_TIME:
            await asyncio.sleep(0)


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
