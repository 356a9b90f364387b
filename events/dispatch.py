"""Decode, limit, act, reply: the one way of everything that is written, whatever door it came through.

Actions authorise (`events.commands`). Deadlines, metrics and the log line of a command are here.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Final, TypeVar

import msgspec

from events.access import Caller
from events.catalog import CATALOG, OPERATIONS, Command
from events.commands import Action, Commands, Done, Pending
from events.errors import (
    ChatError,
    Internal,
    PayloadTooLarge,
    RateLimited,
    Unavailable,
    UnknownCommand,
    ValidationFailed,
)
from events.failures import translate
from events.joining import Joined
from events.observer import Observer
from events.ratelimit import WAITS, RateLimits, Wait
from events.room import Connection
from events.stall import Stall
from events.waiting import Kept, Waiting
from events.wording import invalid
from storage.patience import LEAST, PATIENCE, WAIT

#: Seconds until a command that cannot be carried out is answered UNAVAILABLE, besides the wait for its
#: rate: the last try of one that waited for the database is over by then (`storage.patience`).
DEADLINE = WAIT + 2 * LEAST
#: Names that metrics show.
_KNOWN = CATALOG.keys() | OPERATIONS.keys()
#: The present command's.
_BOUND: Final[ContextVar[asyncio.Timeout | None]] = ContextVar("parley.bound", default=None)

log = logging.getLogger("parley.commands")

Reply = dict[str, Any]
T = TypeVar("T")


def decode(command: Command, payload: object) -> msgspec.Struct:
    """A payload as its struct. Raises ValidationFailed with the field and the problem."""
    if not isinstance(payload, dict):
        raise ValidationFailed("the payload must be one JSON object")
    try:
        return msgspec.convert(payload, command.schema)
    except msgspec.ValidationError as error:
        raise invalid(error) from error


class Dispatcher:
    """Carries out commands; an error of any kind becomes a `ChatError`."""

    def __init__(
        self, commands: Commands, limits: RateLimits, observer: Observer, stall: Stall | None = None
    ) -> None:
        """`stall` where others may take over what this process has in hand."""
        self.stall = stall
        self._limits, self._observer = limits, observer
        self.in_line = limits.in_line
        self.waiting = Waiting()
        self._debug = log.isEnabledFor(logging.DEBUG)  # asked once: it costs more than a chunk's check
        actions = commands.actions
        self._actions = {name: actions[name] for name in CATALOG}

    def start(self, command: Command, caller: Caller, conn: Connection | None, payload: object) -> Action:
        """The part that can be done at once. Raises ChatError or StorageError."""
        struct = decode(command, payload)
        action = self._actions[command.name]
        rate = command.bounds.rate
        if rate is not None:
            waiting = self._limits.check(caller, rate, conn is not None)
            if waiting is not None:
                kept = Kept(struct, caller.account, self.waiting)
                # Before others that came in the same turn are read.
                if type(waiting) is Wait and conn is not None:
                    kept.shrink()
                return _after(waiting, action, caller, conn, kept)
        done: Action = action(caller, conn, struct)
        if command.at_once and conn is not None and conn.member(struct.session_id) is not None:  # type: ignore[attr-defined]
            return stepped(done)
        return done

    def _act(self, command: Command, caller: Caller, conn: Connection | None, payload: object) -> Action:
        return self._actions[command.name](caller, conn, decode(command, payload))  # type: ignore[no-any-return]

    async def call(
        self,
        name: str,
        caller: Caller,
        payload: object,
        conn: Connection | None = None,
        *,
        limited: bool = False,
    ) -> Reply:
        """For a request that waits for its answer; `limited`: its bucket has been asked. Raises ChatError."""
        with _Observed(self, name, payload):
            command = CATALOG.get(name)
            if command is None or (command.sockets_only and conn is None):
                raise UnknownCommand(f"no such command: {name[:100]}")
            begin = self._act if limited else self.start
            done = begin(command, caller, conn, payload)
            if isinstance(done, Coroutine):
                done = await bounded(done)
            if isinstance(done, Pending):
                return done.reply(await bounded(done.place))
            assert not isinstance(done, Joined)
            return done

    async def perform(self, name: str, work: Callable[[], Awaitable[T]], session_id: str | None = None) -> T:
        """Carries out an operation of requests alone (`events.catalog.OPERATIONS`), or a command that came in
        another form. `limit` has asked its bucket. Raises ChatError."""
        operation = OPERATIONS.get(name)
        with _Observed(self, name, {"session_id": session_id}):
            if operation is not None and not operation.in_time:
                return await work()
            return await bounded(work())

    def limit(self, name: str, caller: Caller) -> Awaitable[None] | None:
        """Takes the token of what is about to be performed. Raises RateLimited, at once or when awaited."""
        operation = OPERATIONS.get(name)
        rate = CATALOG[name].bounds.rate if operation is None else operation.rate
        if rate is None:
            return None
        try:
            waiting = self._limits.check(caller, rate)
        except RateLimited as error:
            self.observe(name, error.code, 0.0, None)
            raise
        return None if waiting is None else self._limited(name, waiting)

    async def _limited(self, name: str, waiting: Awaitable[None]) -> None:
        try:
            await waiting
        except RateLimited as error:
            self.observe(name, error.code, 0.0, None)
            raise

    def too_many(self, name: str, caller: Caller, waiting: int) -> ChatError | None:
        """Whether a command that would be the next of so many in line is refused for its rate."""
        command = CATALOG.get(name)
        if command is None or command.bounds.rate is None:
            return None
        return self._limits.too_many(caller, command.bounds.rate, waiting)

    def mistake(self, failure: Exception, caller: Caller) -> Awaitable[None] | None:
        """The wait before the refusal to a sender of repeated nonsense."""
        if isinstance(failure, ValidationFailed | UnknownCommand | PayloadTooLarge):
            return self._limits.mistake(caller)
        return None

    @staticmethod
    def error_of(failure: BaseException, name: str) -> ChatError:
        """The error that a client gets for a failure. An unexpected failure is logged under the id in the
        error."""
        if isinstance(failure, ChatError):
            return failure
        known = translate(failure)
        if known is not None:
            return known
        log_id = secrets.token_hex(6)
        log.error("command %s failed, log id %s", name[:100], log_id, exc_info=failure)
        return Internal(details={"log_id": log_id})

    def answered_at_once(self, name: str, payload: object) -> None:
        self._observer.at_once[name] += 1
        if self._debug:
            self._log(name, "ok", 0.0, payload)

    def observe(self, name: str, outcome: str, began: float, payload: object) -> None:
        """`began`: 0 where it was answered at once; there is no time to tell of then."""
        seconds = time.perf_counter() - began if began else 0.0
        self._observer.command(name if name in _KNOWN else "unknown", outcome, seconds)
        if self._debug:
            self._log(name, outcome, seconds, payload)

    def shown(self, payload: object) -> object:
        """The part of a payload that its command's line in the log needs."""
        if not self._debug or not isinstance(payload, dict):
            return None
        return {"session_id": payload.get("session_id")}

    @staticmethod
    def _log(name: str, outcome: str, seconds: float, payload: object) -> None:
        session = payload.get("session_id") if isinstance(payload, dict) else None
        log.debug("%s %s", name[:100], outcome, extra={"session_id": session, "seconds": round(seconds, 6)})


