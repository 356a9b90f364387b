"""The hook before publishing: an application says of each message, before it is stored, whether it passes.

It stands in place of `events.uncommitted.Uncommitted`, where messages of all doors come by. What a session's
members send is asked for side by side, so many at a time, and goes on in the order in which it came.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct, structs

from events.clock import Clock, rfc3339, when
from events.errors import ChatError, MessageRejected, RateLimited, Unavailable
from events.event import to_json
from events.ids import new_id
from events.observer import Observer
from events.storable import storable
from events.tasks import Tasks
from events.uncommitted import MOST as MOST_HELD
from events.uncommitted import Uncommitted
from events.waiting import Waiting, no_room
from events.webhooks.requests import Answered, HookTarget
from events.webhooks.signatures import signed
from storage.ops import Committed, EditMessage, NewMessage, Op
from storage.parts import edited
from storage.place import CommitPlace
from storage.writer import Owner, size_of

log = logging.getLogger("parley.hook")

#: Questions to the hook at a time: of one session, so that a slow one does not hold up others, and in all.
EACH, TOGETHER = 4, 256
#: Messages of one session that wait for what it says.
IN_LINE: Final = 100
#: Characters of a reason, and bytes besides the words in an answer.
REASON, BESIDES = 500, 64 * 1024


class HookVerdict(Struct, kw_only=True):
    """What the hook says. `content` and `metadata` are put in place of what was sent, with "change"."""

    action: Literal["accept", "change", "reject"] = "accept"
    reason: str | None = None
    content: Annotated[str, Meta(min_length=1)] | None = None
    metadata: dict[str, Any] | None = None


class HookFailed(Exception):
    """It did not say anything that can be followed; the text says why."""


class NotAsked(Exception):
    """Its time was over before its turn came."""

    def __str__(self) -> str:
        return "too much was to be asked at once"


#: Is given what is asked (docs/webhooks.md), and the seconds that are left. Raises HookFailed.
Asks = Callable[[dict[str, Any], float], Awaitable[HookVerdict]]


class _Entry:
    """A message that waits for its verdict. `passes`: as it goes on, or why it does not."""

    __slots__ = ("account", "asked", "deadline", "op", "owner", "passes", "place", "size")

    def __init__(
        self,
        account: str,
        op: NewMessage | EditMessage,
        owner: Owner | None,
        place: CommitPlace[Committed],
        deadline: float,
        size: int,
    ) -> None:
        self.account, self.op, self.owner, self.place = account, op, owner, place
        self.deadline, self.size = deadline, size
        self.asked = False
        self.passes: NewMessage | EditMessage | ChatError | None = None


class _Line:
    """Of one session."""

    __slots__ = ("asking", "entries")

    def __init__(self) -> None:
        self.entries: deque[_Entry] = deque()
        self.asking = 0


class PublishGate:
    """`open_`: what it was asked for and does not answer passes. What it could not be asked for in time never
    does: else who sends much at once would be judged for the first of it alone."""

    def __init__(
        self,
        inner: Uncommitted,
        hooks: list[Asks],
        observer: Observer,
        tasks: Tasks,
        *,
        seconds: float,
        open_: bool,
        largest: int,
    ) -> None:
        """`hooks` are asked one after the other; `largest`: characters of a content."""
        self._inner, self._hooks, self._observer, self._tasks = inner, hooks, observer, tasks
        self._seconds, self._open, self._largest = seconds, open_, largest
        self._lines: dict[str, _Line] = {}
        self._places = asyncio.Semaphore(TOGETHER)
        self._held = Waiting(MOST_HELD)

    def submit(self, account: str, op: Op, owner: Owner | None = None) -> CommitPlace[Committed]:
        """Raises RateLimited: too much waits. The place raises MessageRejected, and Unavailable where the
        hook fails and is closed, besides what the operation's class names."""
        if not isinstance(op, NewMessage | EditMessage):
            return self._inner.submit(account, op, owner)
        line, size = self._lines.get(op.session_id) or _Line(), size_of(op)
        if len(line.entries) >= IN_LINE:
            raise RateLimited("too many messages of this session wait for the hook")
        if not self._held.add(account, size):
            raise no_room()
        loop = asyncio.get_running_loop()
        entry = _Entry(account, op, owner, CommitPlace(), loop.time() + self._seconds, size)
        self._lines[op.session_id] = line
        line.entries.append(entry)
        self._go_on(op.session_id, line)
        return entry.place

    def _go_on(self, room: str, line: _Line) -> None:
        """What is next in line passes, or is refused; and more is asked for."""
        while line.entries and (passes := line.entries[0].passes) is not None:
            self._pass(line.entries.popleft(), passes)
        for entry in line.entries:
            if line.asking >= EACH:
                break
            if not entry.asked:
                entry.asked = True
                line.asking += 1
                self._tasks.spawn(self._judge(room, line, entry))
        if not line.entries and self._lines.get(room) is line:
            del self._lines[room]

    def _pass(self, entry: _Entry, passes: NewMessage | EditMessage | ChatError) -> None:
        self._held.drop(entry.account, entry.size)
        if isinstance(passes, ChatError):
            entry.place.set_exception(passes)
            return
        try:
            committed = self._inner.submit(entry.account, passes, entry.owner)
        except ChatError as error:
            entry.place.set_exception(error)
        else:
            committed.add_done_callback(lambda done: done.pass_on(entry.place))

    async def _judge(self, room: str, line: _Line, entry: _Entry) -> None:
        began = asyncio.get_running_loop().time()
        try:
            entry.passes, outcome = await self._verdict(entry)
        except Exception as error:
            if not isinstance(error, HookFailed | NotAsked | TimeoutError):
                log.exception("the hook before publishing failed")
            else:
                log.warning("the hook before publishing: %s", error or "no answer in time")
            outcome = "failed"
            passes = self._open and not isinstance(error, NotAsked)
            entry.passes = entry.op if passes else Unavailable("the message could not be checked")
        self._observer.hook(outcome, asyncio.get_running_loop().time() - began)  # type: ignore[arg-type]
        line.asking -= 1
        self._go_on(room, line)

    async def _verdict(self, entry: _Entry) -> tuple[NewMessage | EditMessage | ChatError, str]:
        """Raises HookFailed, NotAsked, TimeoutError."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(entry.deadline):
                await self._places.acquire()
        except TimeoutError as error:
            raise NotAsked from error
        try:
            now = loop.time()
            if now >= entry.deadline:
                raise NotAsked
            until = now + self._seconds if self._open else entry.deadline
            async with asyncio.timeout_at(until):
                return await self._said(entry.op, until)
        finally:
            self._places.release()

    async def _said(
        self, op: NewMessage | EditMessage, until: float
    ) -> tuple[NewMessage | EditMessage | ChatError, str]:
        """Raises HookFailed."""
        outcome, loop = "accepted", asyncio.get_running_loop()
        for ask in self._hooks:
            verdict = await ask(_asked(op), until - loop.time())
            if verdict.action == "reject":
                return MessageRejected((verdict.reason or "")[:REASON]), "rejected"
            if verdict.action == "change":
                op, outcome = self._changed(op, verdict), "changed"
        return op, outcome

    def _changed(self, op: NewMessage | EditMessage, verdict: HookVerdict) -> NewMessage | EditMessage:
        """Raises HookFailed."""
        changes: dict[str, Any] = {}
        if verdict.content is not None:
            if len(verdict.content) > self._largest or "\0" in verdict.content:
                raise HookFailed("its content is too long, or none that can be stored")
            changes["content"] = verdict.content
        if isinstance(op, EditMessage):
            return structs.replace(op, **changes)
        if verdict.metadata is not None:
            changes["metadata"] = storable(verdict.metadata)
        if op.parts and verdict.content is not None:
            changes["parts"] = edited(op.parts, verdict.content)
        return structs.replace(op, **changes)


def _asked(op: NewMessage | EditMessage) -> dict[str, Any]:
    """What the hook is told of a message."""
    told: dict[str, Any] = {
        "event": "edit" if isinstance(op, EditMessage) or op.beside is not None else "message",
        "session_id": op.session_id,
        "message_id": op.message_id,
        "sender_type": op.sender_type,
        "sender_id": op.sender_id,
        "content": op.content,
    }
    if isinstance(op, NewMessage):
        told |= {
            "message_type": op.message_type,
            "client_message_id": op.client_message_id,
            "reply_to": op.reply_to,
            "metadata": op.metadata,
            "parts": op.parts,
        }
    return told


def by_address(address: HookTarget, key: bytes, clock: Clock) -> Asks:
    """Asks over HTTP, signed as webhooks are."""

    async def ask(data: dict[str, Any], seconds: float) -> HookVerdict:
        name, now = new_id("hook"), clock()
        body = to_json({"type": "message.publish", "timestamp": rfc3339(when(now)), "data": data})
        head = (
            f"webhook-id: {name}\r\nwebhook-timestamp: {int(now)}\r\n"
            f"webhook-signature: {signed((key,), name, int(now), body)}\r\n"
        )
        future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()

        def then(answered: Answered) -> None:
            if not future.done():
                future.set_result(answered)

        address.post(head.encode(), body, then, max(seconds, 0.001), wants_body=True)
        return _verdict_of(await future)

    return ask


def _verdict_of(answered: Answered) -> HookVerdict:
    """Raises HookFailed."""
    if answered.status == 204:
        return HookVerdict()
    if answered.status != 200:
        raise HookFailed(answered.error or f"HTTP {answered.status}")
    return _read(answered.body)


def _read(body: bytes) -> HookVerdict:
    try:
        return msgspec.json.decode(body, type=HookVerdict)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise HookFailed(f"its answer is not what was asked for: {error}") from error


def by_call(function: Callable[[dict[str, Any]], Any]) -> Asks:
    """Asks a function of the operator's: a coroutine, or one that is called in a thread. It returns what an
    address would answer, or None to accept."""
    if asyncio.iscoroutinefunction(function):
        call = function
    else:

        async def call(data: dict[str, Any]) -> Any:
            return await asyncio.to_thread(function, data)

    async def ask(data: dict[str, Any], seconds: float) -> HookVerdict:
        said = await call(data)
        return HookVerdict() if said is None else _read(to_json(said))

    return ask
