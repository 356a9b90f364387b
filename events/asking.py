"""A message whose sender waits for the answer, and the session that may begin with it. Knows no transport."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import structs

from events.access import Caller
from events.agents.replies import Replies
from events.answering import Answering
from events.messages import MessageService, SaidBefore
from events.ratelimit import RateLimits
from events.schema import ChatRequest, SendMessage
from events.sessions import Origin, SessionManager
from events.typing import Typing
from storage.ops import Addressed
from storage.records import TOMBSTONE, MessageRecord, SessionRecord
from storage.shape import maker

_question = maker(SendMessage, ChatRequest, "session_id")


class Asked(NamedTuple):
    """A question that is committed, and whom it asks."""

    asks: Addressed
    message: MessageRecord

    @property
    def named(self) -> "Asked":
        """The same for who waits for the answer: of what was said, nothing is held as long."""
        return Asked(structs.replace(self.asks, tools=None), unsaid(self.message))


def unsaid(message: MessageRecord) -> MessageRecord:
    """A message by its ids and its place, without its words."""
    return structs.replace(message, **TOMBSTONE)


class Asking:
    def __init__(
        self,
        sessions: SessionManager,
        messages: MessageService,
        replies: Replies,
        answering: Answering,
        typing: Typing,
        limits: RateLimits,
    ) -> None:
        self._sessions, self._messages, self._replies = sessions, messages, replies
        self._answering = answering
        self._typing, self._limits = typing, limits

    async def ask(
        self, caller: Caller, session_id: str | None, request: ChatRequest, origin: Origin
    ) -> Asked:
        """Commit the question; without a `session_id`, its session with it. `Answering.answer_to` waits
        for the answer.

        Raises SessionNotFound, AgentNotFound, RateLimited, ..., StorageError.
        """
        begins = None
        if session_id is None:
            begins = await self._new_session(caller, request, origin)
        session = begins or await self._writable(caller, session_id or "")
        agent = await self._replies.agent(session.agent_id)
        command = _question(request, session.session_id)
        most = self._sessions.most_of(caller) if begins is not None else None
        asks = self._answering.asks_of(caller, agent.id, request.when_busy, request.tools)
        place = self._messages.send(caller, command, begins=begins, most=most, asks=asks)
        self._typing.clear(session.session_id, caller.key)
        return Asked(asks, (await place).record)

    async def ask_after(
        self,
        caller: Caller,
        request: ChatRequest,
        origin: Origin,
        earlier: Sequence[SaidBefore],
        session_id: str | None = None,
    ) -> Asked:
        """Commit the question in a session that is made for it, behind what was said `earlier`, in this
        order.

        A repeat with the same `session_id`, which nobody else may be able to give, is answered with the
        first. Raises as `ask`.
        """
        session = await self._new_session(caller, request, origin, session_id)
        agent = await self._replies.agent(session.agent_id)
        most, begins = self._sessions.most_of(caller), session
        asks = self._answering.asks_of(caller, agent.id, request.when_busy, request.tools)
        places = [
            self._messages.bring(caller, agent.id, session, most, said, number)
            for number, said in enumerate(earlier)
        ]
        command = _question(request, session.session_id)
        places.append(self._messages.send(caller, command, begins=begins, most=most, asks=asks))
        done = await asyncio.gather(*places, return_exceptions=True)
        for each in done:
            if isinstance(each, BaseException):
                raise each
        *_, asked = done
        assert not isinstance(asked, BaseException)
        return Asked(asks, asked.record)

    async def _new_session(
        self, caller: Caller, request: ChatRequest, origin: Origin, session_id: str | None = None
    ) -> SessionRecord:
        waiting = self._limits.check(caller, "create")
        if waiting is not None:
            await waiting
        agent_id = int(request.agent_id) if request.agent_id is not None else 1
        return await self._sessions.new_session(caller, origin, agent_id=agent_id, session_id=session_id)

    async def _writable(self, caller: Caller, session_id: str) -> SessionRecord:
        record, _ = await self._sessions.writable(caller, session_id)
        self._sessions.touches.touch(session_id, record.ttl_hours, record.last_activity.timestamp())
        return record
