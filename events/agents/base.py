"""What an agent is asked, and how it answers."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from msgspec import Struct

from events.schema import Message
from storage.records import AgentRecord


class Request(Struct):
    """One message to be answered. `history` is what was said before it, oldest first."""

    session_id: str
    message: Message
    history: Sequence[Message]
    agent: AgentRecord


class Usage(Struct):
    """What an answer cost, as far as its maker knows."""

    tokens_used: int | None = None


class Agent(Protocol):
    """A kind of agent that writes its answers on this node.

    `answer` yields pieces of text (an empty one keeps the lease of an agent that is thinking) and may
    yield one `Usage`. It raises AgentUnavailable, or another ChatError whose code ends the stream as
    `failed`; what it holds is released when it is closed.
    """

    def answer(self, request: Request) -> AsyncIterator[str | Usage]: ...
