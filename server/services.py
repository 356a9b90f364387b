"""Everything a door needs, in one object. Built by `server.lifespan`; nothing here is global."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from events.access import Caller
from events.agents.base import Agent
from events.agents.replies import Replies
from events.asking import Asking
from events.clock import rfc3339, when
from events.commands import Commands
from events.delivery import Delivery
from events.dispatch import Dispatcher
from events.errors import Unauthorized
from events.healing import Healer
from events.hub import Hub
from events.joining import Joining
from events.leases import Leases
from events.membership import Membership
from events.messages import MessageService
from events.observer import Observer
from events.presence import Presence
from events.ratelimit import RateLimits
from events.room import Connection
from events.sessions import SessionManager
from events.storetime import StoreTime
from events.streams import Streams
from events.takeover import Takeover
from events.tasks import Tasks
from events.typing import Typing
from server import peer
from server.admission import Admission
from server.auth import Authenticator
from server.config import Settings
from server.journal import Journal
from server.origins import Origins
from server.places import Places
from server.requests import Requests
from server.revoked import Revoked
from storage.agents import Agents
from storage.database import Database
from storage.files import Files
from storage.interfaces import Bus
from storage.messages import Messages
from storage.ops import Committed

Headers = Sequence[tuple[bytes, bytes]]


@dataclass
class Services:
    """One node."""

    settings: Settings
    observer: Observer
    authenticator: Authenticator
    origins: Origins
    database: Database
    hub: Hub
    bus: Bus
    delivery: Delivery
    healer: Healer
    sessions: SessionManager
    messages: MessageService
    streams: Streams
    leases: Leases
    replies: Replies
    asking: Asking
    membership: Membership
    joining: Joining
    takeover: Takeover
    presence: Presence
    typing: Typing
    limits: RateLimits
    requests: Requests
    places: Places
    admission: Admission
    journal: Journal
    commands: Commands
    dispatcher: Dispatcher
    agents: Agents
    agent_kinds: Mapping[str, Agent]
    files: Files
    store: Messages
    revoked: Revoked
    node_id: str
    store_time: StoreTime
    tasks: Tasks
    clock: Any = time.time
    #: Processes that share one machine's memory and disk with this one, itself among them.
    processes: int = 1
    extras: dict[str, Any] = field(default_factory=dict)
    #: What else follows a commit (neither raises nor blocks), starts with the node, stops with it.
    after_commit: list[Callable[[Sequence[Committed]], None]] = field(default_factory=list)
    at_start: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    at_stop: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    #: Messages between nodes, by name: (channel, body).
    on_signals: dict[str, Callable[[str, bytes], None]] = field(default_factory=dict)

    async def authenticate(self, token: str, origin: str | None, from_query: bool, address: str) -> Caller:
        """Raises Unauthorized, TokenExpired, Forbidden, RateLimited, Unavailable."""
        return await self.authenticator.authenticate(token, origin, from_query, address)

    @staticmethod
    def token_of(headers: Headers, query: bytes, subprotocols: Sequence[str]) -> tuple[str, str] | None:
        return peer.bearer_token(headers, query, subprotocols)

    def address_of(self, client: tuple[str, int] | None, headers: Headers) -> str:
        return peer.client_address({"client": client, "headers": headers}, self.settings)

    async def refresh(self, caller: Caller, conn: Connection | None, token: str) -> dict[str, Any]:
        """`auth_refresh`: the same identity with a newer token."""
        fresh = await self.authenticator.authenticate(token, address=conn.address if conn else None)
        if fresh.identity != caller.identity:
            raise Unauthorized("the token is another identity's")
        if conn is not None:
            conn.caller, conn.noticed = fresh, False
            # After the reply: what it does not open any more is left, and a raw WebSocket ends with that.
            self.tasks.spawn(self.membership.check_all(conn))
        return {"expires_at": rfc3339_of(fresh.expires_at)}


def rfc3339_of(seconds: float) -> str:
    """A token's expiry; one without an end is told as the last moment of year 9999."""
    return rfc3339(when(min(seconds, 253402300799.0)))
