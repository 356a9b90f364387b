"""The interface of agents: a request, and the pieces of its answer."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from events.agents.deltas import Delta
from events.agents.faults import Fault
from events.pagetools import PageTool
from events.payloads import ResumedAnswer
from events.schema import Message
from storage.records import AgentRecord, MessageRecord


class PosedQuestion(NamedTuple):
    """A message that is to be answered. `place`: the session's number when it was asked; `fence` counts its
    hand-outs; `tools`: of the page, that it brings."""

    message: MessageRecord
    place: int
    fence: int
    tools: Sequence[PageTool] = ()


class Request(Struct):
    """One message to be answered. `history` is what was said before it, oldest first; `fence` counts its
    hand-outs. `resume`: the answer has waited for people, and goes on. `steering` fills with messages that
    come meanwhile and are for this answer, by id: who takes one out says so (`NextStep`). `tools`: of the
    page, that the message brings."""

    session_id: str
    message: Message
    history: Sequence[Message]
    agent: AgentRecord
    fence: int = 0
    resume: ResumedAnswer | None = None
    steering: dict[str, Message] = {}
    tools: Sequence[PageTool] = ()


class AnswerFailed(Exception):
    """Ends an answer as `failed` with this code and text, which everybody in the room sees.

    `detail` is for the log. `retry_after`, in seconds: the same request may succeed then; None: it will not.
    `fault` is what the upstream said, where it said anything.
    """

    def __init__(
        self,
        code: str,
        text: str,
        *,
        retry_after: float | None = None,
        detail: str = "",
        fault: Fault | None = None,
    ) -> None:
        super().__init__(f"{code}: {text}")
        self.code, self.text = code, text
        self.retry_after, self.detail, self.fault = retry_after, detail, fault


class Agent:
    """A kind of agent that writes its answers on this node: one object for all agents of the kind."""

    def check(self, config: dict[str, Any]) -> None:
        """Whether an agent can have this `config`. Raises ValueError, with the reason for its operator."""

    def answer(self, request: Request) -> AsyncIterator[Delta]:
        """Yields what the answer consists of; an empty text says that more comes.

        Raises AnswerFailed, or a ChatError. Releases what it holds when it is closed or cancelled.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """The node stops."""
