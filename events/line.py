"""The commands of one connection, in the order in which they came. Knows no wire: a `Voice` answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from events.catalog import CATALOG
from events.commands import Done, Pending
from events.dispatch import Dispatcher, Reply, bounded, forget
from events.errors import ChatError, Unavailable, UnknownCommand
from events.joining import Joined
from events.room import Connection
from events.stall import Stall
from events.waiting import Queue, no_room
from storage.fairness import ASKING
from storage.patience import PATIENCE, Patience
from storage.place import CommitPlace

#: What a command comes to that has not to wait before its place.
_AT_ONCE = (Pending, Joined, dict)
#: Writes of one connection on their way to their commit; then the next waits.
PENDING_LIMIT = 512
#: Letters of a command's name that are kept while it waits: more than any command has.
NAME = 100


class Voice(Protocol):
    """How a transport speaks to its connections."""

    def answer(self, conn: Any, ref: Any, name: str, reply: Reply | ChatError, /) -> None:
        """Send the reply to a command; `ref` is what came with it."""

    def hold_up(self, conn: Any, stop: bool, /) -> None:
        """Stop reading from it, or go on."""


class Line:
    """The commands of one connection take effect in the order in which they came, also when it does not
    wait for replies. Writes need not wait for each other's commit: their order is the writer's."""

    __slots__ = (
        "_busy",
        "_closed",
        "_dispatcher",
        "_failed_at",
        "_pending",
        "_queue",
        "_settled",
        "_task",
        "_voice",
        "conn",
    )

    def __init__(self, dispatcher: Dispatcher, conn: Connection, voice: "Voice") -> None:
        self._dispatcher, self.conn, self._voice = dispatcher, conn, voice
        self._busy = self._closed = False
        self._pending = 0  # writes on their way to their commit
        self._failed_at = float("-inf")  # loop time of the last answer UNAVAILABLE
        self._settled: asyncio.Future[None] | None = None
        self._queue: Queue | None = None
        self._task: asyncio.Task[None] | None = None

    def put(self, name: str, payload: object, ref: Any) -> None:
        """A command, in its order. `ref` is small: nobody counts it where the command waits."""
        if len(name) > NAME:
            name = name[:NAME]
        if self._busy:
            self._put_in_line(name, payload, ref)
            return
        stall = self._dispatcher.stall
        if stall is not None and not stall.over(self.conn.heard_at):
            self._occupy(self._after_stall(stall, name, payload, ref))
            return
        if self._pending and not self._may_pass(name):
            self._occupy(self._after_writes(name, payload, ref))
        else:
            work = self._begin(name, payload, ref)
            if work is not None:
                self._occupy(work)

    def _put_in_line(self, name: str, payload: object, ref: Any) -> None:
        queue = self._queue
        if queue is None:
            queue = self._queue = Queue(self._dispatcher.waiting)
        refused = isinstance(payload, ChatError)
        if not refused and len(queue) >= self._dispatcher.in_line and self._refused(name, ref):
            return
        if not queue.put(self.conn.caller.account, name, payload, ref, asyncio.get_running_loop().time()):
            self._voice.answer(self.conn, ref, name, no_room())
        elif queue.full and not queue.held:
            queue.held = True
            self._voice.hold_up(self.conn, True)

    def _next(self, queue: Queue) -> tuple[str, Any, Any, float]:
        command = queue.next()
        if queue.held and not queue.full:
            queue.held = False
            self._voice.hold_up(self.conn, False)
        return command

    def _refused(self, name: str, ref: Any) -> bool:
        """Whether so many wait for their rate already that one more is not even put in line."""
        assert self._queue is not None
        error = self._dispatcher.too_many(name, self.conn.caller, len(self._queue))
        if error is not None:
            self._voice.answer(self.conn, ref, name, error)
        return error is not None

    def _may_pass(self, name: str) -> bool:
        """Whether a command may begin while writes before it are on their way to their commit."""
        command = CATALOG.get(name)
        return command is not None and command.pipelined and self._pending < PENDING_LIMIT

    @property
    def idle(self) -> bool:
        """Nothing waits, nothing is under way."""
        return not self._busy and not self._pending

    def first(self, work: Coroutine[Any, Any, None]) -> None:
        """Work that comes before any command."""
        self._occupy(work)

    def _begin(self, name: str, payload: object, ref: Any) -> Coroutine[Any, Any, None] | None:
        """The rest of a command's work, if it could not be done at once."""
        conn, dispatcher = self.conn, self._dispatcher
        try:
            command = CATALOG.get(name)
            if command is None:
                raise UnknownCommand(f"no such command: {name[:100]}")
            done = dispatcher.start(command, conn.caller, conn, payload)
        except Exception as failure:  # noqa: BLE001 - a handler's failure always gets a reply
            late = dispatcher.mistake(failure, conn.caller)
            if late is not None:
                told = dispatcher.error_of(failure, name)
                forget(told)
                return self._fail_late(late, told, name, dispatcher.shown(payload), ref)
            self._fail(failure, name, payload, ref, 0.0)
            return None
        if type(done) is dict:  # answered at once: typing, chunks
            self._voice.answer(conn, ref, name, done)
            dispatcher.answered_at_once(name, payload)
            return None
        began = time.perf_counter()
        payload = dispatcher.shown(payload)  # what it was told goes on; nobody waits with all of it
        if isinstance(done, _AT_ONCE):
            self._done(done, name, payload, ref, began)
            return None
        return self._finish(done, name, payload, ref, began)

    async def _finish(
        self, work: Coroutine[Any, Any, Done], name: str, payload: object, ref: Any, began: float
    ) -> None:
        try:
            done = await bounded(work)
        except Exception as failure:  # noqa: BLE001 - a handler's failure always gets a reply
            self._fail(failure, name, payload, ref, began)
        else:
            self._done(done, name, payload, ref, began)

    def _done(self, done: Done, name: str, payload: object, ref: Any, began: float) -> None:
        if isinstance(done, Pending):
            self._pending += 1
            done.place.add_done_callback(
                lambda place: self._committed(place, done.reply, name, payload, ref, began)
            )
            return
        if isinstance(done, Joined):
            self._voice.answer(self.conn, ref, name, done.reply)
            done.then()
        else:
            self._voice.answer(self.conn, ref, name, done)
        self._dispatcher.observe(name, "ok", began, payload)

    def _committed(
        self,
        place: CommitPlace[Any],
        reply: Callable[[Any], Reply],
        name: str,
        payload: object,
        ref: Any,
        began: float,
    ) -> None:
        self._pending -= 1
        failure = place.exception()
        if failure is not None:
            self._fail(failure, name, payload, ref, began)
        else:
            self._voice.answer(self.conn, ref, name, reply(place.result()))
            self._dispatcher.observe(name, "ok", began, payload)
        if self._pending == 0 and self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    def _fail(self, failure: BaseException, name: str, payload: object, ref: Any, began: float) -> None:
        error = self._dispatcher.error_of(failure, name)
        if isinstance(error, Unavailable):
            self._failed_at = asyncio.get_running_loop().time()
        self._voice.answer(self.conn, ref, name, error)
        self._dispatcher.observe(name, error.code, began, payload)

    def refuse(self, failure: ChatError, name: str, ref: Any, *, last: bool = False) -> None:
        """Answer input that the transport could not read as a command, in its order; the `last` word of a
        connection that ends for it, at once."""
        if last:
            self._voice.answer(self.conn, ref, name, failure)
        elif self._busy:
            self._put_in_line(name[:NAME], failure, ref)
        elif (late := self._refusing(failure, name[:NAME], ref)) is not None:
            self._occupy(late)

    def _refusing(self, failure: ChatError, name: str, ref: Any) -> Coroutine[Any, Any, None] | None:
        """The rest of a refusal, if it could not be told at once."""
        late = self._dispatcher.mistake(failure, self.conn.caller)
        if late is not None:
            return self._refuse_late(late, failure, name, ref)
        self._voice.answer(self.conn, ref, name, failure)
        return None

    async def _refuse_late(self, late: Awaitable[None], failure: ChatError, name: str, ref: Any) -> None:
        await late
        self._voice.answer(self.conn, ref, name, failure)

    async def _fail_late(
        self, late: Awaitable[None], failure: Exception, name: str, payload: object, ref: Any
    ) -> None:
        await late
        self._fail(failure, name, payload, ref, 0.0)

    async def _after_stall(self, stall: Stall, name: str, payload: object, ref: Any) -> None:
        """It may have been said to a process that its client had given up."""
        await stall.passing()
        if not self._closed and not self.conn.fenced:
            await self._after_writes(name, payload, ref)

    async def _after_writes(self, name: str, payload: object, ref: Any) -> None:
        await self._writes_done()
        work = self._begin(name, payload, ref)
        del payload  # it may have to wait for its rate
        if work is not None:
            await work

    async def _writes_done(self) -> None:
        while self._pending:
            self._settled = asyncio.get_running_loop().create_future()
            await self._settled
        self._settled = None

    def _occupy(self, work: Coroutine[Any, Any, None]) -> None:
        """Until `work` is done the others wait in line."""
        self._busy = True
        self._task = asyncio.get_running_loop().create_task(self._work_off(work))

    async def _work_off(self, work: Coroutine[Any, Any, None]) -> None:
        ASKING.set(self.conn.caller.asking)
        patience = Patience()
        PATIENCE.set(patience)
        try:
            await work
            while self._queue:
                stall = self._dispatcher.stall
                if stall is not None and stall.stood_still():
                    await stall.passing()
                if not self._queue or self.conn.fenced:
                    break
                name, payload, ref, came = self._next(self._queue)
                if isinstance(payload, ChatError):
                    rest = self._refusing(payload, name, ref)
                else:
                    if self._pending and not self._may_pass(name):
                        await self._writes_done()
                    # What waited behind one that waited for the database in vain has waited, too.
                    patience.begin(came if self._failed_at > came else None)
                    rest = self._begin(name, payload, ref)
                del payload
                if rest is not None:
                    await rest
        finally:
            self._busy = False
            self._task = None
            patience.until = None

    def close(self) -> None:
        """The connection is gone. Commands that have begun go on to their end (an accepted write is not
        undone); commands that wait in line are not begun."""
        self._closed = True
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.clear()
            if queue.held:  # a socket may outlive what was said on it
                queue.held = False
                self._voice.hold_up(self.conn, False)
