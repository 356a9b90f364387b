"""Questions that steer an answer while it is written: told to who writes it, on whatever node, and taken up
by it. What is not taken up waits in line as any other. Knows no kind of agent.

Nothing here is lasting: the line is SQL's (`storage.questions`), and what an answer took up is in its parts.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from events.clock import Clock
from events.delivery import Delivery
from events.event import Kind, make, to_json
from events.stream import Stream
from events.streams import Streams
from events.tasks import Tasks
from events.views import told_to_agents
from storage.batch import BUSY
from storage.errors import StorageError
from storage.messages import Messages as Store
from storage.ops import STEER
from storage.parts import TAKEN_UP
from storage.questions import Questions
from storage.records import MessageRecord, TurnRecord
from storage.steered import for_answers

#: Sessions and questions that a node remembers; of others it looks less often.
REMEMBERED = 10_000
#: Bytes of all that one answer is told of: its writer keeps them, and is sent some at once. The rest waits in
#: line.
TOLD_BYTES = 512 * 1024
#: Bytes of an event besides the message that it tells of.
HEAD = 512

log = logging.getLogger("parley.turns")


class Steer(msgspec.Struct, array_like=True):
    """What nodes tell each other: these questions are for who writes the answer. None: for an answer that has
    not begun yet."""

    session_id: str
    answer_id: str | None
    question_ids: list[str]


class Steering:
    """`tell` is given each turn that was taken up."""

    def __init__(
        self,
        questions: Questions,
        store: Store,
        streams: Streams,
        delivery: Delivery,
        clock: Clock,
        tasks: Tasks,
        tell: Callable[[TurnRecord], None],
    ) -> None:
        self._questions, self._store, self._streams = questions, store, streams
        self._delivery, self._clock, self._tasks, self._tell = delivery, clock, tasks, tell
        # Sessions with an answer that is to be steered once it begins, and questions that were told of.
        self._awaited: OrderedDict[str, None] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()
        # What answers have taken up that is not written yet, by the answer.
        self._taking: dict[str, dict[str, None]] = {}
        streams.writing.on_steered = self._steered
        streams.on_other_producer = self.look

    # --- what is to be told

    def look(self, session_id: str) -> None:
        """What waits in a session to be taken up is told to who writes there."""
        self._tasks.spawn(self._look(session_id))

    def begun(self, session_id: str) -> None:
        """An answer has begun here."""
        if session_id in self._awaited:
            del self._awaited[session_id]
            self.look(session_id)

    def edited(self, message: MessageRecord) -> None:
        if message.message_id in self._known:
            self.look(message.session_id)

    async def _look(self, session_id: str, *, again: bool = False) -> None:
        """`again`: that no answer had begun was told before."""
        try:
            turns = await self._questions.open(session_id)
            waiting = [turn for turn in turns if (turn.state, turn.when_busy) == ("queued", STEER)]
            busy = [turn for turn in turns if turn.state in BUSY and not turn.stopped]
            if not waiting or not busy:
                return
            paths = await self._questions.paths(session_id)
        except StorageError as error:
            log.warning("nobody is steered in %s: %s", session_id, error)
            return
        for answer_id, question_ids in for_answers(waiting, busy, paths).items():
            if answer_id is not None or not again:
                said = Steer(session_id, answer_id, question_ids)
                self._delivery.bus.signal("all", "steer", msgspec.msgpack.encode(said))

    # --- whoever writes it here

    def heard(self, body: bytes) -> None:
        """A signal `steer` came."""
        said = msgspec.msgpack.decode(body, type=Steer)
        for question_id in said.question_ids:
            _remember(self._known, question_id)
        if said.answer_id is not None:
            stream = self._streams.open.get(said.answer_id)
            if stream is not None and stream.ending is None:
                self._tasks.spawn(self._tell_writer(stream, said.question_ids))
            return
        _remember(self._awaited, said.session_id)
        if any(stream.room == said.session_id for stream in self._streams.open.values()):
            self._tasks.spawn(self._look(said.session_id, again=True))  # it may have begun meanwhile

    async def _tell_writer(self, stream: Stream, question_ids: Sequence[str]) -> None:
        try:
            for question_id in question_ids:
                question = await self._store.get(question_id)
                if question is not None and question.deleted_at is None and stream.ending is None:
                    await self._tell_of(stream, question)
        except StorageError as error:
            log.warning("%s is not steered: %s", stream.message_id, error)

    async def _tell_of(self, stream: Stream, question: MessageRecord) -> None:
        """Once on each connection, and again where it was edited."""
        if stream.steers is None:
            stream.steers = {}
        if _was_told(stream, question):
            return
        files = await self._store.files_with([question])
        message = told_to_agents(question, files.get(question.message_id, ()))
        size = len(to_json(message))
        if _was_told(stream, question):
            return
        if stream.inbox is not None:
            stream.inbox.pop(question.message_id, None)  # as it was before it was edited
        others = sum(told[2] for id, told in stream.steers.items() if id != question.message_id)
        if others + size > TOLD_BYTES:
            return
        stream.steers[question.message_id] = question.revision, stream.conn_id, size
        if stream.inbox is not None:
            stream.inbox[question.message_id] = message
            return
        conn = self._delivery.hub.connections.get(stream.conn_id)
        if conn is None:
            return
        if not conn.sink.may_push(size + HEAD):
            # It has not read what it was told. Nobody's questions cut off a worker: this one waits in line.
            del stream.steers[question.message_id]
            return
        payload = {"message_id": stream.message_id, "message": message}
        conn.send(make(stream.room, "agent_steer", Kind.DIRECT, payload, self._clock()))

    def withdrawn(self, question_id: str) -> None:
        """It was stopped or deleted: nobody here need take it up any more."""
        if question_id in self._known:
            del self._known[question_id]
            for stream in self._streams.open.values():
                if stream.inbox is not None:
                    stream.inbox.pop(question_id, None)

    # --- what was taken up

    def _steered(self, stream: Stream, question_ids: Sequence[str]) -> None:
        """Whoever may write a stream may say so in each of its pieces: one asks the database at a time."""
        if stream.owner[0] != "agent":
            return
        taking = self._taking.get(stream.message_id)
        if taking is None:
            taking = self._taking[stream.message_id] = {}
            self._tasks.spawn(self._take_up(stream, taking))
        if len(taking) < TAKEN_UP:
            taking.update(dict.fromkeys(question_ids))

    async def _take_up(self, stream: Stream, taking: dict[str, None]) -> None:
        try:
            while taking:
                some = list(taking)
                taking.clear()
                for turn in await self._questions.take_up(stream.message_id, stream.room, some):
                    self._known.pop(turn.question_id, None)
                    self._tell(turn)
        except StorageError as error:
            log.warning("%s took up what waits on until its end: %s", stream.message_id, error)
        finally:
            del self._taking[stream.message_id]


def _was_told(stream: Stream, question: MessageRecord) -> bool:
    told = (stream.steers or {}).get(question.message_id)
    return told is not None and told[:2] == (question.revision, stream.conn_id)


def _remember(among: OrderedDict[str, None], name: str) -> None:
    among[name] = None
    if len(among) > REMEMBERED:
        among.popitem(last=False)
