"""Group commit: many concurrent writes, one transaction for all that waits.

Nothing waits for a timer: what arrives while a commit is under way is the next batch. Knows the order
of things and what to do about failures; what an operation means is in `storage.batch`.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol, cast

from msgspec import Struct

from storage import batch_postgresql, batch_sqlite
from storage.append import append, is_plain
from storage.batch import Batch, Needs
from storage.batch_reads import lock_answers, lock_turns
from storage.database import Database, SqlConnection
from storage.errors import AlreadyExists, Away, QuestionOpen, StorageError, StorageUnavailable
from storage.forks import read_grafts, write_heads
from storage.notes import Notes
from storage.ops import (
    AnswerInterrupt,
    Committed,
    DeleteMessage,
    EditMessage,
    EndStream,
    Interrupting,
    NewMessage,
    Op,
    WaitStream,
)
from storage.patience import LEAST, WAIT, until
from storage.place import CommitPlace
from storage.questions import write_turns
from storage.sessions import insert, note_begun, owned

__all__ = ["Committed", "DeleteMessage", "EditMessage", "EndStream", "NewMessage", "Op", "Writer"]

LOG = logging.getLogger("parley.writer")

#: Operations in one transaction: enough to make a commit's cost vanish, few enough to answer soon.
MAX_BATCH = 1000
#: Characters of content in one transaction: a batch of large messages must not take seconds.
MAX_TEXT = 4 << 20
#: Metadata and parts count as so many characters for each value: small objects are the dearest to make ready
#: for the database and for members, in one turn of the loop. More than `MANY` of them are not counted on.
VALUE, MANY, HEAVY = 32, 2048, MAX_TEXT // 3
#: What may wait in a lane, and characters of content while the database is away. More than this means that it
#: does not keep up; senders are told at once.
MAX_WAITING, MAX_AWAY = 20_000, 32 << 20
#: Seconds within which what has waited long enough is told together.
TOGETHER = 0.05
#: Tries of a batch whose insert met a repeat or a taken id: the first does not look for them, the second
#: does, and a third is for an id that another node took in between.
TRIES = 3

#: Transactions under way at once, each with sessions of its own: while PostgreSQL works on one, the next is
#: made ready. A session stays in its lane, so that what its members send at once is committed, and
#: delivered, at once. On PostgreSQL each has another one beside it for what takes six trips and not one (a
#: stream's row, an edit, a file): a plain message waits for none of these but its own session's. SQLite has
#: one writer at a time.
LANES = {"postgresql": 2, "sqlite": 1}


class _Tries:
    """Of one batch."""

    __slots__ = ("times", "unsure")

    def __init__(self) -> None:
        self.unsure = False  # whether one of them took effect is not known
        self.times: list[datetime] = []  # what each of them was dated


class Owner(Protocol):
    """Who gave an operation. Once it is `fenced`, what waits of it is not begun."""

    fenced: bool


class _Waiting(Struct, eq=False):
    """`until`: the loop time until which it waits for a database that is away; `size` as `size_of` says;
    `plain` as `is_plain` does."""

    op: Op
    place: CommitPlace[Committed]
    owner: Owner | None
    until: float
    size: int
    plain: bool


_Outcome = Committed | StorageError


class Writer:
    """One per node. Operations on a session take effect in the order of `submit`."""

    def __init__(
        self,
        db: Database,
        clock: Callable[[], datetime],
        committed: Callable[[Sequence[Committed]], None],
        *,
        now: Callable[[], float] = time.time,
        stalled: Callable[[], bool] = lambda: False,
        notes: Notes | None = None,
    ) -> None:
        """`clock` gives messages their times, `now` is the database's clock as far as it is known,
        `stalled` whether this process stood still just now.

        `committed` is called once per batch, right after its COMMIT and before anybody who waits for one
        of its places goes on. It must not raise, and must not block.
        """
        self._outage, count = db.outage, LANES[db.dialect]
        lanes = [_Lane(n, db, clock, now, stalled, self._done, notes) for n in range(2 * count)]
        self._lanes, self._longer = lanes[:count], lanes[count:] if db.dialect == "postgresql" else []
        self._committed = committed
        self._accepting = False
        #: Loop time at which the batch that was committed last was begun.
        self.begun = 0.0

    def start(self) -> None:
        self._accepting = True

    async def stop(self) -> None:
        """Accepts nothing more, and returns when all that was accepted has been answered."""
        self._accepting = False
        self._outage.stop()
        for lane in (*self._lanes, *self._longer):
            await lane.finish()

    def submit(self, op: Op, owner: Owner | None = None, size: int | None = None) -> CommitPlace[Committed]:
        """The place raises StorageUnavailable (the operation may be repeated; whether it took effect is then
        not known) or what the operation's class names. While the database is away it waits, for as long as
        `storage.patience` says. `size`: as `size_of` says, where that was asked already.
        """
        place: CommitPlace[Committed] = CommitPlace()
        if self._accepting:
            plain = is_plain(op)
            size = size_of(op) if size is None else size
            self._lane_of(op, plain).put(op, place, owner, size, plain)
        else:
            place.set_exception(StorageUnavailable("the writer is stopped"))
        return place

    def _lane_of(self, op: Op, plain: bool) -> "_Lane":
        """Where something of its session waits already, or else by what it takes."""
        number = hash(op.session_id) % len(self._lanes)
        lane = self._lanes[number]
        if self._longer:
            longer = self._longer[number]
            if op.session_id in longer.sessions or not (plain or op.session_id in lane.sessions):
                return longer
        return lane

    def _done(self, batch: Sequence[Committed], begun: float) -> None:
        self.begun = begun
        self._committed(batch)


class _Lane:
    """One transaction after the other, for the sessions that are its own."""

    def __init__(
        self,
        number: int,
        db: Database,
        clock: Callable[[], datetime],
        now: Callable[[], float],
        stalled: Callable[[], bool],
        committed: Callable[[Sequence[Committed], float], None],
        notes: Notes | None,
    ) -> None:
        """`committed` is given the loop time at which the batch was begun, too."""
        self._number, self._db = number, db
        self._clock, self._now, self._stalled = clock, now, stalled
        self._committed, self._notes = committed, notes
        self._store = batch_postgresql if db.dialect == "postgresql" else batch_sqlite
        self._appends = db.dialect == "postgresql"
        self._waiting: deque[_Waiting] = deque()
        self._away = -1  # characters of what waits for a database that is away; -1: it is not
        self._enduring = float("-inf")  # ... and how long the batch that is under way waits for it
        #: Those of which something waits or is under way, and how much.
        self.sessions: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._begun = 0.0

    def put(self, op: Op, place: CommitPlace[Committed], owner: Owner | None, size: int, plain: bool) -> None:
        if len(self._waiting) >= MAX_WAITING:
            place.set_exception(StorageUnavailable("too much waits to be written"))
            return
        if self._away >= 0:
            self._away += size
            if self._away > MAX_AWAY:
                place.set_exception(StorageUnavailable("too much waits for the database"))
                return
        loop = asyncio.get_running_loop()
        one = _Waiting(op, place, owner, until() or loop.time() + WAIT, size, plain)
        self._waiting.append(one)
        if self._away >= 0:
            self._bound(one)
        self.sessions[op.session_id] = self.sessions.get(op.session_id, 0) + 1
        if self._task is None:
            self._task = loop.create_task(self._run(), name="writer")

    async def finish(self) -> None:
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        waiting = self._waiting
        try:
            while waiting:
                if self._stalled():
                    # Somebody else may have gone on with what waits here.
                    self._give_up(StorageUnavailable("this node stood still"))
                    break
                taken = self._take()
                if not taken:
                    continue
                self._begun = asyncio.get_running_loop().time()
                await self._write(taken)
                self._forget(taken)
        finally:
            self._task = None

    def _give_up(self, error: StorageError) -> None:
        """All that waits."""
        _fail(self._waiting, error)
        self._forget(self._waiting)
        self._waiting.clear()

    def _forget(self, ones: Iterable[_Waiting]) -> None:
        """They have been answered."""
        for one in ones:
            session_id = one.op.session_id
            left = self.sessions[session_id] - 1
            if left:
                self.sessions[session_id] = left
            else:
                del self.sessions[session_id]

    def _take(self) -> list[_Waiting]:
        """The next batch, in order of submission."""
        waiting = self._waiting
        taken: list[_Waiting] = []
        room = MAX_TEXT
        while waiting and len(taken) < MAX_BATCH and room > 0:
            one = waiting.popleft()
            if one.owner is not None and one.owner.fenced:
                _fail([one], StorageUnavailable("the connection was taken over"))
                self._forget([one])
                continue
            taken.append(one)
            room -= one.size
        return taken

    async def _write(self, taken: list[_Waiting]) -> None:
        """Commit and answer; anew where the database was away, for those who still wait."""
        tries = _Tries()
        if self._db.outage.on:
            taken = await self._endure(taken, Away("the database is away"))
        while taken:
            try:
                await self._try(taken, tries)
                return
            except Away as error:
                tries.unsure = tries.unsure or not error.undone
                taken = await self._endure(_open(taken), error)
            except StorageUnavailable as error:
                _fail(taken, error)
                return
            except StorageError as error:
                await self._write_singly(taken, error)
                return
            except Exception as error:
                LOG.exception("a batch could not be written")
                await self._write_singly(taken, StorageError(str(error)))
                return

    async def _endure(self, taken: list[_Waiting], error: Away) -> list[_Waiting]:
        """Those who still wait when the database is back."""
        loop, outage = asyncio.get_running_loop(), self._db.outage
        self._away = sum(one.size for one in (*taken, *self._waiting))
        self._enduring = max((one.until for one in taken), default=float("-inf"))
        for one in self._waiting:
            self._bound(one)
        try:
            while taken and not await outage.over(min(one.until for one in taken)):
                late = loop.time() + TOGETHER
                over = [one for one in taken if one.until <= late] or taken
                _fail(over, error)
                taken = [one for one in taken if not one.place.done()]
        finally:
            self._away = -1
        if self._stalled():
            _fail(taken, StorageUnavailable("this node stood still"))
            return []
        fenced = [one for one in taken if one.owner is not None and one.owner.fenced]
        _fail(fenced, StorageUnavailable("the connection was taken over"))
        return [one for one in taken if one not in fenced] if fenced else taken

    def _bound(self, one: _Waiting) -> None:
        """Where it has waited elsewhere already, it does not wait for the turn of what is before it."""
        if one.until < self._enduring:
            asyncio.get_running_loop().call_at(one.until, self._late, one)

    def _late(self, one: _Waiting) -> None:
        if self._away < 0:
            return
        try:
            self._waiting.remove(one)
        except ValueError:  # its turn has come
            return
        self._away -= one.size
        _fail([one], Away("the database is away"))
        self._forget([one])

    async def _try(self, taken: list[_Waiting], tries: _Tries) -> None:
        """Raises StorageError, with what was not answered."""
        # The first has waited the longest.
        left = taken[0].until - asyncio.get_running_loop().time()
        limit = min(self._db.limit, max(LEAST, left))
        if self._appends and not tries.unsure:
            # What is plain does not wait for the six trips of what is not.
            plain, others = _apart(taken)
            left_over = await self._append(plain, limit, tries) if plain else []
            tried, taken = bool(left_over), left_over + others
        else:
            tried = tries.unsure
        if taken:
            self._answer(taken, await self._commit([one.op for one in taken], tried, limit, tries))

    async def _write_singly(self, taken: list[_Waiting], error: StorageError) -> None:
        """One operation holds something that cannot be stored: find it, and let its neighbours pass."""
        if len(taken) == 1:
            _fail(taken, error)
            return
        for one in _open(taken):
            await self._write([one])

    async def _append(self, taken: list[_Waiting], limit: float, tries: _Tries) -> list[_Waiting]:
        """The short way, for what is plain. Returns what has to go the longer one."""
        ops = cast("list[NewMessage]", [one.op for one in taken])
        # Well before we give up: what a client was told is UNAVAILABLE is not stored behind its back.
        deadline = self._now() + limit / 2

        async def work(connection: SqlConnection) -> list[Committed | None]:
            # A lane is the only one on its node that writes to its sessions: times go the way of numbers.
            now = self._clock()
            tries.times.append(now)
            return await append(connection, ops, now, deadline)

        try:
            outcomes = await self._db.use(work, lane=self._number, limit=limit)
        except AlreadyExists:
            return taken
        stored = [(one, outcome) for one, outcome in zip(taken, outcomes, strict=True) if outcome is not None]
        self._answer([one for one, _ in stored], [outcome for _, outcome in stored])
        return [one for one, outcome in zip(taken, outcomes, strict=True) if outcome is None]

    async def _commit(self, ops: list[Op], tried: bool, limit: float, tries: _Tries) -> list[_Outcome]:
        """`tried`: the short way was the first try, which does not look for repeats."""
        for attempt in range(int(tried), TRIES):
            try:
                return await self._transact(ops, tries, limit, thorough=attempt > 0)
            except AlreadyExists:
                if attempt == TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    async def _transact(
        self, ops: list[Op], tries: _Tries, limit: float, *, thorough: bool
    ) -> list[_Outcome]:
        needs = Needs(ops, thorough=thorough)

        async def work(connection: SqlConnection) -> list[_Outcome]:
            sessions, messages, files = await self._store.read(connection, needs)
            # In sorted order, as other rows are locked: two nodes wait for each other one way round.
            counts = {user_id: await owned(connection, user_id, most) for user_id, most in needs.owners}
            turns = await lock_turns(connection, needs, messages)
            messages += await lock_answers(connection, turns, messages)
            await read_grafts(connection, needs, sessions, messages)
            # The time is taken under the locks, so that on one node it goes the way of the numbers.
            batch = Batch(
                self._clock(),
                sessions,
                messages,
                files,
                counts,
                turns,
                tried=tries.times if tries.unsure else (),
            )
            tries.times.append(batch.now)
            outcomes: list[_Outcome] = []
            for op in ops:
                try:
                    outcomes.append(batch.apply(op))
                except StorageError as error:
                    outcomes.append(error)
            refused = next((each for each in outcomes if isinstance(each, QuestionOpen)), None)
            if refused is not None and not thorough:
                raise AlreadyExists from refused  # it may be a repeat of what is open
            for record in batch.begun:
                await insert(connection, record)
                if self._notes is not None and self._notes.on:
                    await note_begun(connection, self._notes, self._notes.name(), record)
            await self._store.write(connection, batch)
            await write_turns(connection, batch)
            await write_heads(connection, batch)
            return outcomes

        return await self._db.transact(work, lane=self._number, limit=limit)

    def _answer(self, taken: list[_Waiting], outcomes: list[_Outcome]) -> None:
        done = [outcome for outcome in outcomes if isinstance(outcome, Committed)]
        if done:
            try:
                self._committed(done, self._begun)
            except Exception:
                LOG.exception("what follows a commit failed")
        # Now who waits: an acknowledgement and the event beside it leave in one write.
        for one, outcome in zip(taken, outcomes, strict=True):
            place = one.place
            if place.done():
                continue
            if isinstance(outcome, Committed):
                place.set_result(outcome)
            else:
                place.set_exception(outcome)


def weight(what: dict[str, Any] | list[Any]) -> int:
    """What metadata, or parts, count as in a batch, in characters of content."""
    left: list[Collection[Any]] = [what.values() if isinstance(what, dict) else what]
    count = text = 0
    while left:
        values = left.pop()
        count += len(values)
        if count > MANY:
            return HEAVY
        for value in values:
            if isinstance(value, str):
                text += len(value)
            elif isinstance(value, dict):
                left.append(value.values())
            elif isinstance(value, list):
                left.append(value)
    return VALUE * count + text


def _open(taken: Iterable[_Waiting]) -> list[_Waiting]:
    """What was not answered."""
    return [one for one in taken if not one.place.done()]


def size_of(op: Op) -> int:
    """In characters of content."""
    if type(op) is NewMessage and not op.parts and not op.metadata and (op.asks is None or not op.asks.tools):
        return len(op.content)
    if isinstance(op, AnswerInterrupt):
        return weight(op.answer)
    if isinstance(op, DeleteMessage | Interrupting):
        return 0
    size = len(op.content or "")
    if isinstance(op, EditMessage):
        return size
    if op.parts:
        size += weight(op.parts)
    if isinstance(op, WaitStream):
        return size + weight([*op.interrupts]) + sum(len(run.text) for run in op.written)
    if not isinstance(op, NewMessage):
        return size
    if op.asks is not None and op.asks.tools:
        size += weight([*op.asks.tools])
    return size + weight(op.metadata) if op.metadata else size


def _apart(taken: list[_Waiting]) -> tuple[list[_Waiting], list[_Waiting]]:
    """Those of sessions of which nothing but plain messages waits, and the others."""
    longer = {one.op.session_id for one in taken if not one.plain}
    if not longer:
        return taken, []
    plain = [one for one in taken if one.op.session_id not in longer]
    return plain, [one for one in taken if one.op.session_id in longer]


def _fail(taken: Sequence[_Waiting] | deque[_Waiting], error: StorageError) -> None:
    for one in taken:
        if not one.place.done():
            # One exception each: the same one raised in many tasks would grow a traceback of them all.
            one.place.set_exception(type(error)(*error.args))
