"""Queries on turns: questions to agents, and how far their answers are. Knows no agent.

Turns begin and end with messages, in the messages' transactions (`storage.batch`). What is here moves them
between, each time under the lock of their session: no two nodes begin two answers at once.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any

import sqlalchemy as sa
from msgspec import structs

from storage.batch import BUSY, Batch
from storage.batched_select import BatchedSelect
from storage.database import Database, SqlConnection
from storage.forks import tree_of
from storage.ops import QUEUE, STEER, Addressed
from storage.parts import taken_up
from storage.pieces import Run
from storage.records import MessageRecord, TurnRecord
from storage.rows import IN_LINE, IS_OPEN, MESSAGE, TURN, TURN_STORED
from storage.shape import dict_maker
from storage.statement import Statement, among
from storage.steered import left_without, may_take_up, on_its_branch
from storage.tables import messages, sessions, turns
from storage.tree import CommonPaths
from storage.types import Time
from storage.unanswered import UNANSWERED_IN, Unanswered
from storage.waits import UNFINISHED

#: Columns that a change of a turn writes.
_MOVING = ("state", "fence", "answer_id", "outcome", "claimed_until", "stopped", "expires_at")
#: Sessions that one look brings to light.
LOOK = 100
#: Above every number of a message.
LAST = 2**62

_INSERT = Statement(turns.insert().values({column.name: sa.bindparam(column.name) for column in TURN_STORED}))
_ENSURE = Statement(
    sa.text("""
