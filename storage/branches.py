"""What moves a session's path without a new message: another branch is chosen, a question is asked again."""

from typing import NamedTuple

import sqlalchemy as sa

from storage.batch import BUSY
from storage.database import Database, SqlConnection
from storage.errors import MessageMissing, QuestionOpen, SessionMissing, StreamStillOpen
from storage.forks import ids_of, move_heads, tree_of
from storage.ops import INTERRUPT, OPEN_QUESTIONS, REJECT, Addressed
from storage.questions import BRING
from storage.records import MessageRecord, TurnRecord
from storage.rows import IS_OPEN, MESSAGE, TURN
from storage.statement import Statement
from storage.tables import messages, sessions, turns
from storage.tally import check_room
from storage.tree import Tree

_ID = sa.bindparam("session_id", type_=sa.String)
_LOCK = Statement(
    sa.select(sessions.c.head_seq, sessions.c.last_seq)
    .where(sessions.c.session_id == _ID, sessions.c.status != "deleted")
    .with_for_update(key_share=True)
)
_GET = Statement(sa.select(*MESSAGE).where(messages.c.message_id == sa.bindparam("id")))
_TURN = Statement(sa.select(*TURN).where(turns.c.question_id == sa.bindparam("id")))
_ANSWERED = Statement(
    sa.select(turns.c.question_id)
    .where(turns.c.session_id == _ID, turns.c.answer_id == sa.bindparam("id", type_=sa.String))
    # It may have taken up later ones.
    .order_by(turns.c.seq)
    .limit(1)
)
_OPEN = Statement(sa.select(sa.func.count()).select_from(turns).where(turns.c.session_id == _ID, IS_OPEN))
#: What a turn that begins anew keeps; all else is as it is in a new one. Its claims are counted on: who had
#: one is fenced off.
_KEPT = ("question_id", "session_id", "seq", "fence", "tools")
_RENEWED = [column.name for column in turns.c if column.name not in _KEPT]
_AGAIN = Statement(
    sa.text(f"""
INSERT INTO chat_turns (question_id, session_id, seq, agent_id, when_busy, state, again_seq, again_order)
VALUES (
    :question_id, :session_id, :seq, :agent_id, :when_busy, 'queued', :again_seq,
    (
        SELECT COALESCE(MAX(others.again_order), 0) + 1 FROM chat_turns AS others
        WHERE others.session_id = :session_id AND others.state <> 'done' AND others.again_seq = :again_seq
    )
)
ON CONFLICT (question_id) DO UPDATE
SET fence = chat_turns.fence + 1, {", ".join(f"{name} = excluded.{name}" for name in _RENEWED)}
""").bindparams(
        sa.bindparam("question_id", type_=sa.String),
        sa.bindparam("session_id", type_=sa.String),
        sa.bindparam("seq", type_=sa.BigInteger),
        sa.bindparam("agent_id", type_=sa.Integer),
        sa.bindparam("when_busy", type_=sa.String),
        sa.bindparam("again_seq", type_=sa.BigInteger),
    )
)


_INTERRUPT = Statement(
    turns.update()
    .where(turns.c.session_id == _ID, IS_OPEN, sa.or_(*(turns.c.state == state for state in sorted(BUSY))))
    .values(stopped=True)
)


class PathEnd(NamedTuple):
    """The message at which a session's path ends; whether it was moved there just now."""

    message_id: str
    moved: bool


class Again(NamedTuple):
    """A question that is to be answered anew. `repeat`: it waited for an answer already."""

    question: MessageRecord
    head: PathEnd
    repeat: bool


