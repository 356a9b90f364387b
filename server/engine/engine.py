"""The Engine.IO server: its sessions by sid, from the request that opens one to the end. Knows no Socket.IO.

How a session is asked for, polled and fed is the endpoint's (`endpoint.py`).
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson

from events.ids import new_token
from events.outbox import Flusher
from server.engine import reasons
from server.engine.answers import counted
from server.engine.asgi import Receive, Scope, Send
from server.engine.carrier import Stage
from server.engine.context import Context, Incoming
from server.engine.handshake import Handshake, Keep, Transport
from server.engine.protocol import WebSocketProtocol
from server.engine.requests import credentials
from server.engine.session import Session
from server.engine.strangers import HEAD, Strangers

#: A request for a session that is not here: True if it has been answered (by the node that has it).
Elsewhere = Callable[[str, Scope, Receive, Send], Awaitable[bool]]
S = TypeVar("S", bound=Session)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """`outbox_limit`: bytes that may wait for a client that reads slowly; `connect_timeout`: seconds until a
    client that is in no namespace is closed; `max_size`: bytes of a message, `stranger_limit` of one from a
    client that is in no namespace yet; `identify`: a digest of a request's credentials, to which a polling
    session is bound; `elsewhere`: answers requests for other nodes' sessions; `place`: where a stranger's
    request is counted; `keep`: which lines of a head that opens a session will be asked for, None keeps all;
    `ping_grace`: seconds that clients are told to wait for a ping beyond its time."""

    ping_interval: float = 25
    ping_timeout: float = 20
    ping_grace: float = 0
    connect_timeout: float = 15.0
    outbox_limit: int = 1 << 20
    max_size: int = 1_000_000
    stranger_limit: int | None = None
    transports: tuple[Transport, ...] = ("polling", "websocket")
    allow_upgrades: bool = True
    identify: Callable[[Scope], bytes | None] = credentials
    elsewhere: Elsewhere | None = None
    strangers: Strangers | None = None
    place: Callable[[Scope], str] = lambda scope: ""
    keep: Keep | None = None
    #: The value of a Set-Cookie field for the answer that opens a polling session.
    cookie: Callable[[str], str] | None = None


class Engine(Generic[S]):
    """Sessions by sid, and their one wheel. `ended` is awaited once for each, with the reason."""

    def __init__(
        self,
        kind: Callable[[Context, str, Handshake, float], S],
        settings: EngineSettings,
        *,
        flusher: Flusher,
        message: Incoming,
        attachment: Incoming,
        too_big: Callable[[Any, bytes, int], None] = lambda session, beginning, size: None,
        ended: Callable[[S, Any], Awaitable[None] | None],
    ) -> None:
        self._kind = kind
        self.settings = settings
        self.sessions: dict[str, S] = {}
        #: Who else is asked whether a session may begin: False refuses it. None where nobody is.
        self.opened: Callable[[S], Awaitable[bool | None] | bool | None] | None = None
        self.ended = ended
        self.generate_id: Callable[[], str] = new_token
        self.context = Context(
            message=message, attachment=attachment, too_big=too_big, ended=self._over, flusher=flusher,
            outbox_limit=settings.outbox_limit, connect_timeout=settings.connect_timeout,
            ping_interval=settings.ping_interval, ping_timeout=settings.ping_timeout,
            max_size=settings.max_size, stranger_limit=settings.stranger_limit, strangers=settings.strangers,
        )  # fmt: skip
        self._upgrades: dict[S, WebSocketProtocol] = {}  # to which their sessions have not gone over yet
        interval = settings.ping_interval + settings.ping_grace
        self._open_tail = orjson.dumps(
            {
                "pingInterval": round(interval * 1000),
                "pingTimeout": round(settings.ping_timeout * 1000),
                "maxPayload": settings.max_size,
            }
        )[1:]

    # --- the beginning

    def new(self, scope: Scope, transport: Transport) -> S:
        settings, context = self.settings, self.context
        sid = self.generate_id()
        handshake = Handshake(scope, transport, settings.keep)
        session = self._kind(context, sid, handshake, context.wheel.now())
        session.owner = settings.identify(scope)
        self.sessions[sid] = session
        if settings.strangers is not None:
            # A WebSocket is counted itself.
            weight = handshake.size // HEAD + (transport == "polling")
            if weight:
                settings.strangers.add(session, settings.place(scope), weight)
        return session

    async def open(self, scope: Scope, transport: Transport) -> S | None:
        """A session, where nobody refuses it."""
        session = self.new(scope, transport)
        if self.opened is None:
            return session
        try:
            answer = self.opened(session)
            if inspect.isawaitable(answer):
                answer = await answer
        except BaseException:
            self._never_was(session)
            raise
        if answer is not None and answer is not True:
            self._never_was(session)
            return None
        return session

    def _never_was(self, session: S) -> None:
        """It was not let in."""
        self.sessions.pop(session.sid, None)
        if self.context.strangers is not None:
            self.context.strangers.discard(session)

    def begin(self, session: S) -> None:
        """Its client has been told of it: deadlines run."""
        self.context.wheel.add(session, session.opened + self.context.first_deadline)

    def opening(self, sid: str, upgrade: bool) -> bytes:
        """The OPEN packet."""
        upgrades = b'["websocket"]' if upgrade and self.settings.allow_upgrades else b"[]"
        return b'0{"sid":"' + sid.encode() + b'","upgrades":' + upgrades + b"," + self._open_tail

    def find(self, sid: str, scope: Scope) -> S | None:
        """The session, if it is here and not somebody else's. A browser's WebSocket cannot show the
        credentials that its polling was opened with, and comes without any."""
        session = self.sessions.get(sid)
        if session is None or session.closing:
            return None
        caller = self.settings.identify(scope)
        return session if caller is None or caller == session.owner else None

    # --- in between

    def upgrade_begins(self, session: S, protocol: WebSocketProtocol) -> None:
        session.begin_upgrade()
        self._upgrades[session] = protocol

    def upgrade_ends(self, session: S) -> None:
        del self._upgrades[session]
        if not session.upgraded:
            session.upgrade_failed()

    def known(self, session: S) -> None:
        """Its client has shown who it is."""
        if self.context.strangers is not None:
            self.context.strangers.discard(session)
        if session.asked is not None:
            counted(session.asked, session.account)
        protocol = session.protocol
        if session.stage is Stage.UPGRADING:  # what is behind its last packet of the upgrade may be as large
            protocol = self._upgrades.get(session)
        if protocol is not None:
            protocol.known(self.context.max_size)

    # --- the end

    def _over(self, session: S, reason: str) -> asyncio.Task[None]:
        if self.context.strangers is not None:
            self.context.strangers.discard(session)
        return self.context.run(self._ended(session, reason))

    async def _ended(self, session: S, reason: str) -> None:
        try:
            waiting = self.ended(session, reason)
            if waiting is not None:
                await waiting
        except Exception:
            self.context.log.exception("error in a disconnect handler")
        if self.sessions.get(session.sid) is session:
            del self.sessions[session.sid]

    async def close_all(self, reason: reasons.Reason = reasons.SERVER_DISCONNECT) -> None:
        """End every session; clients come back by themselves, to whoever takes connections then."""
        ended = [session.end(reason) for session in list(self.sessions.values())]
        tasks = [task for task in ended if task is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def shutdown(self) -> None:
        self.context.wheel.stop()
