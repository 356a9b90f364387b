"""What was said here and is not known to be committed: kept in a storage, sent with the same id until the
server has it, one after the other in each session. Knows no transport."""

import asyncio
import inspect
import logging
import math
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from parley_client.errors import Json, ParleyError
from parley_client.observable import Errands
from parley_client.storage import Storage

log = logging.getLogger("parley_client")

#: Seconds until a repeat, where the server has not said when: doubled each time, up to the second.
AGAIN = (0.5, 8.0)


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """`state`: saving, waiting, sending, sent or failed. `stored`: as it is; `tried`: it may be sent."""

    id: str
    session_id: str
    order: float
    at: str
    payload: Json
    error: Json | None = None
    state: str = "saving"
    stored: bool = False
    tried: bool = False
    kept: "asyncio.Task[None] | None" = None

    def as_kept(self) -> Json:
        names = ("id", "session_id", "order", "at", "payload", "error")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class PendingBox:
    """`send(session_id, payload)` is the reply to `message`; `changed(session_id)` hears of every change."""

    def __init__(
        self,
        storage: Storage,
        send: Callable[[str, Json], Awaitable[Json]],
        changed: Callable[[str], None],
    ) -> None:
        self._storage, self._send, self._changed = storage, send, changed
        self._box = ""
        self._items: list[Waiting] = []  # by order
        self._first = math.inf  # what is said before it is known whose it is goes behind all that was kept
        self._replies: dict[str, asyncio.Future[Any]] = {}  # of this program
        self._leaving: set[str] = set()  # ids that are about to be gone from the storage
        self._lanes: dict[str, asyncio.Event] = {}  # session -> what ends its pause
        self._up = False
        self._opened = asyncio.Event()
        self._putting = asyncio.Lock()  # in the order in which it was said: others may read meanwhile
        self.errands, self._writes = Errands(), Errands()

    async def open(self, box: str) -> None:
        """Whose: known with the first token."""
        self._box = box
        await self._read()
        last = 0.0
        for at, item in enumerate(self._items):
            last = item.order if item.order < math.inf else last + 1
            self._items[at] = replace(item, order=last)
        self._first = 0.0
        self._opened.set()

    def of(self, session_id: str) -> list[Waiting]:
        return [item for item in self._items if item.session_id == session_id]

    def add(self, session_id: str, payload: Json) -> "asyncio.Future[Any]":
        """Shown at once, kept, and sent. The future is the server's reply, or why it will not take it."""
        id = payload["client_message_id"]
        kept = self._writes.run(self._when_open(id))
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._items.append(Waiting(id, session_id, self._last() + 1, now, payload, kept=kept))
        reply = self._replies[id] = asyncio.get_running_loop().create_future()
        reply.add_done_callback(_looked_at)
        self._changed(session_id)
        self.errands.run(self._sent_when(kept, id, session_id))
        return reply

    async def _when_open(self, id: str) -> None:
        await self._opened.wait()
        await self._keep(id)

    async def _sent_when(self, kept: "asyncio.Task[None]", id: str, session_id: str) -> None:
        await asyncio.shield(kept)
        self._turn(id, state="waiting")
        await self._run(session_id)

    def retry(self, id: str) -> None:
        """One that was refused, once more, behind all others."""
        item = self._find(id)
        if item is None or item.state != "failed":
            return
        self._items.remove(item)
        again = replace(item, order=self._last() + 1, state="waiting", stored=False, error=None)
        self._items.append(again)
        self._changed(again.session_id)
        self.errands.run(self._kept_and_run(again))

    async def _kept_and_run(self, item: Waiting) -> None:
        await asyncio.shield(self._writes.run(self._keep(item.id)))
        await self._run(item.session_id)

    def discard(self, id: str) -> bool:
        """It goes no further. False where it may be at the server already."""
        item = self._find(id)
        if item is None or item.state not in ("saving", "waiting", "failed") or item.tried:
            return False
        self._drop(item)
        self._answer(id, error=ParleyError("CANCELLED", "It was taken back"))
        return True

    def arrived(self, id: str, reply: Json) -> None:
        """Its message has come: with `message_id`, `seq` and `created_at`, as a reply."""
        item = self._find(id)
        if item is not None:
            self._drop(item)
            self._answer(id, reply)

    async def close(self, within: float) -> None:
        """What was said is in the storage, and what has gone is not, unless that takes longer."""
        await self.errands.end()
        await self._writes.settled(within)
        await self._writes.end()

    def settled(self, session_id: str) -> None:
        """A snapshot has come: what was acknowledged before is in it."""
        for item in self.of(session_id):
            if item.state == "sent":
                self._drop(item)

    def connected(self, up: bool) -> None:
        """With a connection all lanes go on, at once; without one they wait."""
        self._up = up
        if up:
            self.errands.run(self._again())

    async def _again(self) -> None:
        await self.look()
        for ends in self._lanes.values():
            ends.set()

    async def look(self) -> None:
        """Another program may have left some, sent ours, or said them once more."""
        await self._opened.wait()
        await self._read()
        for session_id in {item.session_id for item in self._items}:
            self.errands.run(self._run(session_id))

    # --- sending

    async def _run(self, session_id: str) -> None:
        if session_id in self._lanes:
            return
        ends = self._lanes[session_id] = asyncio.Event()
        pause = AGAIN[0]
        try:
            while True:
                rest = (item for item in self.of(session_id) if item.state in ("waiting", "saving"))
                item = next(rest, None)
                if not self._up or item is None or item.state != "waiting":
                    return  # before it is kept nothing behind it goes, either
                failure = await self._try(item)
                if failure is None:
                    pause = AGAIN[0]
                    continue
                ends.clear()
                try:
                    async with asyncio.timeout(failure.pause(pause)):
                        await ends.wait()
                except TimeoutError:
                    pass
                pause = min(AGAIN[1], pause * 2)
        finally:
            del self._lanes[session_id]

    async def _try(self, item: Waiting) -> ParleyError | None:
        """What passes by itself, if that is how it failed."""
        self._turn(item.id, state="sending", stored=False, tried=True, error=None)
        try:
            reply = await self._send(item.session_id, item.payload)
        except ParleyError as error:
            if error.retryable or error.code in ("UNAUTHORIZED", "CLOSED"):
                self._turn(item.id, state="waiting", error=problem(error))
                return error
            self._turn(item.id, state="failed", tried=False, error=problem(error))
            await asyncio.shield(self._writes.run(self._keep(item.id)))
            self._answer(item.id, error=error)
            return None
        self._writes.run(self._forget(item.id))
        if reply.get("duplicate"):
            self._drop(item)  # it was told before
        else:
            self._turn(item.id, state="sent")
        self._answer(item.id, reply)
        return None

    def _answer(self, id: str, reply: Json | None = None, error: ParleyError | None = None) -> None:
        future = self._replies.pop(id, None)
        if future is None or future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(reply)

    def _find(self, id: str) -> Waiting | None:
        return next((item for item in self._items if item.id == id), None)

    def _turn(self, id: str, **fate: Any) -> None:
        item = self._find(id)
        if item is not None:
            self._items[self._items.index(item)] = replace(item, **fate)
            self._changed(item.session_id)

    def _drop(self, item: Waiting) -> None:
        self._items = [each for each in self._items if each.id != item.id]
        self._changed(item.session_id)
        self._writes.run(self._forget(item.id, item.kept))

    # --- keeping

    def _last(self) -> float:
        return self._items[-1].order if self._items else self._first

    async def _keep(self, id: str) -> None:
        async with self._putting:
            item = self._find(id)
            if item is not None:
                await self._put(item)

    async def _put(self, item: Waiting) -> None:
        try:
            await _done(self._storage.put(self._box, item.as_kept()))
        except (OSError, ValueError, TypeError, RuntimeError, sqlite3.Error) as failure:
            log.warning("not kept over a restart: %s", failure)
        else:
            self._turn(item.id, stored=True)

    async def _forget(self, id: str, kept: "asyncio.Task[None] | None" = None) -> None:
        self._leaving.add(id)
        try:
            if kept is not None:
                await asyncio.wait([kept])
            await _done(self._storage.remove(self._box, id))
        except (OSError, ValueError, RuntimeError, sqlite3.Error) as failure:
            log.warning("after a restart it is sent once more, with its id: %s", failure)
        else:
            self._leaving.discard(id)

    async def _read(self) -> None:
        """What others put there comes in, what they sent goes: what rests in the storage is as they left it
        there."""
        before = list(self._items)
        try:
            kept: list[Json] = await _done(self._storage.list(self._box))
        except (OSError, ValueError, RuntimeError, sqlite3.Error) as failure:
            log.warning("what was kept cannot be read: %s", failure)
            return
        now = list(self._items)
        ours = [item for item in now if not item.stored or item.id in self._replies or item not in before]
        known = {item.id for item in (*ours, *(item for item in before if item not in now))}
        theirs = [
            Waiting(
                **item, state="failed" if item.get("error") else "waiting", stored=True,
                tried=not item.get("error"),
            )
            for item in kept
            if item["id"] not in known and item["id"] not in self._leaving
        ]  # fmt: skip
        self._items = sorted([*ours, *theirs], key=lambda item: item.order)
        for session_id in {item.session_id for item in (*now, *theirs)}:
            self._changed(session_id)


def problem(error: ParleyError) -> Json:
    """An error as a pending message shows it."""
    told = {"code": error.code, "message": error.message, "retryable": error.retryable}
    return told if error.details is None else {**told, "details": error.details}


async def _done(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


def _looked_at(reply: "asyncio.Future[Any]") -> None:
    """Who looks at the pending message alone has its error there."""
    if not reply.cancelled():
        reply.exception()