class _Session:
    """Locked until the transaction's end."""

    def __init__(self, connection: SqlConnection, session_id: str, tree: Tree, head: int) -> None:
        self._connection, self._session_id = connection, session_id
        self.tree, self._head = tree, head

    @classmethod
    async def lock(cls, connection: SqlConnection, session_id: str) -> "_Session":
        """Raises SessionMissing."""
        row = await connection.fetch_one(_LOCK, session_id=session_id)
        if row is None:
            raise SessionMissing(session_id)
        head, last = row
        tree = Tree((), last) if head is None else await tree_of(connection, session_id, last)
        return cls(connection, session_id, tree, last if head is None else head)

    async def message(self, message_id: str | None) -> MessageRecord:
        """Raises MessageMissing."""
        row = await self._connection.fetch_one(_GET, id=message_id)
        record = None if row is None else MessageRecord(*row)
        if record is None or record.session_id != self._session_id:
            raise MessageMissing(message_id)
        return record

    async def head(self) -> PathEnd:
        """As it is."""
        return await self.lead_to(self._head)

    async def lead_to(self, seq: int) -> PathEnd:
        """The path ends at this message."""
        message_id = (await ids_of(self._connection, self._session_id, [seq]))[seq]
        if seq == self._head:
            return PathEnd(message_id, False)
        await move_heads(self._connection, [(self._session_id, seq, message_id)])
        return PathEnd(message_id, True)


class Branches:
    """Every method raises SessionMissing, MessageMissing, StorageUnavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def select(self, session_id: str, message_id: str, *, exact: bool) -> PathEnd:
        """Lead the path through a message, to the newest one to which it leads; or only up to it."""

        async def work(connection: SqlConnection) -> PathEnd:
            session = await _Session.lock(connection, session_id)
            seq = (await session.message(message_id)).seq
            return await session.lead_to(seq if exact else session.tree.newest_under(seq))

        return await self._db.transact(work)

    async def again(self, session_id: str, message_id: str, asks: Addressed) -> Again:
        """Put a question in the line once more, named by itself or by its answer; the path ends where the
        answer that was there began. Its tools are those that it brought, or brings now.

        Raises QuestionOpen, BranchesFull; StreamStillOpen (its id): its answer is being written.
        """

        async def work(connection: SqlConnection) -> Again:
            session = await _Session.lock(connection, session_id)
            named = await session.message(message_id)
            question = await _question(connection, session, named)
            turn = await _turn(connection, question.message_id)
            if turn is not None and turn.state != "done" and not (turn.stopped and turn.answer_id is None):
                if turn.answer_id is not None:
                    raise StreamStillOpen(question.message_id)
                return Again(question, await session.head(), True)
            await _check_line(connection, session_id, asks.when_busy)
            answer = named if named is not question else None
            if answer is None and turn is not None and turn.answer_id is not None:
                answer = await session.message(turn.answer_id)
            end = question.seq
            # One that took the question up on its way stands before it.
            if answer is not None and answer.seq > question.seq:
                end = session.tree.parent(answer.seq)
            check_room(session.tree, end)
            head = await session.lead_to(end)
            if asks.when_busy == INTERRUPT:
                await connection.execute(_INTERRUPT, session_id=session_id)
            await connection.execute(
                _AGAIN,
                question_id=question.message_id,
                session_id=session_id,
                seq=question.seq,
                agent_id=asks.agent_id,
                when_busy=asks.when_busy,
                again_seq=session.tree.last,
            )
            if asks.tools is not None:
                await connection.execute(BRING, which=question.message_id, tools=asks.tools)
            return Again(question, head, False)

        return await self._db.transact(work)


async def _question(connection: SqlConnection, session: _Session, named: MessageRecord) -> MessageRecord:
    """Raises MessageMissing."""
    question = named
    if named.sender_type == "agent":
        question_id = named.reply_to
        if question_id is None:
            row = await connection.fetch_one(_ANSWERED, session_id=named.session_id, id=named.message_id)
            question_id = row[0] if row else None
        question = await session.message(question_id)
    if question.sender_type != "user" or question.deleted_at is not None:
        raise MessageMissing(question.message_id)
    return question


async def _turn(connection: SqlConnection, question_id: str) -> TurnRecord | None:
    row = await connection.fetch_one(_TURN, id=question_id)
    return None if row is None else TurnRecord(*row)


async def _check_line(connection: SqlConnection, session_id: str, when_busy: str) -> None:
    row = await connection.fetch_one(_OPEN, session_id=session_id)
    if row is not None and row[0] >= (1 if when_busy == REJECT else OPEN_QUESTIONS):
        raise QuestionOpen(session_id)