class _Observed:
    """Counts and logs what is done in it, whose failure becomes a ChatError."""

    __slots__ = ("_began", "_dispatcher", "_name", "_payload")

    def __init__(self, dispatcher: Dispatcher, name: str, payload: object) -> None:
        self._dispatcher, self._name, self._payload = dispatcher, name, payload
        self._began = time.perf_counter()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        outcome, error = "ok", None
        if isinstance(failure, Exception):
            error = self._dispatcher.error_of(failure, self._name)
            outcome = error.code
        self._dispatcher.observe(self._name, outcome, self._began, self._payload)
        if error is not None and error is not failure:
            raise error from failure


def stepped(work: Any) -> Done:
    """The result of a coroutine that waits for nothing: a task for each would cost more than most of them."""
    try:
        work.send(None)
    except StopIteration as end:
        done: Done = end.value
        return done
    raise RuntimeError("a command that its catalog has `at_once` has waited")


def forget(failure: BaseException) -> None:
    """Where it came from: its frames hold what was sent, as long as it is kept."""
    failure.__traceback__ = failure.__cause__ = failure.__context__ = None


async def bounded(work: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(DEADLINE) as bound:
            _BOUND.set(bound)
            try:
                return await work
            finally:
                _BOUND.set(None)  # a circle otherwise: the task, its context, the timeout, the task
    except TimeoutError as error:
        raise Unavailable("the command took too long") from error


def _let_go(error: RateLimited | None) -> None:
    """A request's refusal is waited for where nothing of it is held any more."""
    if error is not None:
        error.late = True
        raise error


async def _after(
    waiting: Awaitable[None], action: Any, caller: Caller, conn: Connection | None, kept: Kept
) -> Done:
    """The wait for a rate does not count as waiting for the database, nor for the deadline."""
    loop, patience = asyncio.get_running_loop(), PATIENCE.get()
    began = loop.time()
    WAITS.set(kept.pack if conn is not None else _let_go)
    try:
        await waiting
        struct = kept.take()
    finally:
        WAITS.set(None)
        kept.drop()
    now = loop.time()
    if (bound := _BOUND.get()) is not None:
        bound.reschedule(now + DEADLINE)
    if patience is not None and patience.until is not None:
        patience.until += now - began
    done = action(caller, conn, struct)
    finished: Done = await done if isinstance(done, Coroutine) else done
    return finished
