"""Whose turn is it: from a committed question to the beginning of its answer, and to the next question.

The states are SQL's (`storage.questions`); this node begins the answers that it claims. Knows no kind
of agent. docs/turns.md has the table of states.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from events.access import Caller
from events.agents.base import PosedQuestion
from events.agents.replies import Replies
from events.clock import Clock, when
from events.delivery import Delivery
from events.errors import (
    AgentNotFound,
    AgentUnavailable,
    ChatError,
    Conflict,
    Internal,
    RateLimited,
    StreamClosed,
    Unavailable,
)
from events.event import Event, Kind, make
from events.failures import translate
from events.identity import key_of
from events.ids import new_id
from events.messages import MessageService
from events.pagetools import PageTool, as_tools, brought
from events.revisits import Revisits
from events.schema import WhenBusy
from events.steering import Steering
from events.streams import Streams
from events.tasks import Tasks
from events.views import turn_view, unanswered_view
from storage.agents import Agents
from storage.errors import StorageError, StorageUnavailable
from storage.interrupts import all_answered
from storage.messages import Messages as Store
from storage.ops import (
    STEER,
    Addressed,
    AnswerInterrupt,
    Committed,
    DeleteMessage,
    EndStream,
    ExpireInterrupts,
    NewMessage,
)
from storage.patience import PATIENCE, Patience
from storage.questions import Questions
from storage.records import AgentRecord, MessageRecord, TurnRecord
from storage.waits import WAITING

#: Seconds for which a claim holds that its node does not renew: it begins the answer, or hands the question
#: to a worker. Then another node tries.
CLAIM = 15.0

#: Seconds after which a worker is looked for again that goes on with an answer, at the earliest; doubled each
#: time, up to the latest.
AGAIN, LATEST = 0.5, 30.0
#: The same for an answer that looks for a place among those that are being written.
FULL = 1.0

#: Questions of share links whose accounts are remembered.
REMEMBERED = 10_000

#: Above every number of a message.
LAST = 2**62

log = logging.getLogger("parley.turns")


class Stopped(msgspec.Struct, array_like=True):
    """What nodes tell each other of a question that was stopped."""

    session_id: str
    question_id: str
    agent_id: int


class Answering:
    def __init__(
        self,
        questions: Questions,
        agents: Agents,
        store: Store,
        messages: MessageService,
        streams: Streams,
        replies: Replies,
        delivery: Delivery,
        clock: Clock,
    ) -> None:
        self._questions, self._agents, self._store = questions, agents, store
        self._messages, self._streams, self._replies = messages, streams, replies
        self._delivery, self._clock = delivery, clock
        self._tasks = Tasks("turns")
        self.steering = Steering(questions, store, streams, delivery, clock, self._tasks, self._taken_up)
        self._when_busy: Mapping[int, str] = {}
        # Sessions in which this node looks for what is next; True: once more after that.
        self._looking: dict[str, bool] = {}
        # Questions that were asked here, by session, until it is known whether they have to wait.
        self._fresh: dict[str, set[str]] = {}
        # Turns whose answers this node is about to begin.
        self._beginning: dict[str, TurnRecord] = {}
        # For whom the answers to questions count that were asked by share links, whose holders are many.
        self._links: dict[str, str] = {}
        # Who waits for the answer to a question: its id, once it has begun.
        self._waiting: dict[str, list[asyncio.Future[str]]] = {}
        self._revisits = Revisits()
        self._stopping = False

    # --- questions

    def asks(
        self,
        caller: Caller,
        agent_id: int | None,
        reply: bool,
        when_busy: WhenBusy | None = None,
        tools: Sequence[PageTool] | None = None,
    ) -> Addressed | None:
        """What a `user` message in a session with an agent is, unless it says otherwise. Raises
        ValidationFailed."""
        if caller.role != "user" or not reply or agent_id is None:
            return None
        return self.asks_of(caller, agent_id, when_busy, tools)

    def asks_of(
        self,
        caller: Caller,
        agent_id: int,
        when_busy: WhenBusy | None,
        tools: Sequence[PageTool] | None = None,
    ) -> Addressed:
        """Raises ValidationFailed."""
        account = caller.account if caller.role == "user" else ""
        busy: str = when_busy or self._when_busy.get(agent_id, "queue")
        return Addressed(agent_id, busy, account, brought(tools) if tools else None)

    async def learn(self) -> None:
        """What each agent does while it is busy. Called from time to time. Raises StorageUnavailable."""
        self._when_busy = await self._agents.when_busy()

    # --- after the commit

    def on_committed(self, batch: Sequence[Committed]) -> None:
        """Called by the writer once per batch, right after COMMIT."""
        for done in batch:
            op = done.op
            if done.duplicate:
                continue
            record = done.record
            if type(op) is NewMessage:
                if op.asks is not None:
                    self._asked(record, op.asks)
                elif op.status == "streaming" and op.sender_type == "agent":
                    self.steering.begun(record.session_id)
            elif isinstance(op, EndStream):
                if record.sender_type == "agent":
                    self.go_on(record.session_id)
            elif isinstance(op, AnswerInterrupt | ExpireInterrupts):
                if all_answered(record.interrupts):
                    self.go_on(record.session_id)
            elif isinstance(op, DeleteMessage):
                self._tasks.spawn(self._deleted(record))
            else:
                self.steering.edited(record)

    def ask_again(self, question: MessageRecord, asks: Addressed) -> None:
        """A question is in the line once more."""
        self._asked(question, asks)

    def _asked(self, question: MessageRecord, asks: Addressed) -> None:
        self._fresh.setdefault(question.session_id, set()).add(question.message_id)
        if asks.account != account_of(question):
            if len(self._links) >= REMEMBERED:
                self._links.clear()
            self._links[question.message_id] = asks.account
        self.go_on(question.session_id)

    async def _deleted(self, message: MessageRecord) -> None:
        """Its turn is done, or to end, by the deletion's own transaction."""
        try:
            turn = await self._questions.get(message.message_id)
            if turn is not None and turn.outcome == "deleted":
                self._stopped(turn)
        except StorageError as error:
            log.warning("nobody is told of %s, which was deleted: %s", message.message_id, error)
        self.go_on(message.session_id)

    async def erased(self, messages: Sequence[MessageRecord]) -> None:
        """The same of all at once. Raises Unavailable."""
        for turn in (await self._questions.of([message.message_id for message in messages])).values():
            if turn.outcome == "deleted":
                self._stopped(turn)
            if turn.outcome == "deleted" or turn.stopped:
                self.go_on(turn.session_id)

    # --- the next one

    def go_on(self, session_id: str) -> None:
        """Begin what is next in a session, if anything is."""
        if self._stopping:
            return
        if session_id in self._looking:
            self._looking[session_id] = True
            return
        self._looking[session_id] = False
        self._tasks.spawn(self._look(session_id))

    async def _look(self, session_id: str) -> None:
        PATIENCE.set(Patience())  # its questions are committed: they wait as long as a command may
        try:
            while True:
                self._looking[session_id] = False
                await self._claim_next(session_id)
                if not self._looking[session_id] or self._stopping:
                    return
        except StorageError as error:
            log.warning("what is next in %s is looked for again later: %s", session_id, error)
        finally:
            del self._looking[session_id]

    async def _claim_next(self, session_id: str) -> None:
        now, fresh, steers = self._clock(), self._fresh.pop(session_id, set()), False
        for turn in await self._questions.claim(session_id, when(now), when(now + CLAIM)):
            if turn.state == "done":
                self._stopped(turn)
            elif turn.stopped:
                self._tasks.spawn(self._end_answer(turn))
            elif turn.state != "queued":
                self._changed(session_id)
                self._beginning[turn.question_id] = turn
                self._tasks.spawn(self._begin(turn))
            else:
                steers = steers or turn.when_busy == STEER
                if turn.question_id in fresh:
                    self._tell(turn)
        if steers:
            self.steering.look(session_id)

    async def _begin(self, turn: TurnRecord) -> None:
        try:
            question = await self._store.get(turn.question_id)
            agent = await self._agents.get(turn.agent_id)
            is_gone = question is None or question.deleted_at is not None
            if turn.answer_id is not None and (is_gone or agent is None):
                await self._end_answer(turn)
                return
            if question is None or is_gone:
                await self._give_up(turn, "deleted", StreamClosed(details={"status": "deleted"}))
                return
            if agent is None:
                await self._give_up(turn, "failed", AgentNotFound())
                return
            account = self._links.get(turn.question_id)
            account = account_of(question) if account is None else account
            tools = as_tools(await self._questions.brought(turn.question_id)) if turn.brings else ()
            posed = PosedQuestion(question, turn.place, turn.fence, tools)
            if turn.answer_id is not None:
                await self._resume(turn, agent, posed, account)
                return
            answer_id = await self._replies.reply(agent, posed, account)
            self._has_begun(turn.question_id, answer_id)
            await self._questions.begun(turn, answer_id)
        except asyncio.CancelledError:
            if not self._stopping and not _cancelled():
                return  # the question was stopped
            raise
        except StorageUnavailable as error:
            log.warning("no answer to %s yet: %s", turn.question_id, error)  # until the claim has lapsed
        except (ChatError, StorageError) as failure:
            told = translate(failure) or failure
            log.warning("no answer to %s: %s", turn.question_id, told)
            if not isinstance(told, Unavailable):
                await self._give_up(turn, "failed", told)
        except Exception:
            log.exception("no answer to %s", turn.question_id)
            await self._give_up(turn, "failed", Internal())
        finally:
            if self._beginning.get(turn.question_id) is turn:  # else it was claimed again meanwhile
                del self._beginning[turn.question_id]

    async def _resume(
        self, turn: TurnRecord, agent: AgentRecord, question: PosedQuestion, account: str
    ) -> None:
        """Its answer has waited, and all that it asked was answered."""
        try:
            self._replies.check_place(agent, account)  # before anything is read
            answer = await self._store.get(turn.answer_id or "")
            if answer is None or answer.status != WAITING:
                return
            written = await self._questions.written(turn.question_id)
            steered = await self._questions.taken_up_by(answer)
            await self._replies.go_on(agent, question, answer, written, steered, account)
        except (AgentUnavailable, RateLimited) as error:
            log.info("nobody goes on with %s yet: %s", turn.answer_id, error)
            is_full = isinstance(error, RateLimited)
            least = FULL if is_full else min(AGAIN * 2 ** min(turn.fence, 10), LATEST)
            kind = account if is_full else f"agent\0{agent.id}"
            wait = self._revisits.later(kind, account, least, partial(self.go_on, turn.session_id))
            await self._questions.release(turn, when(self._clock() + wait))
        except (Conflict, StreamClosed) as error:
            log.info("%s was gone on with, or stopped: %s", turn.answer_id, error)

    async def _give_up(self, turn: TurnRecord, outcome: str, error: Exception) -> None:
        """`error`: for who waits for the answer here. Who stopped the question meanwhile has told of it."""
        if turn.answer_id is not None:
            await self._fail_answer(turn, turn.answer_id, error)
            return
        self._refuse(turn.question_id, error)
        if await self._questions.finish(turn, outcome):
            self._tell(msgspec.structs.replace(turn, state="done", outcome=outcome))
            self._signal_stop(turn)  # who waits may do so at another node
        self.go_on(turn.session_id)

    async def _fail_answer(self, turn: TurnRecord, answer_id: str, error: Exception) -> None:
        """An answer that has waited ends with its text, and its turn with it."""
        told = error if isinstance(error, ChatError) else Internal()
        try:
            answer = await self._store.get(answer_id)
            if answer is not None:
                await self._replies.fail_on(answer, told, turn.fence)
            return
        except (ChatError, StorageError) as failure:
            log.info("%s cannot be written on, and is stopped: %s", answer_id, failure)
        except Exception:
            log.exception("%s cannot be written on, and is stopped", answer_id)
        await self._end_answer(turn)

    async def sweep(self) -> None:
        """Keep what this node is about to begin; go on with what no node does. Called at least every third of
        `CLAIM`. Raises StorageUnavailable."""
        now = self._clock()
        if self._beginning:
            await self._questions.keep(list(self._beginning.values()), when(now + CLAIM))
        await self._questions.mend()
        for session_id in await self._questions.stuck(when(now)):
            self.go_on(session_id)
        if self._waiting:
            await self._look_for_waiting()

    # --- stop

    async def stop(self, session_id: str, message_id: str) -> str:
        """Stop an answer, named by itself or by its question, also before it begins; the answer's status.

        Raises StreamNotFound, Unavailable.
        """
        turn, ended = await self._questions.stop(session_id, message_id)
        if turn is None:
            return await self._streams.cancel(session_id, message_id)
        if turn.answer_id is not None:
            status = await self._streams.cancel(session_id, turn.answer_id)
            if turn.state == WAITING:
                self._signal_stop(turn)  # a worker may have been told to go on with it
            return status
        if ended:
            self._stopped(turn)
            self.go_on(session_id)
        return turn.outcome or "cancelled"

    async def _end_answer(self, turn: TurnRecord) -> None:
        """Its text is kept."""
        assert turn.answer_id is not None
        try:
            await self._streams.cancel(turn.session_id, turn.answer_id)
        except (ChatError, StorageError) as error:
            log.warning("the answer to %s is ended later: %s", turn.question_id, error)
        if turn.state == WAITING:
            self._signal_stop(turn)  # a worker may have been told to go on with it

    def _stopped(self, turn: TurnRecord) -> None:
        """It is done before its answer began."""
        self._tell(turn)
        self._signal_stop(turn)

    def _signal_stop(self, turn: TurnRecord) -> None:
        said = Stopped(turn.session_id, turn.question_id, turn.agent_id)
        self._delivery.bus.signal("all", "stopped", msgspec.msgpack.encode(said))

    def stopped(self, body: bytes) -> None:
        """A question was stopped before its answer began: who was about to begin it here need not."""
        said = msgspec.msgpack.decode(body, type=Stopped)
        if said.question_id in self._waiting:
            self._tasks.spawn(self._look_for_waiting())
        self._replies.give_up(said.question_id)
        self.steering.withdrawn(said.question_id)
        payload = {"message_id": said.question_id}
        event = make(said.session_id, "stream_cancel", Kind.DIRECT, payload, self._clock())
        for worker in self._delivery.hub.of_user(f"agent:{said.agent_id}"):
            if worker.can_be_asked and worker.caller.reaches(said.session_id):
                worker.send(event)

    # --- who waits for an answer

    async def turn_of(self, question_id: str) -> TurnRecord | None:
        return await self._questions.get(question_id)

    async def answer_to(self, asks: Addressed, question: MessageRecord) -> MessageRecord:
        """The placeholder of a question's answer, once it has begun. The caller is in the room.

        Raises StreamClosed where the question was stopped before, SessionExpired, ..., Unavailable.
        """
        waiter: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(question.message_id, [])
        waiting.append(waiter)
        try:
            answer_id = await self._begun(asks, question) or await waiter
        finally:
            waiting.remove(waiter)
            if not waiting:
                self._waiting.pop(question.message_id, None)
        return await self._messages.get(question.session_id, answer_id)

    async def _begun(self, asks: Addressed, question: MessageRecord) -> str | None:
        turn = await self._questions.get(question.message_id)
        if turn is None:  # of an earlier release, or a repeat of what did not ask
            known = await self._replies.known(asks.agent_id, question)
            if known is not None:
                return known.message_id
            turn = await self._questions.ask(question, asks)
        if turn.answer_id is not None:
            return turn.answer_id
        if turn.state == "done":
            raise await self._why(turn)
        self.go_on(question.session_id)
        return None

    async def _look_for_waiting(self) -> None:
        """Another node may have begun the answer or given the question up, and the bus not have told it."""
        for question_id, turn in (await self._questions.of(list(self._waiting))).items():
            if turn.answer_id is not None:
                self._has_begun(question_id, turn.answer_id)
            elif turn.state == "done":
                self._refuse(question_id, await self._why(turn))

    async def _why(self, turn: TurnRecord) -> ChatError:
        """There is no answer to a turn that is done."""
        if turn.outcome == "failed" and await self._agents.get(turn.agent_id) is None:
            return AgentNotFound()
        return StreamClosed(details={"status": turn.outcome})

    def started(self, event: Event) -> None:
        """A stream began in a room of this node: perhaps it is the answer that somebody waits for."""
        if self._waiting:
            start = msgspec.json.decode(event.data)
            if start.get("sender_type") == "agent":
                self._has_begun(start.get("reply_to") or "", event.stream)
        self._replies.started(event)

    def _has_begun(self, question_id: str, answer_id: str) -> None:
        for waiter in self._waiting.get(question_id, ()):
            if not waiter.done():
                waiter.set_result(answer_id)

    def _refuse(self, question_id: str, error: BaseException) -> None:
        for waiter in self._waiting.get(question_id, ()):
            if not waiter.done():
                waiter.set_exception(error)

    # --- views

    async def shown(self, session_id: str, seqs: Sequence[int], *, changes: bool) -> dict[str, Any]:
        """What a page with messages of these numbers says of its session's turns. `changes`: its reader has
        others, too. Raises Unavailable."""
        first, last = (0, LAST) if changes else (min(seqs, default=LAST), max(seqs, default=0))
        open_turns, unanswered = await self._questions.with_page(session_id, first, last)
        shown: dict[str, Any] = {"turns": [turn_view(turn) for turn in open_turns]}
        if unanswered:
            shown["unanswered"] = [unanswered_view(each) for each in unanswered]
        return shown

    async def page(self, session_id: str, before_seq: int | None, limit: int) -> dict[str, Any]:
        """Raises Unavailable."""
        before = LAST if before_seq is None else before_seq
        found = await self._questions.page(session_id, before, limit + 1)
        return {"turns": [turn_view(turn) for turn in found[:limit]], "has_more": len(found) > limit}

    def _tell(self, turn: TurnRecord) -> None:
        payload = {name: value for name, value in turn_view(turn).items() if name != "seq"}
        event = make(turn.session_id, "turn", Kind.LOGGED, payload, self._clock(), id=new_id("ev"))
        self._delivery.logs.log_event(event)

    def _taken_up(self, turn: TurnRecord) -> None:
        """An open answer goes on with it."""
        self._tell(turn)
        self._has_begun(turn.question_id, turn.answer_id or "")

    def _changed(self, session_id: str) -> None:
        """Who joins is told other turns; no event says that a question is being answered."""
        room = self._delivery.hub.rooms.get(session_id)
        if room is not None:
            room.changed()

    def drain(self) -> None:
        """Nothing is begun any more: other nodes go on."""
        self._stopping = True

    async def close(self) -> None:
        await self._tasks.stop()


def account_of(question: MessageRecord) -> str:
    """For whom its answer counts."""
    return key_of("user", question.sender_id) if question.sender_type == "user" else ""


def _cancelled() -> bool:
    """Whether it is this task that is to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
