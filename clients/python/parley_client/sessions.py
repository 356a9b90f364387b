"""The list of one's sessions, with the last words and what is unread in each: live while it is looked at."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

from parley_client import wire
from parley_client.errors import Json, ParleyError
from parley_client.home import Home
from parley_client.known import key_of
from parley_client.observable import Observable
from parley_client.rest import SESSIONS, path_of, query
from parley_client.shown import Connection, SessionLine, SessionsState

PAGE, MOST = 20, 100
#: Seconds in which several reasons to ask are one; until what failed is tried again.
SOON, AGAIN = 0.2, 2.0
#: Characters of a preview.
PREVIEW = 100


class SessionsStore(Observable[SessionsState]):
    """Live while somebody subscribes to it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._list: list[Json] = []
        self._has_more, self._total = False, 0
        self._connection: Connection = "connecting"
        self._error: ParleyError | None = None
        self._cursor: str | None = None  # of the next page
        self._timer: asyncio.TimerHandle | None = None  # of the next question
        self._asking: asyncio.Task[Any] | None = None
        self._moves = 0  # how often something was told meanwhile
        super().__init__(self._as_shown())

    # --- what one does

    async def refresh(self) -> None:
        """The first ones again; all that were loaded, up to a hundred."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._refresh())
        await asyncio.shield(self._asking)

    async def load_more(self, limit: int = PAGE) -> None:
        if self._list and self._cursor is None:
            return
        page = await self._page(limit=limit, cursor=self._cursor)
        known = {each["session_id"] for each in self._list}
        more = [each for each in page["sessions"] if each["session_id"] not in known]
        self._take([*self._list, *more], page)

    async def create(
        self,
        *,
        agent_id: int | None = None,
        title: str | None = None,
        metadata: Json | None = None,
        ttl_hours: int | None = None,
    ) -> wire.Session:
        said = {"agent_id": agent_id, "title": title, "metadata": metadata, "ttl_hours": ttl_hours}
        given = {name: value for name, value in said.items() if value is not None}
        made = await self._home.rest.call("POST", SESSIONS, given)
        self._soon(0)
        return cast(wire.Session, made)

    async def update(
        self,
        session_id: str,
        *,
        title: str | None = None,
        metadata: Json | None = None,
        status: Literal["active"] | None = None,
    ) -> wire.SessionDetails:
        """`active` opens again what has ended."""
        said = {"title": title, "metadata": metadata, "status": status}
        changes = {name: value for name, value in said.items() if value is not None}
        session = await self._home.rest.call("PATCH", path_of(session_id), changes)
        told = {"title": session["title"], "status": session["status"]}
        self._change(session_id, told)
        return cast(wire.SessionDetails, session)

    async def archive(self, session_id: str) -> None:
        await self._home.rest.call("DELETE", path_of(session_id))
        self._change(session_id, {"status": "archived"})

    # --- what is told

    def _started(self) -> None:
        self._home.open()
        self._soon(0)

    def told(self, word: str, error: ParleyError | None = None) -> None:
        self._connection, self._error = cast(Connection, word), error
        self._show()
        if word == "online":
            self._soon(0)  # what moved meanwhile nobody repeats

    def event(self, name: str, data: Json) -> None:
        if not self.watched:
            return
        if name == "session":
            self._session(data)
        elif name == "read" and data["user_id"] == self._home.me:
            self._soon(SOON)
        elif name in ("message", "stream_start"):
            self._said(data)
        elif name == "stream_end":
            self._soon(SOON)

    def was_read(self, session_id: str, unread_count: int) -> None:
        self._change(session_id, {"unread_count": unread_count})

    def _session(self, data: Json) -> None:
        what, session_id = data["event"], data["session_id"]
        if what == "activity":
            told = ("last_message", "last_message_at", "last_seq", "unread_count")
            self._moved(session_id, lambda _: {name: data[name] for name in told if name in data})
        elif what == "added":
            self._soon(SOON)
        elif what == "removed" and data.get("user_id", self._home.me) == self._home.me:
            self._take([each for each in self._list if each["session_id"] != session_id])
        elif what == "updated" and "title" in data:
            self._change(session_id, {"title": data["title"]})
        elif what in ("archived", "expired"):
            self._change(session_id, {"status": what})

    def _said(self, data: Json) -> None:
        """In a session that one has joined: there no activity is told. An answer that goes on is no other
        one."""
        session_id = data["session_id"]
        known = self._home.knows(session_id, data["message_id"])
        more = key_of(data) != self._home.me and not known
        words = (data.get("content") or "")[:PREVIEW]
        at = data.get("created_at") or data.get("timestamp")

        def moved(line: Json) -> Json:
            last = words or line["last_message"]
            unread = line["unread_count"] + more
            return {"last_message": last, "last_message_at": at, "unread_count": unread}

        self._moved(session_id, moved)

    # --- inside

    def _moved(self, session_id: str, make: Callable[[Json], Json]) -> None:
        line = next((each for each in self._list if each["session_id"] == session_id), None)
        if line is None:
            self._soon(SOON)
            return
        self._moves += 1
        self._take([{**line, **make(line)}, *(each for each in self._list if each is not line)])

    def _change(self, session_id: str, told: Json) -> None:
        self._moves += 1
        self._take([{**each, **told} if each["session_id"] == session_id else each for each in self._list])

    def _soon(self, seconds: float) -> None:
        self._moves += 1
        if not self.watched:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._ask)

    def _ask(self) -> None:
        if not self._home.closed:
            self._home.errands.run(self._asked())

    async def _asked(self) -> None:
        try:
            await self.refresh()
        except ParleyError:
            return  # it is shown

    async def _refresh(self) -> None:
        before = self._moves
        try:
            page = await self._page(limit=min(MOST, max(PAGE, len(self._list))))
        except ParleyError as error:
            self._error = error
            self._show()
            if error.retryable:
                self._soon(error.pause(AGAIN))
            raise
        if self._moves != before:
            self._soon(SOON)
        old = {each["session_id"]: each for each in self._list}
        self._error = None
        lines = [
            old[each["session_id"]] if old.get(each["session_id"]) == each else each
            for each in page["sessions"]
        ]
        self._take(lines, page)

    async def _page(self, **asked: Any) -> Json:
        return await self._home.rest.call("GET", SESSIONS + query(**asked))

    def _take(self, lines: Sequence[Json], page: Json | None = None) -> None:
        """With the `page` that it ends with: one that was asked for by a cursor has no `total`."""
        self._list = list(lines)
        if page is not None:
            self._cursor, self._has_more = page.get("cursor"), page["has_more"]
            self._total = page.get("total", self._total)
        self._show()

    def _show(self) -> None:
        self._set(self._as_shown())

    def _as_shown(self) -> SessionsState:
        lines = cast("tuple[SessionLine, ...]", tuple(self._list))
        return SessionsState(lines, self._has_more, self._total, self._connection, self._error)
