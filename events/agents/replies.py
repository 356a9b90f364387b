"""Starts the answer to a user's message, and writes it as a stream. Knows no kind of agent."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from events.agents.answerparts import AnswerParts
from events.agents.base import Agent, AnswerFailed, PosedQuestion, Request
from events.agents.deltas import Told, Waits
from events.agents.outcome import AnswerOutcome
from events.agentstatus import AgentStatuses
from events.clock import Clock, rfc3339, when
from events.errors import AgentNotFound, AgentUnavailable, ChatError, Internal, RateLimited
from events.event import Event, to_json
from events.failures import translate
from events.messages import MessageService
from events.parts import TEXT
from events.schema import Message, StreamStart
from events.stream import Stream
from events.streams import Streams
from events.tasks import Tasks
from events.views import resumed, told_to_agents
from storage.agents import Agents
from storage.errors import StorageError
from storage.messages import Messages as Store
from storage.ops import Committed
from storage.parts import taken_up
from storage.pieces import Run
from storage.place import CommitPlace
from storage.records import AgentRecord, MessageRecord
from storage.waits import WAITING

#: How much of the earlier conversation a request carries (contract, section 5).
HISTORY_MESSAGES = 50
HISTORY_BYTES = 64 * 1024

#: What a call of a tool says that was never carried out.
NOT_CALLED = "not called: the answer ended before"

#: Seconds between looks whether a worker goes on with an answer.
LOOK = 2.0

#: Messages after a request among which its answer is looked for.
ANSWER_WITHIN = 100

log = logging.getLogger("parley.agents")

#: The kind of agents for which workers answer that connect from outside (`events.agents.remote`).
REMOTE = "remote"
#: Hands a request to a worker that connects from outside; raises AgentUnavailable.
Remote = Callable[[Request], Awaitable[None]]


def reply_key(message_id: str) -> str:
    """The `client_message_id` of the answer to a message: it is begun once."""
    return f"reply:{message_id}"


class _Handed(NamedTuple):
    """A request that a worker has, or is being asked to take: `begun` is its answer's id, once it has begun.
    `fence` of the hand-out. What began up to `seq`, or `revision`, is not meant: it was there before."""

    begun: "asyncio.Future[str]"
    fence: int
    seq: int
    revision: int


class Replies:
    """`kinds` are the agents that write on this node; `remote` asks workers, and one that took a request
    has `first_word` seconds to begin its answer. `most`: answers that this node writes for one account at a
    time; a further question is answered with a refusal."""

    def __init__(
        self,
        agents: Agents,
        store: Store,
        messages: MessageService,
        streams: Streams,
        statuses: AgentStatuses,
        kinds: Mapping[str, Agent],
        remote: Remote,
        clock: Clock,
        *,
        first_word: float = 60.0,
        most: int,
    ) -> None:
        self._agents, self._store, self._messages, self._streams = agents, store, messages, streams
        self._statuses, self._kinds = statuses, kinds
        self._remote, self._clock, self._first_word = remote, clock, first_word
        self._tasks = Tasks("answers")
        # Requests that a worker has, or is being asked to take, by message id.
        self._asked: dict[str, _Handed] = {}
        self._most = most
        self._writing: Counter[str] = Counter()  # by the account of who asked

    async def agent(self, agent_id: int | None) -> AgentRecord:
        """Raises AgentNotFound."""
        record = await self._agents.get(agent_id) if agent_id is not None else None
        if record is None or not record.is_active:
            raise AgentNotFound
        return record

    async def reply(self, agent: AgentRecord, question: PosedQuestion, account: str) -> str:
        """Begin the answer; its id, once it has begun. `account`: of who asked, "" for an operator, who has
        no cap.

        The answer to a message is begun once: a repeat gets the first one's placeholder.
        """
        if not agent.is_active:
            error = AgentUnavailable("the agent is switched off")
            return (await self._fail(agent, question, error)).record.message_id
        if agent.kind == REMOTE:
            return await asyncio.shield(self._ask(agent, question))
        kind = self._kinds.get(agent.kind)
        if kind is None:
            error = AgentUnavailable(f"agents of kind {agent.kind} are not set up")
            return (await self._fail(agent, question, error)).record.message_id
        if account and self._writing[account] >= self._most:
            busy = RateLimited(f"at most {self._most} answers at a time")
            return (await self._fail(agent, question, busy)).record.message_id
        self._writing[account] += 1
        begun: asyncio.Task[None] | None = None
        try:
            request = await self._request(agent, question)
            stream, done = await self._begin(agent, question)
            if stream is not None and not done.duplicate:
                begun = self._spawn(kind, request, stream, account)
            return done.record.message_id
        finally:
            if begun is None:
                self._written(account)

    async def go_on(
        self,
        agent: AgentRecord,
        question: PosedQuestion,
        answer: MessageRecord,
        written: Sequence[Run],
        steered: Sequence[str],
        account: str,
    ) -> None:
        """Write on an answer that has waited, and took up these questions. Raises AgentUnavailable where
        nobody does now; RateLimited where as many answers are being written for this account as may be;
        Conflict, StreamClosed where somebody else does."""
        self.check_place(agent, account)
        kind = self._kinds.get(agent.kind)
        request = await self._request(agent, question)
        request.resume = resumed(answer, written, await self._told(steered))
        if kind is None:
            await self._ask_on(request, answer)
            return
        self.check_place(agent, account)
        begun: asyncio.Task[None] | None = None
        self._writing[account] += 1
        try:
            stream, _ = await self._streams.resume(("agent", str(agent.id)), "", answer, question.fence)
            # The commit's answer may have been lost, and it was tried again: the claim is this node's alone.
            if stream.agent_task is None:
                begun = self._spawn(kind, request, stream, account)
        finally:
            if begun is None:
                self._written(account)

    def check_place(self, agent: AgentRecord, account: str) -> None:
        """Raises AgentUnavailable, RateLimited, as `go_on`, where one need not look further."""
        is_written_here = agent.kind != REMOTE
        if not agent.is_active or (is_written_here and agent.kind not in self._kinds):
            raise AgentUnavailable("the agent is switched off")
        if is_written_here and account and self._writing[account] >= self._most:
            raise RateLimited(f"at most {self._most} answers at a time")

    async def fail_on(self, answer: MessageRecord, error: ChatError, fence: int) -> None:
        """The same where it cannot be written on. Raises ChatError, StorageError."""
        stream, _ = await self._streams.resume((answer.sender_type, answer.sender_id), "", answer, fence)
        told = {"code": error.code, "message": error.text}
        await self._streams.end(stream, "failed", error=told)

    def _spawn(self, kind: Agent, request: Request, stream: Stream, account: str) -> "asyncio.Task[None]":
        stream.inbox = request.steering
        begun = stream.agent_task = self._tasks.spawn(self._write(kind, request, stream))
        begun.add_done_callback(lambda _: self._written(account))
        return begun

    def _written(self, account: str) -> None:
        self._writing[account] -= 1
        if not self._writing[account]:
            del self._writing[account]

    # --- workers

    async def _ask_on(self, request: Request, answer: MessageRecord) -> None:
        """Until a worker has gone on with it."""
        question_id = request.message.message_id
        handed = self._handed(question_id, request.fence, revision=answer.revision)
        asked = handed.begun
        try:
            await self._remote(request)
            until = asyncio.get_running_loop().time() + self._first_word
            while not asked.done():
                await asyncio.wait([asked], timeout=LOOK)
                # Its start is heard where somebody here is in the room.
                record = await self._store.get(answer.message_id)
                if record is None or record.revision != answer.revision:
                    return
                if asyncio.get_running_loop().time() > until:
                    raise AgentUnavailable("the worker that took the request does not go on with its answer")
        finally:
            self._over(question_id, handed)

    def _handed(self, question_id: str, fence: int, *, seq: int = 0, revision: int = 0) -> _Handed:
        """What was handed out before counts no more: its answer may have begun where nobody heard of it."""
        self.give_up(question_id)
        begun: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        handed = self._asked[question_id] = _Handed(begun, fence, seq, revision)
        return handed

    def _over(self, question_id: str, handed: _Handed) -> None:
        if self._asked.get(question_id) is handed:
            del self._asked[question_id]
        handed.begun.cancel()

    def _ask(self, agent: AgentRecord, question: PosedQuestion) -> "asyncio.Future[str]":
        """Hand the request to a worker, once; the id of the answer's placeholder."""
        question_id = question.message.message_id
        handed = self._asked.get(question_id)
        if handed is None or handed.fence != question.fence:
            handed = self._handed(question_id, question.fence, seq=question.place)
            self._tasks.spawn(self._hand_out(agent, question, handed))
        return handed.begun

    async def _hand_out(self, agent: AgentRecord, question: PosedQuestion, handed: _Handed) -> None:
        question_id, asked = question.message.message_id, handed.begun
        try:
            try:
                await self._remote(await self._request(agent, question))
                begun = await self._begun(agent, question, asked)
                error = AgentUnavailable("the worker that took the request began no answer")
            except AgentUnavailable as refused:
                begun, error = None, refused
            if begun is None:
                begun = (await self._fail(agent, question, error)).record.message_id
            if not asked.done():
                asked.set_result(begun)
        except (ChatError, StorageError) as failure:
            log.warning("no answer to %s: %s", question_id, failure)
            if not asked.done():
                asked.set_exception(translate(failure) or failure)
                asked.exception()  # nobody may be waiting
        except Exception:
            log.exception("no answer to %s", question_id)
            if not asked.done():
                asked.set_exception(Internal())
                asked.exception()
        finally:
            self._over(question_id, handed)

    async def _begun(
        self, agent: AgentRecord, question: PosedQuestion, asked: "asyncio.Future[str]"
    ) -> str | None:
        """The answer that a worker begins in time: seen in the room if it is on this node, else in SQL."""
        await asyncio.wait([asked], timeout=self._first_word)
        if asked.done():
            return asked.result()
        message = question.message
        later, _ = await self._store.page(
            message.session_id, after_seq=question.place, limit=ANSWER_WITHIN, max_bytes=HISTORY_BYTES
        )
        answers = [r for r in later if (r.sender_type, r.sender_id) == ("agent", str(agent.id))]
        return next((r.message_id for r in answers if r.reply_to in (None, message.message_id)), None)

    def started(self, event: Event) -> None:
        """A stream began in a room of this node: perhaps it is the answer to a request that a worker has."""
        if self._asked:
            start = msgspec.json.decode(event.data)
            handed = self._asked.get(start.get("reply_to") or "")
            if handed is None or handed.begun.done() or start.get("sender_type") != "agent":
                return
            if start["seq"] > handed.seq and event.rev > handed.revision:
                handed.begun.set_result(event.stream)

    def give_up(self, message_id: str) -> None:
        """The question was stopped before its answer began."""
        handed = self._asked.get(message_id)
        if handed is not None:
            handed.begun.cancel()

    async def known(self, agent_id: int, message: MessageRecord) -> MessageRecord | None:
        """The answer that has begun, if it was begun here or by a worker that names its question."""
        return await self._store.by_client_id(
            message.session_id, "agent", str(agent_id), reply_key(message.message_id)
        )

    async def _begin(self, agent: AgentRecord, question: PosedQuestion) -> tuple[Stream | None, Committed]:
        message = question.message
        command = StreamStart(
            session_id=message.session_id,
            client_message_id=reply_key(message.message_id),
            reply_to=message.message_id,
            fence=question.fence,
        )
        return await self._streams.start(("agent", str(agent.id)), command, adopt=False)

    async def _fail(self, agent: AgentRecord, question: PosedQuestion, error: ChatError) -> Committed:
        stream, done = await self._begin(agent, question)
        if stream is not None and not done.duplicate:
            await self._streams.end(stream, "failed", error={"code": error.code, "message": error.text})
        return done

    async def _request(self, agent: AgentRecord, question: PosedQuestion) -> Request:
        message = question.message
        rows = await self._store.context(message.session_id, message.seq, HISTORY_MESSAGES, HISTORY_BYTES)
        files = await self._store.files_with([*rows, message])
        history, size = [], 0
        for row in reversed(_in_turns(rows)):
            shown = told_to_agents(await self._so_far(row), files.get(row.message_id, ()))
            if shown.status == "streaming" and not shown.content:
                continue
            needed = len(to_json(shown)) + 1
            if shown.parts is not UNSET and not shown.files and size + needed > HISTORY_BYTES:
                # What tools gave may be long. Its text says what it came to.
                shown.parts = UNSET
                if not shown.content:
                    continue
                needed = len(to_json(shown)) + 1
            size += needed
            if size > HISTORY_BYTES:
                break
            history.append(shown)
        history.reverse()
        asked = told_to_agents(message, files.get(message.message_id, ()))
        if agent.kind != REMOTE:
            asked.metadata = {}  # for workers: it may be large, and is held as long as the answer is written
        return Request(message.session_id, asked, history, agent, question.fence, tools=question.tools)

    async def _told(self, message_ids: Sequence[str]) -> list[Message]:
        """As many as a request has room for."""
        found = [record for each in message_ids if (record := await self._store.get(each)) is not None]
        files, told, size = await self._store.files_with(found), list[Message](), 0
        for record in found:
            shown = told_to_agents(record, files.get(record.message_id, ()))
            size += len(to_json(shown)) + 1
            if size > HISTORY_BYTES:
                break
            told.append(shown)
        return told

    async def _so_far(self, record: MessageRecord) -> MessageRecord:
        """An answer that is being written has its text in its stream."""
        if record.status != "streaming":
            return record
        so_far = await self._streams.read(record, 0)
        return msgspec.structs.replace(record, content=so_far.content, parts=None)

    async def _write(self, kind: Agent, request: Request, stream: Stream) -> None:
        """Ends the stream whatever happens; a cancel from outside has ended it already."""
        outcome = AnswerOutcome()
        before = _parts_before(request)
        parts = AnswerParts(self._streams, stream, self._streams.max_size, before, does=self._statuses.say)
        answer = kind.answer(request)
        waits: Waits | None = None
        try:
            async for delta in answer:
                if isinstance(delta, Told):
                    stream.told += delta.tokens
                elif isinstance(delta, Waits):
                    waits = delta
                elif not parts.take(delta):
                    outcome.take(delta)
            if waits is not None:
                parts.wait()
                asked = self._timed(waits)
                end = self._streams.end(stream, WAITING, interrupts=asked, **outcome.said("tool_calls"))
            else:
                parts.end(NOT_CALLED)
                end = self._streams.end(stream, "complete", **outcome.said())
        except (ChatError, AnswerFailed) as failure:
            end = self._failed(stream, parts, outcome, failure.code, failure.text)
        except Exception:
            log.exception("agent %s failed on %s", request.agent.id, request.message.message_id)
            end = self._failed(stream, parts, outcome, Internal.code, Internal.message)
        finally:
            closing = getattr(answer, "aclose", None)
            if closing is not None:
                await closing()
            if unshown := parts.unshown + outcome.unshown:
                log.info("agent %s, %s: not shown: %s", request.agent.id, stream.message_id, unshown)
        try:
            # A stop from now on cancels this task, and not the end that others wait for.
            await end
        except StorageError as error:
            log.warning("the end of %s: %s", stream.message_id, translate(error) or error)

    def _timed(self, waits: Waits) -> list[dict[str, Any]]:
        """What people are asked, and until when."""
        if waits.seconds is None:
            return list(waits.interrupts)
        until = rfc3339(when(self._clock() + waits.seconds))
        return [each | {"expires_at": until} for each in waits.interrupts]

    def _failed(
        self, stream: Stream, parts: AnswerParts, outcome: AnswerOutcome, code: str, text: str
    ) -> CommitPlace[Committed]:
        with suppress(ChatError):  # it may have ended, or hold no more
            parts.end(NOT_CALLED)
        error = {"code": code, "message": text}
        return self._streams.end(stream, "failed", error=error, **outcome.said("error"))

    async def stop(self) -> None:
        await self._tasks.stop()


def _parts_before(request: Request) -> list[Any]:
    """Of an answer that has waited."""
    resume = request.resume
    if resume is None:
        return []
    if resume.parts is UNSET:
        return [{"id": TEXT, "type": "text", "text": resume.content}] if resume.content else []
    return list(resume.parts)


def _in_turns(rows: Sequence[MessageRecord]) -> list[MessageRecord]:
    """A conversation as it was led: each answer behind its question, though others were asked meanwhile, and
    behind those that it took up."""
    places = {row.message_id: row.seq for row in rows}
    steered = {
        question_id: places[row.reply_to]
        for row in rows
        if row.reply_to in places and row.parts
        for question_id in taken_up(row.parts)
    }

    def place(row: MessageRecord) -> tuple[int, int, int]:
        if row.sender_type == "agent" and row.reply_to in places:
            return places[row.reply_to], 1, row.seq
        return steered.get(row.message_id, row.seq), 0, row.seq

    return sorted(rows, key=place)
