"""A world in which people ask and workers answer: every question ends in one of its ways, in order, and what
an answer asks of people has one answer.

What else belongs to a turn is an action of `ACTIONS`, and what it promises a check of `TurnsWorld._verdict`.
"""

import asyncio
import itertools
import json
from collections.abc import Awaitable
from typing import Any, NamedTuple

from events.access import Caller
from events.room import Connection
from storage.agents import Agents
from tests.model.client import Client, Gone, Refused, Socket
from tests.model.node import CODEC, LineSink, Node
from tests.model.sql import SimulatedDatabase
from tests.model.world import World

#: Seconds within which a session's questions are answered, once nothing fails any more.
ANSWERED = 400
#: How turns are done whose answer must not begin any more.
STOPPED = ("cancelled", "deleted")
WHEN_BUSY = ("queue", "queue", "queue", "steer", "steer", "interrupt", "parallel", "reject")

ACTIONS = (
    ("ask", 14),
    ("stop", 4),
    ("answer", 6),
    ("edit", 2),
    ("delete", 2),
    ("join", 2),
    ("drop", 1),
    ("drop_worker", 2),
    ("kill_node", 1),
    ("start_node", 2),
    ("freeze_node", 0.5),
    ("thaw_node", 2),
    ("redis_down", 0.3),
    ("redis_recover", 3),
    ("sql_down", 0.3),
    ("sql_recover", 3),
)


class Answer(NamedTuple):
    """A row of an agent's message."""

    message_id: str
    session_id: str
    reply_to: str
    seq: int
    revision: int
    status: str
    deleted: bool
    steered: list[str]


class Asked(NamedTuple):
    """What an answer asks of people: `answer` is theirs."""

    session_id: str
    message_id: str
    interrupt_id: str
    answer: dict[str, Any] | None


class Turn(NamedTuple):
    question_id: str
    session_id: str
    seq: int
    when_busy: str
    state: str
    answer_id: str | None
    outcome: str | None
    stopped: bool
    again_seq: int
    again_order: int
    fence: int

    @property
    def place(self) -> tuple[int, int, int]:
        """In the line."""
        return max(self.seq, self.again_seq), self.again_seq, self.again_order

    @property
    def is_open(self) -> bool:
        return self.state in ("running", "waiting")

    @property
    def is_stopped(self) -> bool:
        return self.outcome in STOPPED and self.answer_id is None


class WorkerConnection(Connection):
    __slots__ = ("asked", "numbers")

    can_be_asked = True

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.asked: dict[int, asyncio.Future[None]] = {}
        self.numbers = itertools.count()

    def ask(self, name: str, payload: bytes) -> Awaitable[object]:
        number = next(self.numbers)
        future = self.asked[number] = asyncio.get_running_loop().create_future()
        self.sink.push(b"Q\t%d\t%b\n" % (number, payload))
        return future


class TurnsNode(Node):
    """Whose name begins with `w` is a worker."""

    def connection(self, id: str, sub: str, sink: LineSink, now: float) -> Connection:
        if not sub.startswith("w"):
            return super().connection(id, sub, sink, now)
        world = self.world
        assert isinstance(world, TurnsWorld)
        return WorkerConnection(id, Caller("agent", str(world.agent_id)), CODEC, sink, "socketio", now)

    def acked(self, socket: Socket, number: int) -> None:
        sink = self.sinks.get(socket)
        if sink is not None and isinstance(sink.conn, WorkerConnection):
            future = sink.conn.asked.pop(number, None)
            if future is not None and not future.done():
                future.set_result(None)

    def gone(self, socket: Socket) -> None:
        sink = self.sinks.get(socket)
        super().gone(socket)
        if sink is not None and isinstance(sink.conn, WorkerConnection):
            for future in sink.conn.asked.values():
                if not future.done():
                    future.set_exception(ConnectionError())
                    future.exception()