INSERT INTO chat_turns (question_id, session_id, seq, agent_id, when_busy, state)
VALUES (:question_id, :session_id, :seq, :agent_id, :when_busy, :state)
ON CONFLICT (question_id) DO NOTHING
""").bindparams(
        sa.bindparam("question_id", type_=sa.String),
        sa.bindparam("session_id", type_=sa.String),
        sa.bindparam("seq", type_=sa.BigInteger),
        sa.bindparam("agent_id", type_=sa.Integer),
        sa.bindparam("when_busy", type_=sa.String),
        sa.bindparam("state", type_=sa.String),
    )
)
_KEEP = Statement(
    turns.update()
    .where(
        turns.c.question_id == sa.bindparam("which"),
        turns.c.fence == sa.bindparam("fence"),
        turns.c.claimed_until.is_not(None),
    )
    .values(claimed_until=sa.bindparam("until", type_=Time))
)
_BEGUN = Statement(
    turns.update()
    .where(
        turns.c.question_id == sa.bindparam("which"),
        turns.c.fence == sa.bindparam("fence"),
        turns.c.state == "running",
        turns.c.answer_id.is_(None),
    )
    .values(answer_id=sa.bindparam("answer_id", type_=sa.String), claimed_until=None)
)
_answers = messages.alias("answers")
_left_open = sa.and_(
    IS_OPEN,
    turns.c.state == "running",
    turns.c.answer_id == _answers.c.message_id,
    *(_answers.c.status != status for status in sorted(UNFINISHED)),
)
_LEFT_OPEN = Statement(sa.select(turns.c.session_id).where(_left_open).distinct().limit(LOOK))
_LEFT_OPEN_IN = Statement(
    sa.select(*TURN, _answers.c.status, _answers.c.reply_to, _answers.c.parts).where(
        _left_open, turns.c.session_id == sa.bindparam("session_id")
    )
)
_MOVE = Statement(
    turns.update()
    .where(turns.c.question_id == sa.bindparam("which"))
    .values({name: sa.bindparam(name, type_=turns.c[name].type) for name in _MOVING})
)
#: What steers nothing waits as any other.
_OTHERWISE = Statement(
    turns.update().where(turns.c.question_id == sa.bindparam("which")).values(when_busy=QUEUE)
)
_OPEN_ANSWER = Statement(
    sa.select(*MESSAGE).where(
        messages.c.message_id == sa.bindparam("answer_id"), messages.c.status == "streaming"
    )
)
_row, _moved = dict_maker([column.name for column in TURN_STORED]), dict_maker(_MOVING, "which")
_LOCK = Statement(
    sa.select(sessions.c.head_seq, sessions.c.last_seq)
    .where(sessions.c.session_id == sa.bindparam("session_id"))
    .with_for_update(key_share=True)
)
_OPEN = Statement(
    sa.select(*TURN).where(among(turns.c.session_id, "ids"), IS_OPEN).order_by(turns.c.session_id, *IN_LINE)
)


@lru_cache
def _with_page() -> BatchedSelect:
    """What a page of messages says of turns."""
    open_turns = sa.select(*TURN).where(turns.c.session_id == sa.bindparam("session_id"), IS_OPEN)
    seqs = turns.c.seq.between(sa.bindparam("first"), sa.bindparam("last"))
    return BatchedSelect(open_turns.order_by(*IN_LINE), UNANSWERED_IN.where(seqs), each="session_id")


_GET = Statement(sa.select(*TURN).where(among(turns.c.question_id, "ids")))
_OF_SESSION = Statement(
    sa.select(*TURN)
    .where(turns.c.session_id == sa.bindparam("session_id"), turns.c.seq < sa.bindparam("before"))
    .order_by(turns.c.seq.desc())
    .limit(sa.bindparam("rows"))
)
_now = sa.bindparam("now", type_=Time)
_behind = turns.alias("behind")
_busy = sa.and_(
    _behind.c.state != sa.literal_column("'done'"),
    sa.or_(*(_behind.c.state == state for state in sorted(BUSY))),
)
#: Sessions in which a claim has lapsed, something is to end, or a question waits for nothing.
_STUCK = Statement(
    sa.select(turns.c.session_id)
    .where(
        IS_OPEN,
        sa.or_(
            turns.c.claimed_until < _now,
            turns.c.stopped,
            sa.and_(
                turns.c.state == "queued",
                sa.or_(
                    turns.c.when_busy == "parallel",
                    sa.not_(sa.exists().where(_behind.c.session_id == turns.c.session_id, _busy)),
                ),
            ),
        ),
    )
    .distinct()
    .limit(LOOK)
)


#: What turns wait for that has expired.
_EXPIRED = Statement(
    sa.select(turns.c.session_id, turns.c.answer_id)
    .where(IS_OPEN, turns.c.state == "waiting", turns.c.expires_at < _now)
    .limit(LOOK)
)
_asked = turns.alias("asked")
#: Answers that wait though nothing would go on with them: their question was deleted, or has another answer,
#: or their session has ended.
_IN_VAIN = Statement(
    sa.select(messages.c.session_id, messages.c.message_id)
    .join(sessions, sessions.c.session_id == messages.c.session_id)
    .where(
        messages.c.status == sa.literal_column("'waiting'"),
        sa.or_(
            sessions.c.status != "active",
            sessions.c.ended_at.is_not(None),
            sa.not_(
                sa.exists().where(
                    _asked.c.question_id == messages.c.reply_to,
                    _asked.c.answer_id == messages.c.message_id,
                    _asked.c.state != sa.literal_column("'done'"),
                )
            ),
        ),
    )
    .limit(LOOK)
)
_WRITE = Statement(
    turns.update()
    .where(turns.c.question_id == sa.bindparam("which"))
    .values(written=sa.bindparam("written", type_=turns.c.written.type))
)
BRING = Statement(
    turns.update()
    .where(turns.c.question_id == sa.bindparam("which"))
    .values(tools=sa.bindparam("tools", type_=turns.c.tools.type))
)
_BROUGHT = Statement(sa.select(turns.c.tools).where(turns.c.question_id == sa.bindparam("which")))
_WRITTEN = Statement(sa.select(turns.c.written).where(turns.c.question_id == sa.bindparam("which")))


async def write_turns(connection: SqlConnection, batch: Batch) -> None:
    """What a batch of messages began and ended."""
    if batch.asked:
        await connection.execute_many(_INSERT, [_row(turn) for turn in batch.asked])
    begun = {turn.question_id for turn in batch.asked}
    moved = [turn for turn in batch.turned.values() if turn.question_id not in begun]
    if moved:
        await connection.execute_many(_MOVE, [_moved(turn, turn.question_id) for turn in moved])
    if batch.written:
        await connection.execute_many(
            _WRITE,
            [
                {"which": question, "written": runs and [[run.part, run.text, run.count] for run in runs]}
                for question, runs in batch.written.items()
            ],
        )
    if batch.brought:
        given = [{"which": which, "tools": tools} for which, tools in batch.brought.items()]
        await connection.execute_many(BRING, given)


class Questions:
    """Every method raises StorageUnavailable."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, question_id: str) -> TurnRecord | None:
        return (await self.of([question_id])).get(question_id)

    async def of(self, question_ids: Sequence[str]) -> dict[str, TurnRecord]:
        """By the question's id."""
        rows = await self._db.fetch_all(_GET, ids=list(question_ids))
        return {row[0]: TurnRecord(*row) for row in rows}

    async def open(self, session_id: str) -> list[TurnRecord]:
        """Those that are not done, in the order in which they were asked."""
        return [TurnRecord(*row) for row in await self._db.fetch_all(_OPEN, ids=[session_id])]

    async def paths(self, session_id: str) -> CommonPaths:
        """To its questions."""
        return CommonPaths(await tree_of(self._db, session_id, LAST))

    async def with_page(
        self, session_id: str, first: int, last: int
    ) -> tuple[list[TurnRecord], list[Unanswered]]:
        """The same, and those between these numbers that ended without an answer, the newest."""
        found = await _with_page().fetch(self._db, [session_id], first=first, last=last)
        turned, unanswered = found[session_id]
        return [TurnRecord(*row) for row in turned], [Unanswered(*row) for row in unanswered]

    async def page(self, session_id: str, before_seq: int, limit: int) -> list[TurnRecord]:
        """The newest first."""
        rows = await self._db.fetch_all(_OF_SESSION, session_id=session_id, before=before_seq, rows=limit)
        return [TurnRecord(*row) for row in rows]

    async def stuck(self, now: datetime) -> list[str]:
        """Sessions in which `claim` may find something though nobody there has ended a turn."""
        return [row[0] for row in await self._db.fetch_all(_STUCK, now=now)]

    async def claim(self, session_id: str, now: datetime, until: datetime) -> list[TurnRecord]:
        """Begin what is next, for the caller to go on with until `until`: the next in line, if nothing keeps
        it waiting; those that wait for nobody; and those whose claim has lapsed. What was stopped before its
        answer began is "done" now. Answers with these, which are "running", or "waiting" for somebody to go
        on with their answer; with those that are `stopped` and have an answer to be ended, and with those
        that are "queued" still."""

        async def work(connection: SqlConnection) -> list[TurnRecord]:
            session = await connection.fetch_one(_LOCK, session_id=session_id)
            rows = await connection.fetch_all(_OPEN, ids=[session_id])
            found = [TurnRecord(*row) for row in rows]
            ended = [_cancelled(turn) for turn in found if turn.stopped and turn.answer_id is None]
            waiting = [turn for turn in found if not turn.stopped or turn.answer_id is not None]
            due = _due(waiting, now)
            claimed = [
                structs.replace(turn, state=_begun(turn), fence=turn.fence + 1, claimed_until=until)
                for turn in due
            ]
            if moved := [*ended, *claimed]:
                await connection.execute_many(_MOVE, [_moved(turn, turn.question_id) for turn in moved])
            left = [turn for turn in waiting if turn not in due]
            if claimed and session is not None and session[0] is not None:
                answered = [*claimed, *(turn for turn in left if turn.state in BUSY)]
                left = await _on_their_branch(connection, session_id, session[1], answered, left)
            return [*moved, *(turn for turn in left if turn.stopped or turn.state == "queued")]

        return await self._db.transact(work)

    async def stop(self, session_id: str, question_id: str) -> tuple[TurnRecord | None, bool]:
        """A turn whose answer has not begun is done, as cancelled. The turn as it is then, and whether it was
        this that ended it."""

        async def work(connection: SqlConnection) -> tuple[TurnRecord | None, bool]:
            await connection.fetch_all(_LOCK, session_id=session_id)
            rows = await connection.fetch_all(_GET, ids=[question_id])
            turn = TurnRecord(*rows[0]) if rows else None
            if turn is None or turn.session_id != session_id:
                return None, False
            if turn.state == "done" or turn.answer_id is not None:
                return turn, False
            turn = _cancelled(turn)
            await connection.execute_many(_MOVE, [_moved(turn, question_id)])
            return turn, True

        return await self._db.transact(work)

    async def ask(self, question: MessageRecord, asks: Addressed) -> TurnRecord:
        """The turn of a question that was stored without one."""
        turn = TurnRecord(
            question.message_id, question.session_id, question.seq, asks.agent_id, asks.when_busy
        )
        await self._db.execute(_ENSURE, **_row(turn))
        return await self.get(question.message_id) or turn

    async def expired(self, now: datetime) -> list[tuple[str, str]]:
        """Answers that wait for something whose time is over: (session_id, message_id)."""
        return [(row[0], row[1]) for row in await self._db.fetch_all(_EXPIRED, now=now)]

    async def in_vain(self) -> list[tuple[str, str]]:
        """The same of those that nobody may answer any more."""
        return [(row[0], row[1]) for row in await self._db.fetch_all(_IN_VAIN)]

    async def written(self, question_id: str) -> list[Run]:
        """What the answer of a turn that waits, or has waited, goes on with."""
        row = await self._db.fetch_one(_WRITTEN, which=question_id)
        return [Run(*each) for each in row[0] or ()] if row is not None else []

    async def brought(self, question_id: str) -> Sequence[dict[str, Any]]:
        """The tools that a question brought."""
        row = await self._db.fetch_one(_BROUGHT, which=question_id)
        return (row[0] or ()) if row is not None else ()

    async def take_up(self, answer_id: str, session_id: str, question_ids: Sequence[str]) -> list[TurnRecord]:
        """The answer says that it has taken these up: those that waited for that, on its branch, are being
        answered by it. What the answer's own parts say at its end counts all the same."""

        async def work(connection: SqlConnection) -> list[TurnRecord]:
            session = await connection.fetch_one(_LOCK, session_id=session_id)
            row = await connection.fetch_one(_OPEN_ANSWER, answer_id=answer_id)
            if session is None or row is None:
                return []
            answer, paths = MessageRecord(*row), None
            rows = await connection.fetch_all(_GET, ids=[*question_ids, answer.reply_to or ""])
            found = {row[0]: TurnRecord(*row) for row in rows}
            asked = found.get(answer.reply_to or "")
            if session[0] is not None:
                paths = CommonPaths(await tree_of(connection, session_id, session[1]))
            taken = [
                structs.replace(turn, state="running", answer_id=answer_id)
                for turn in found.values()
                if may_take_up(answer, asked, turn, paths)
            ]
            if taken:
                await connection.execute_many(_MOVE, [_moved(turn, turn.question_id) for turn in taken])
            return taken

        return await self._db.transact(work)

    async def taken_up_by(self, answer: MessageRecord) -> list[str]:
        """The questions that an answer took up on its way, in their order."""
        named = taken_up(answer.parts)
        found = await self.of(named) if named else {}
        mine = [turn for turn in found.values() if turn.answer_id == answer.message_id]
        return [turn.question_id for turn in sorted(mine, key=lambda turn: turn.seq)]

    async def keep(self, claimed: Sequence[TurnRecord], until: datetime) -> None:
        """Renew claims."""
        for turn in claimed:
            await self._db.execute(_KEEP, which=turn.question_id, fence=turn.fence, until=until)

    async def release(self, claimed: TurnRecord, until: datetime) -> None:
        """Give a claim up: another node, or this one, tries after that."""
        await self._db.execute(_KEEP, which=claimed.question_id, fence=claimed.fence, until=until)

    async def begun(self, turn: TurnRecord, answer_id: str) -> None:
        """The answer to a turn of which it is not known yet: a worker's that does not name its question."""
        await self._db.execute(_BEGUN, which=turn.question_id, fence=turn.fence, answer_id=answer_id)

    async def mend(self) -> None:
        """Turns whose answers are not being written any more, and that these left open: a node of an earlier
        release ended them, or what says that a question was taken up was lost with its node."""

        async def work(connection: SqlConnection, session_id: str) -> None:
            await connection.fetch_all(_LOCK, session_id=session_id)
            ended = [_left(row) for row in await connection.fetch_all(_LEFT_OPEN_IN, session_id=session_id)]
            if ended:
                await connection.execute_many(_MOVE, [_moved(turn, turn.question_id) for turn in ended])

        for (session_id,) in await self._db.fetch_all(_LEFT_OPEN):
            await self._db.transact(partial(work, session_id=session_id))

    async def finish(self, claimed: TurnRecord, outcome: str) -> bool:
        """An open turn whose answer is not there to end it. False: it was done before, or is another's to
        answer."""
        which = claimed.question_id
        return await self._db.execute(_FINISH, which=which, fence=claimed.fence, outcome=outcome) > 0


