"""What doors and routes need of a node, in one object. Built by `server.node`; nothing here is global."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from events.access import Caller
from events.agents.base import Agent
from events.agents.replies import Replies
from events.asking import Asking
from events.clock import Clock
from events.delivery import Delivery
from events.dispatch import Dispatcher
from events.hub import Hub
from events.joining import Joining
from events.membership import Membership
from events.messages import MessageService
from events.observer import Observer
from events.presence import Presence
from events.ratelimit import RateLimits
from events.sessions import SessionManager
from events.streams import Streams
from events.takeover import Takeover
from server import peer
from server.admission import Admission
from server.auth import Authenticator
from server.config import Settings
from server.journal import Journal
from server.origins import Origins
from server.requests import Requests
from server.revoked import Revoked
from storage.agents import Agents
from storage.messages import Messages

Headers = Sequence[tuple[bytes, bytes]]


@dataclass
class Services:
    """One node's."""

    settings: Settings
    observer: Observer
    clock: Clock
    node_id: str
    # Who may come in, and how much of everything they may have.
    authenticator: Authenticator
    origins: Origins
    revoked: Revoked
    limits: RateLimits
    requests: Requests
    admission: Admission
    journal: Journal
    # Conversations.
    hub: Hub
    delivery: Delivery
    sessions: SessionManager
    presence: Presence
    membership: Membership
    messages: MessageService
    streams: Streams
    joining: Joining
    takeover: Takeover
    store: Messages
    agents: Agents
    agent_kinds: Mapping[str, Agent]
    replies: Replies
    asking: Asking
    dispatcher: Dispatcher
    #: The node did not start, and the log has said why.
    refused: bool = False
    #: Of a worker among several: the port that it does not share with the others.
    own_port: int | None = None

    async def authenticate(self, token: str, origin: str | None, from_query: bool, address: str) -> Caller:
        """Raises Unauthorized, TokenExpired, Forbidden, RateLimited, Unavailable."""
        return await self.authenticator.authenticate(token, origin, from_query, address)

    @staticmethod
    def token_of(headers: Headers, query: bytes, subprotocols: Sequence[str]) -> tuple[str, str] | None:
        return peer.bearer_token(headers, query, subprotocols)

    def address_of(self, client: tuple[str, int] | None, headers: Headers) -> str:
        return peer.client_address({"client": client, "headers": headers}, self.settings)
