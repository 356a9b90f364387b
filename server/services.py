"""The parts of a node that doors and routes need, in one object. Built by `server.node`; nothing here is
global."""

from collections.abc import Sequence
from dataclasses import dataclass

from events.access import Caller
from events.clock import Clock
from events.delivery import Delivery
from events.dispatch import Dispatcher
from events.hub import Hub
from events.joining import Joining
from events.membership import Membership
from events.messages import MessageService
from events.observer import Observer
from events.participation import Participation
from events.presence import Presence
from events.sessions import SessionManager
from events.streams import Streams
from events.takeover import Takeover
from server.admission import Admission
from server.config import Settings
from server.identity import peer
from server.node.answers import Answers
from server.node.gate import Gate
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
    gate: Gate
    admission: Admission
    # Conversations.
    hub: Hub
    delivery: Delivery
    sessions: SessionManager
    participation: Participation
    presence: Presence
    membership: Membership
    messages: MessageService
    streams: Streams
    joining: Joining
    takeover: Takeover
    store: Messages
    agents: Agents
    answers: Answers
    dispatcher: Dispatcher
    #: The node did not start, and the log has said why.
    refused: bool = False
    #: Of a worker among several: the port that it does not share with the others.
    own_port: int | None = None

    async def authenticate(self, token: str, headers: Headers, from_query: bool, address: str) -> Caller:
        """Raises Unauthorized, TokenExpired, Forbidden, RateLimited, Unavailable."""
        return await self.gate.authenticator.authenticate(token, headers, from_query, address)

    @staticmethod
    def token_of(headers: Headers, query: bytes, subprotocols: Sequence[str]) -> tuple[str, str] | None:
        return peer.bearer_token(headers, query, subprotocols)

    def address_of(self, client: tuple[str, int] | None, headers: Headers) -> str:
        return peer.address_behind(client, headers, self.settings)
