"""The interface of agents: a request, and the pieces of its answer."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

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
    """The cost of an answer, as far as the agent knows it."""

    tokens_used: int | None = None


class AnswerFailed(Exception):
    """Ends an answer as `failed` with this code and text, which everybody in the room sees.

    `detail` is for the log. `retry_after`, in seconds: the same request may succeed then; None: it will not.
    """

    def __init__(self, code: str, text: str, *, retry_after: float | None = None, detail: str = "") -> None:
        super().__init__(f"{code}: {text}")
        self.code, self.text = code, text
        self.retry_after, self.detail = retry_after, detail


class Agent:
    """A kind of agent that writes its answers on this node: one object for all agents of the kind."""

    def check(self, config: dict[str, Any]) -> None:
        """Whether an agent can have this `config`. Raises ValueError, with the reason for its operator."""

    def answer(self, request: Request) -> AsyncIterator[str | Usage]:
        """Yields pieces of text (an empty one says that more comes) and may yield one `Usage`.

        Raises AnswerFailed, or a ChatError. Releases what it holds when it is closed or cancelled.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """The node stops."""