class Person(Client):
    """`asked` has what was acknowledged, `stops` what was said of what was stopped, `given` what of what
    answers ask."""

    world: "TurnsWorld"

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.asked: list[str] = []
        self.stops: list[tuple[str, str]] = []
        self.given: list[Asked] = []

    async def ask(self, room: str, when_busy: str) -> None:
        self._numbers += 1
        key = f"{self.name}.{self._numbers}"
        question = {"session_id": room, "content": f"text {key}", "client_message_id": key}
        open_before = [
            turn for turn in self.world.turns().values() if turn.session_id == room and turn.is_open
        ]
        reply = await self.insist("message", **question, when_busy=when_busy)
        if reply is None:
            return
        if when_busy == "interrupt":
            self._check_interrupted(reply["message_id"], open_before)
        self.acked[key] = reply["message_id"]
        self.asked.append(reply["message_id"])
        if self.world.chance(0.3):
            again = await self.insist("message", **question, when_busy=when_busy)
            if again is None or again["message_id"] != reply["message_id"]:
                self.wrong(f"a repeat of {reply['message_id']} is {again}")

    def _check_interrupted(self, question_id: str, open_before: list[Turn]) -> None:
        """Whatever node dies now."""
        now = self.world.turns()
        left = [turn for turn in open_before if now[turn.question_id].is_open]
        left = [turn for turn in left if now[turn.question_id].again_seq == turn.again_seq]
        if any(not now[turn.question_id].stopped for turn in left):
            self.wrong(f"{left} go on, which {question_id} interrupts")

    async def insist(self, name: str, **payload: Any) -> dict[str, Any] | None:
        """An agent that is busy is an answer: the question is not asked again when it is free."""
        while not self.stopped:
            try:
                return await self.call(name, **payload)
            except Gone:
                await asyncio.sleep(0.3)
            except Refused as refused:
                if refused.error["code"] == "AGENT_BUSY" or not refused.error["retryable"]:
                    return None
                await asyncio.sleep(0.3)
        return None

    async def stop(self, turn: Turn, message_id: str) -> None:
        reply = await self.insist("stream_cancel", session_id=turn.session_id, message_id=message_id)
        if reply is not None:
            self.stops.append((turn.question_id, reply["status"]))

    async def answer(self, asked: Asked, status: str) -> None:
        reply = await self.insist(
            "answer",
            session_id=asked.session_id,
            message_id=asked.message_id,
            interrupt_id=asked.interrupt_id,
            status=status,
            payload=self.name,
        )
        if reply is not None:
            self.given.append(asked._replace(answer=reply["answer"]))


class Worker(Client):
    """Answers each request in some pieces; takes up what steers it, or not; asks people, and goes on with
    what they say; may go away in between."""

    world: "TurnsWorld"

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.steers: dict[str, list[str]] = {}
        self._asks = itertools.count()

    def heard(self, socket: Socket, line: bytes) -> None:
        kind, _, rest = line.partition(b"\t")
        if kind != b"Q":
            super().heard(socket, line)
        elif socket is self.socket:
            number, _, payload = rest.partition(b"\t")
            if self.world.chance(0.95):  # else it acks too late, and somebody else may be asked
                socket.to_node("acked", int(number))
            self.world.spawn(self._answer(json.loads(payload)))

    def event(self, name: str, told: dict[str, Any]) -> None:
        if name == "agent_steer":
            self.steers.setdefault(told["message_id"], []).append(told["message"]["message_id"])

    async def _answer(self, request: dict[str, Any]) -> None:
        rng, question = self.world.rng, request["message"]["message_id"]
        await asyncio.sleep(rng.choice((0, 0, 0.01, 0.3, 2, 8)))
        if "resume" in request:
            begun = await self._go_on(request)
        else:
            begun = await self._begin(request["session_id"], question)
        if begun is None:
            return
        where = {"session_id": request["session_id"], "message_id": begun["message_id"]}
        index, last = begun["next_index"], rng.randint(0, 6)
        while index < last:
            piece = self._piece(index, begun["message_id"])
            reply = await self._insist("stream_part" if "part" in piece else "stream_chunk", where | piece)
            if reply is None or self.world.chance(0.03):
                return  # it was stopped; or this worker dies, and another one is there
            index = reply["next_index"]
            await asyncio.sleep(rng.choice((0, 0, 0.01, 0.3, 2)))
        if self.world.chance(0.2):
            asked = [{"id": f"{self.name}.{next(self._asks)}", "reason": "choice"} for _ in range(2)]
            await self._insist("stream_wait", where | {"interrupts": asked[: rng.choice((1, 2))]})
        else:
            await self._insist("stream_end", where)

    async def _go_on(self, request: dict[str, Any]) -> dict[str, Any] | None:
        claim = {"message_id": request["resume"]["message_id"], "fence": request["fence"]}
        return await self._insist("stream_start", {"session_id": request["session_id"], **claim})

    async def _begin(self, room: str, question: str) -> dict[str, Any] | None:
        before = self.world.turn(question)
        begun = await self._insist("stream_start", {"session_id": room, "reply_to": question})
        if begun is None or begun.get("status", "streaming") != "streaming":
            return None
        now = self.world.turn(question)
        # Asked once more meanwhile it is another's turn, also where nothing was said in between.
        if before is not None and before.is_stopped and now is not None and now.fence == before.fence:
            self.wrong(f"the answer to {question} began, which was {before.outcome}")
        self.world.begun.setdefault(begun["message_id"], begun["revision"])
        return begun

    def _piece(self, index: int, answer_id: str) -> dict[str, Any]:
        steers = self.steers.pop(answer_id, None)
        if steers is None or self.world.chance(0.3):
            return {"index": index, "content": f"piece {index} "}
        return {"index": index, "part": {"type": "step", "id": f"step {index}", "steered": steers}}

    async def _insist(self, name: str, payload: dict[str, Any]) -> dict[str, Any] | None:
        """Until it is answered. A piece that is missing is said again by who was refused: it counts anew."""
        while not self.stopped:
            try:
                return await self.call(name, **payload)
            except Gone:
                await asyncio.sleep(0.3)
            except Refused as refused:
                if refused.error["code"] == "INDEX_CONFLICT":
                    return {"next_index": refused.error["next_index"]}
                if not refused.error["retryable"]:
                    return None
                await asyncio.sleep(0.3)
        return None


