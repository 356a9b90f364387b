"""Starts the answer to a user's message, and writes it as a stream. Knows no kind of agent."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from events.access import Caller
from events.agents.base import Agent, Request, Usage
from events.errors import AgentNotFound, AgentUnavailable, ChatError, Internal
from events.event import Event
from events.messages import MessageService, translate, view
from events.schema import StreamStart
from events.streams import Stream, Streams
from storage.agents import Agents
from storage.errors import StorageError
from storage.messages import Messages as Store
from storage.ops import Committed
from storage.records import AgentRecord, MessageRecord

#: What a request carries of what was said before (contract, section 5).
HISTORY_MESSAGES = 50
HISTORY_BYTES = 64 * 1024

#: Seconds until a worker that took a request has to begin its answer.
FIRST_WORD = 60.0
#: Seconds between looks at an answer that somebody wants as a whole.
WHOLE_ANSWER_POLL = 0.25

log = logging.getLogger("parley.agents")

#: Hands a request to a worker that connects from outside; raises AgentUnavailable.
Remote = Callable[[Request], Awaitable[None]]


def reply_key(message_id: str) -> str:
    """The `client_message_id` of the answer to a message: it is begun once."""
    return f"reply:{message_id}"


class Replies:
    """`kinds` are the agents that write on this node; `remote` asks workers."""

    def __init__(
        self,
        agents: Agents,
        store: Store,
        messages: MessageService,
        streams: Streams,
        kinds: Mapping[str, Callable[[AgentRecord], Agent]],
        remote: Remote,
    ) -> None:
        self._agents, self._store, self._messages, self._streams = agents, store, messages, streams
        self._kinds = kinds
        self._remote = remote
        self._tasks: set[asyncio.Future[None]] = set()
        self._expected: dict[str, asyncio.Future[str]] = {}  # message id -> its answer's

    async def agent(self, agent_id: int | None) -> AgentRecord:
        """Raises AgentNotFound."""
        record = await self._agents.get(agent_id) if agent_id is not None else None
        if record is None or not record.is_active:
            raise AgentNotFound
        return record

    def reply_later(self, agent_id: int, message: MessageRecord) -> None:
        """After the commit of a user's message. The message stands whatever becomes of the answer."""
        self._spawn(self._reply(agent_id, message))

    async def _reply(self, agent_id: int, message: MessageRecord) -> None:
        try:
            agent = await self.agent(agent_id)
            await self.reply(agent, message)
        except (ChatError, StorageError) as error:
            log.warning("no answer to %s: %s", message.message_id, error)

    async def reply(self, agent: AgentRecord, message: MessageRecord) -> Committed | None:
        """Begin the answer; its placeholder, or None where a worker will make it.

        The answer to a message is begun once: a repeat gets the first one's placeholder.
        """
        request = await self._request(agent, message)
        if agent.kind == "remote":
            try:
                await self._remote(request)
                return None
            except AgentUnavailable as error:
                return await self._fail(agent, message, error)
        make = self._kinds.get(agent.kind)
        if make is None:
            return await self._fail(
                agent, message, AgentUnavailable(f"agents of kind {agent.kind} are not set up")
            )
        stream, done = await self._begin(agent, message)
        if stream is not None and not done.duplicate:
            stream.agent_task = asyncio.get_running_loop().create_task(
                self._write(make(agent), request, stream)
            )
            self._keep(stream.agent_task)
        return done

    # --- who waits for an answer

    async def answer_to(self, agent: AgentRecord, message: MessageRecord) -> MessageRecord:
        """The placeholder of a message's answer, begun if it was not yet. The caller is in the room.

        Raises AgentUnavailable if no worker begins one in time.
        """
        known = await self._known(agent, message)
        if known is not None:
            return known
        waiting = self._expected.setdefault(message.message_id, asyncio.get_running_loop().create_future())
        try:
            done = await self.reply(agent, message)
            if done is not None:
                return done.record
            async with asyncio.timeout(FIRST_WORD):
                message_id = await asyncio.shield(waiting)
            return await self._messages.get(message.session_id, message_id)
        except TimeoutError as error:
            raise AgentUnavailable("no worker began an answer") from error
        finally:
            self._expected.pop(message.message_id, None)

    async def _known(self, agent: AgentRecord, message: MessageRecord) -> MessageRecord | None:
        return await self._store.by_client_id(
            message.session_id, "agent", str(agent.id), reply_key(message.message_id)
        )

    async def whole_answer(self, agent: AgentRecord, message: MessageRecord) -> MessageRecord:
        """The answer when it is finished. The caller need not be in the room."""
        while True:
            known = await self._known(agent, message)
            if known is None:
                done = await self.reply(agent, message)
                known = done.record if done is not None else None
            if known is not None and known.status != "streaming":
                return known
            await asyncio.sleep(WHOLE_ANSWER_POLL)

    def started(self, event: Event) -> None:
        """A stream began in a room of this node: perhaps somebody waits for it."""
        if self._expected:
            start = msgspec.json.decode(event.data)
            waiting = self._expected.get(start.get("reply_to") or "")
            if waiting is not None and not waiting.done() and start.get("sender_type") == "agent":
                waiting.set_result(event.stream)

    async def _begin(self, agent: AgentRecord, message: MessageRecord) -> tuple[Stream | None, Committed]:
        command = StreamStart(
            session_id=message.session_id,
            client_message_id=reply_key(message.message_id),
            reply_to=message.message_id,
        )
        return await self._streams.start(("agent", str(agent.id)), command, adopt=False)

    async def _fail(self, agent: AgentRecord, message: MessageRecord, error: ChatError) -> Committed:
        stream, done = await self._begin(agent, message)
        if stream is not None and not done.duplicate:
            await self._streams.end(stream, "failed", error={"code": error.code, "message": error.text})
        return done

    async def _request(self, agent: AgentRecord, message: MessageRecord) -> Request:
        rows = await self._store.context(message.session_id, message.seq, HISTORY_MESSAGES)
        history, size = [], 0
        for row in reversed(rows):
            size += len(row.content.encode())
            if size > HISTORY_BYTES:
                break
            history.append(view(row))
        history.reverse()
        return Request(message.session_id, view(message), history, agent)

    async def _write(self, agent: Agent, request: Request, stream: Stream) -> None:
        """Ends the stream whatever happens; a cancel from outside has ended it already."""
        usage = Usage()
        answer = agent.answer(request)
        try:
            async for piece in answer:
                if isinstance(piece, Usage):
                    usage = piece
                else:
                    self._streams.chunk(stream, piece, None)
            end = self._streams.end(stream, "complete", tokens_used=usage.tokens_used)
        except ChatError as error:
            end = self._streams.end(stream, "failed", error={"code": error.code, "message": error.text})
        except Exception:
            log.exception("agent %s failed on %s", request.agent.id, request.message.message_id)
            end = self._streams.end(
                stream, "failed", error={"code": Internal.code, "message": Internal.message}
            )
        finally:
            closing = getattr(answer, "aclose", None)
            if closing is not None:
                await closing()
        try:
            await end
        except StorageError as error:
            log.warning("the end of %s: %s", stream.message_id, translate(error) or error)

    def _spawn(self, work: "Awaitable[None]") -> None:
        self._keep(asyncio.ensure_future(work))

    def _keep(self, task: "asyncio.Future[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def may_reply(self, caller: Caller, reply: bool, agent_id: int | None) -> bool:
        """A `user` message in a session with an agent starts an answer unless it says otherwise."""
        return caller.role == "user" and reply and agent_id is not None