_FINISH = Statement(
    turns.update()
    .where(
        turns.c.question_id == sa.bindparam("which"),
        turns.c.fence == sa.bindparam("fence"),
        turns.c.state != "done",
    )
    .values(state="done", outcome=sa.bindparam("outcome", type_=sa.String), claimed_until=None)
)


async def _on_their_branch(
    connection: SqlConnection,
    session_id: str,
    last: int,
    answered: Sequence[TurnRecord],
    waiting: Sequence[TurnRecord],
) -> list[TurnRecord]:
    """Those that wait, where answers begin now beside others: a question on another branch than all of these
    steers none."""
    if not any(turn.when_busy == STEER and turn.state == "queued" for turn in waiting):
        return list(waiting)
    paths = CommonPaths(await tree_of(connection, session_id, last))
    left = [on_its_branch(turn, paths, answered) for turn in waiting]
    changed = [turn for turn, before in zip(left, waiting, strict=True) if turn is not before]
    if changed:
        await connection.execute_many(_OTHERWISE, [{"which": turn.question_id} for turn in changed])
    return left


def _cancelled(turn: TurnRecord) -> TurnRecord:
    return structs.replace(turn, state="done", outcome="cancelled", claimed_until=None)


def _begun(turn: TurnRecord) -> str:
    return turn.state if turn.state == "waiting" else "running"


def _due(waiting: Sequence[TurnRecord], now: datetime) -> list[TurnRecord]:
    """Which of a session's open turns, in their order, are to begin."""
    lapsed = [
        turn
        for turn in waiting
        if turn.state in BUSY and not turn.stopped
        if turn.claimed_until is not None and turn.claimed_until < now
    ]
    queued = [turn for turn in waiting if turn.state == "queued"]
    due = [turn for turn in queued if turn.when_busy == "parallel"]
    if not any(turn.state in BUSY for turn in waiting):
        due += [turn for turn in queued if turn.when_busy != "parallel"][:1]
    return [*lapsed, *due]


def _left(row: Sequence[Any]) -> TurnRecord:
    """As a turn is to be whose answer has ended without it."""
    turn, (status, reply_to, parts) = TurnRecord(*row[: len(TURN)]), row[len(TURN) :]
    return structs.replace(turn, **left_without(turn, status, reply_to, parts))