class TurnsWorld(World):
    actions_of = ACTIONS
    always = ("ask", "stop", "answer", "join")
    clients: list[Person]

    def node_of(self, name: str) -> Node:
        return TurnsNode(self, name)

    def client_of(self, name: str) -> Client:
        return Person(self, name)

    async def _make_sessions(self, people: tuple[str, ...]) -> None:
        await super()._make_sessions(people)
        agent = await Agents(SimulatedDatabase(self.sql)).create(name="Remote", kind="remote")
        self.agent_id = agent.id
        await self.write("UPDATE chat_sessions SET agent_id = ?", agent.id)
        #: Of each answer, in which revision of its session it began.
        self.begun: dict[str, int] = {}
        self.workers = [Worker(self, name) for name in ("w1", "w2")]

    async def write(self, statement: str, *given: object) -> None:
        """Not within a node's transaction, which may be rolled back."""
        while self.sql.holder is not None:
            await asyncio.sleep(0.0001)
        self.sql.raw.execute(statement, given)

    # --- what happens

    def do_ask(self) -> None:
        client, room = self._someone()
        for _ in range(self.rng.choice((1, 1, 2, 4))):
            self.spawn(client.ask(room, self.rng.choice(WHEN_BUSY)))

    def do_stop(self) -> None:
        turns = list(self.turns().values())
        if turns:
            turn = self.rng.choice(turns[-6:])
            named = self.rng.choice((turn.question_id, turn.answer_id or turn.question_id))
            for _ in range(self.rng.choice((1, 1, 2))):
                self.spawn(self.rng.choice(self.clients).stop(turn, named))

    def do_answer(self) -> None:
        left = [each for each in self.people_asked() if each.answer is None]
        if left:
            asked = self.rng.choice(left)
            for client in self.rng.choices(self.clients, k=2):
                self.spawn(client.answer(asked, self.rng.choice(("resolved", "cancelled"))))

    def do_drop_worker(self) -> None:
        worker = self.rng.choice(self.workers)
        if worker.socket is not None:
            self.note(f"{worker.name}'s connection breaks")
            worker.socket.hang_up(self.rng.choice(("clean", "half-open")))

    # --- what is stored

    def turns(self) -> dict[str, Turn]:
        rows = self.sql.raw.execute(
            "SELECT question_id, session_id, seq, when_busy, state, answer_id, outcome, stopped, again_seq,"
            " again_order, fence FROM chat_turns ORDER BY session_id, seq"
        )
        return {row[0]: Turn(*row) for row in rows}

    def turn(self, question_id: str) -> Turn | None:
        return self.turns().get(question_id)

    def answers(self) -> dict[str, Answer]:
        rows = self.sql.raw.execute(
            "SELECT message_id, session_id, reply_to, seq, revision, status, deleted_at IS NOT NULL, parts"
            " FROM chat_messages WHERE sender_type = 'agent' ORDER BY session_id, seq"
        )
        return {row[0]: Answer(*row[:7], _steered(row[7])) for row in rows}

    def people_asked(self) -> list[Asked]:
        rows = self.sql.raw.execute(
            "SELECT session_id, message_id, interrupts FROM chat_messages WHERE interrupts IS NOT NULL"
        )
        return [
            Asked(session_id, message_id, each["id"], each.get("answer"))
            for session_id, message_id, interrupts in rows
            for each in json.loads(interrupts)
        ]

    # --- rest, and the verdict

    async def _rest_for(self, seconds: float) -> None:
        await super()._rest_for(seconds)
        waited = 0
        while waited < ANSWERED and any(turn.state != "done" for turn in self.turns().values()):
            self.do_answer()
            await asyncio.sleep(5)
            waited += 5
        await asyncio.sleep(5)

    async def _rest_until_still(self, most: float) -> None:
        await super()._rest_until_still(most + ANSWERED)

    def _is_right(self) -> bool:
        """What answers wait for is said meanwhile."""
        if any(turn.state != "done" for turn in self.turns().values()):
            self.do_answer()
            return False
        return super()._is_right()

    async def _epilogue(self) -> None:
        """Its questions would need answers."""

    def _verdict(self) -> None:
        super()._verdict()
        turns, answers = self.turns(), self.answers()
        for client in self.clients:
            for question_id in client.asked:
                if question_id not in turns:
                    self.wrong(f"{question_id} was acknowledged, and is no question")
            for question_id, status in client.stops:
                if turns[question_id].outcome != status and not turns[question_id].again_seq:
                    self.wrong(f"{client.name} stopped {turns[question_id]} and was told {status}")
        asked = {(each.message_id, each.interrupt_id): each for each in self.people_asked()}
        for client in self.clients:
            for given in client.given:
                if asked.get((given.message_id, given.interrupt_id)) != given:
                    self.wrong(f"{client.name} was told that {given} counts")
        for each in asked.values():
            if each.answer is None:
                self.wrong(f"{each} is asked for ever")
        for turn in turns.values():
            self._check_one_end(turn, answers)
        self._check_order(turns, answers)

    def _check_one_end(self, turn: Turn, answers: dict[str, Answer]) -> None:
        own = [answer.message_id for answer in answers.values() if answer.reply_to == turn.question_id]
        answer = answers.get(turn.answer_id or "")
        steered = [answer.message_id for answer in answers.values() if turn.question_id in answer.steered]
        if turn.state != "done" or turn.outcome is None:
            self.wrong(f"{turn} never ends")
        elif turn.again_seq:
            self._check_last(turn, own, answer)
        elif len(own) > 1 or (own and own != [turn.answer_id]):
            self.wrong(f"{turn} is answered by {own}")
        elif turn.answer_id is None and (turn.outcome not in (*STOPPED, "failed") or own):
            self.wrong(f"{turn} ends without an answer; there are {own}")
        elif turn.answer_id is not None and (answer is None or answer.status != turn.outcome):
            self.wrong(f"{turn} ended with {answer}")
        elif answer is not None and not own and turn.answer_id not in steered:
            self.wrong(f"{turn} was taken up by {answer}, which does not say so")
        elif steered and not turn.is_stopped and turn.answer_id not in steered:
            self.wrong(f"{turn} was taken up by {steered}")

    def _check_last(self, turn: Turn, own: list[str], answer: Answer | None) -> None:
        """Of one that was asked again: the last answer is its own, unless it was stopped before it began."""
        if turn.answer_id is None and turn.outcome not in (*STOPPED, "failed"):
            self.wrong(f"{turn} ends without an answer")
        elif turn.answer_id is not None and (answer is None or answer.status != turn.outcome):
            self.wrong(f"{turn} ended with {answer}")
        elif turn.answer_id is not None and own[-1:] != [turn.answer_id]:
            self.wrong(f"{turn} is answered by {own}")

    def _check_order(self, turns: dict[str, Turn], answers: dict[str, Answer]) -> None:
        """In each session, answers to what does not go beside others come one after the other."""
        before: dict[str, Answer] = {}
        for turn in sorted(turns.values(), key=lambda turn: turn.place):
            answer = answers.get(turn.answer_id or "")
            if answer is None or turn.when_busy == "parallel" or answer.reply_to != turn.question_id:
                continue
            last = before.get(turn.session_id)
            if last is not None and last.seq > answer.seq:
                self.wrong(f"{turn} was answered before {last}")
            begun = self.begun.get(answer.message_id)
            if last is not None and begun is not None and not last.deleted and last.revision > begun:
                self.wrong(f"{turn} was answered while {last} was open")
            before[turn.session_id] = answer


def _steered(parts: str | None) -> list[str]:
    steps = [part for part in json.loads(parts or "[]") if part["type"] == "step"]
    return [question_id for step in steps for question_id in step.get("steered", ())]
