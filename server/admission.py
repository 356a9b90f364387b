"""Whether another connection may come in, asked in one order for every transport, and its coming and going.

The order: the node (it stops, it is full), the page, the token, the rate, the place. Knows no wire: each
transport tells a refusal in its own words.
"""

from collections.abc import Coroutine, Mapping
from contextlib import AbstractContextManager
from typing import Any

from msgspec import Struct

from events.access import Caller
from events.bounds import LINK, OPERATORS
from events.errors import ChatError, Draining, ServerFull, Unauthorized
from events.hub import Hub
from events.membership import Membership
from events.observer import Observer
from events.ratelimit import RateLimits
from events.room import Connection
from server.identity import peer
from server.identity.auth import Authenticator
from server.identity.origins import Origins
from server.journal import Journal
from server.places import Places


class Visitor(Struct, frozen=True, gc=False):
    """A client that wants to come in, as its transport has read it. `headers` show whether a browser's page
    asks, `scope` is of a request whose Origin has not been checked, `caller` is there if its token has been
    checked; `missing` is the error's text if there is no token."""

    address: str
    token: Any = None
    headers: peer.Headers = ()
    from_query: bool = False
    scope: Mapping[str, Any] | None = None
    caller: Caller | None = None
    missing: str = "a token is needed"

    @classmethod
    def of_request(cls, scope: Mapping[str, Any], address: str) -> "Visitor":
        """With a token wherever a request may have it."""
        token, source = peer.request_token(scope) or (None, "")
        return cls(address, token, scope["headers"], source == "query", scope)


class Admission:
    """One node's. `draining` from SIGTERM on: nobody new comes in."""

    def __init__(
        self,
        hub: Hub,
        places: Places,
        origins: Origins,
        authenticator: Authenticator,
        limits: RateLimits,
        membership: Membership,
        observer: Observer,
        journal: Journal,
    ) -> None:
        self.draining = False
        self._hub, self._places, self._origins = hub, places, origins
        self._authenticator, self._limits = authenticator, limits
        self._membership, self._observer, self._journal = membership, observer, journal

    def nobody(self) -> ChatError | None:
        """Why the node lets nobody in, if it does not."""
        if self.draining:
            return Draining()
        return ServerFull() if self._places.full else None

    def admit(self, visitor: Visitor) -> Caller | Coroutine[Any, Any, Caller]:
        """The caller that may come in, if there is a place; to be awaited if that needs a question.

        Raises Draining, ServerFull, OriginNotAllowed, Unauthorized, TokenExpired, Forbidden, RateLimited,
        Unavailable.
        """
        why = self.nobody()
        if why is not None:
            raise why
        if visitor.scope is not None:
            self._origins.check(peer.header(visitor.scope["headers"], b"origin"), visitor.scope)
        caller = visitor.caller
        if caller is None:
            token = visitor.token
            if token is None:
                raise Unauthorized(visitor.missing)
            if not isinstance(token, str):
                raise Unauthorized("the token must be a string")
            caller = self._authenticator.authenticate_now(
                token, visitor.headers, visitor.from_query, visitor.address
            )
            if caller is None:
                return self._authenticated(token, visitor)
        waiting = self._limits.check(caller, "connect")
        return caller if waiting is None else self._limited(waiting, caller)

    async def admitted(self, visitor: Visitor) -> Caller:
        """The same for callers that run in a task."""
        caller = self.admit(visitor)
        return caller if isinstance(caller, Caller) else await caller

    async def _authenticated(self, token: str, visitor: Visitor) -> Caller:
        caller = await self._authenticator.authenticate(
            token, visitor.headers, visitor.from_query, visitor.address
        )
        waiting = self._limits.check(caller, "connect")
        return caller if waiting is None else await self._limited(waiting, caller)

    @staticmethod
    async def _limited(waiting: Any, caller: Caller) -> Caller:
        await waiting
        return caller

    # --- places

    def place(self, kind: type[Connection], caller: Caller, address: str) -> None:
        """Whether there is a place for a connection of this kind. It is in the hub before the loop's next
        turn, or somebody else has the place. Raises Draining, ServerFull, RateLimited."""
        if self.draining:
            raise Draining
        self._places.admit(caller, address)
        if kind.cap is not None and caller.role not in OPERATORS:
            mine = sum(conn.cap is kind.cap for conn in self._hub.of_account(caller))
            self._limits.admit(kind.cap, mine)
            if caller.link is not None:
                all_of_it = sum(conn.cap is kind.cap for conn in self._hub.of_link(caller))
                self._limits.admit(kind.cap, all_of_it, times=LINK)

    def kept_place(self, conn: Connection, old: Connection | None) -> AbstractContextManager[None]:
        """One for a connection that is being recovered from `old`. Raises Draining, ServerFull."""
        if self.draining:
            raise Draining
        return self._places.kept(conn, old)

    # --- coming and going

    async def enter(self, conn: Connection) -> None:
        """A new connection that has a place comes in."""
        waiting = self._membership.connected(conn)
        if waiting is not None:
            await waiting
        self.entered(conn)

    def entered(self, conn: Connection) -> None:
        """It is in: counted, and a line."""
        self._observer.connected(conn.transport)
        self._journal.connected(conn.transport, conn.caller, conn.address)

    def left(self, conn: Connection, reason: str) -> None:
        """It is gone; what it said last goes on to its end."""
        if conn.line is not None:
            conn.line.close()
            conn.line = None
        self._membership.disconnected(conn)
        self._observer.disconnected(conn.transport, reason)
