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


class AnswerFailed(Exception):
    """Ends an answer as `failed` with this code and text, which everybody in the room sees.

    `detail` is for the log. `retry_after`, in seconds: the same request may succeed then; None: it will not.
    """

    def __init__(self, code: str, text: str, *, retry_after: float | None = None, detail: str = "") -> None:
        super().__init__(f"{code}: {text}")
        self.code, self.text = code, text
        self.retry_after, self.detail = retry_after, detail


class Agent(Protocol):
    """A kind of agent that writes its answers on this node.

    `answer` yields pieces of text (an empty one says that it is still at it) and may yield one `Usage`.
    It raises AnswerFailed, or a ChatError; what it holds is released when it is closed or cancelled.
    """

    def answer(self, request: Request) -> AsyncIterator[str | Usage]: ...
