"""The sessions that are looked at, over one Socket.IO connection: each joins after its revision, whenever
that is made anew."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from parley_client.errors import Json, ParleyError, as_error
from parley_client.link import Link
from parley_client.rest import Rest

#: Seconds until a join that was refused for a while is tried again, where the server has not said when.
AGAIN = 1.0


class Joining(Protocol):
    """A session, as it is told what becomes of it."""

    @property
    def id(self) -> str: ...

    def cursor(self) -> Json: ...

    def joined(self, reply: Json, resumed: bool) -> None: ...

    def refused(self, error: ParleyError) -> None: ...

    def told(self, word: str, error: ParleyError | None = None) -> None: ...


class Door:
    """`event(name, data, strange)`, with `strange` of a session whose snapshot has not come yet, or that was
    left; `connection(word, error)` of all."""

    def __init__(
        self,
        rest: Rest,
        event: Callable[[str, Json, bool], None],
        connection: Callable[[str, ParleyError | None], None],
    ) -> None:
        self.link = Link(rest, self)
        self._event, self._connection = event, connection
        self._sessions: dict[str, Joining] = {}
        self._here: set[str] = set()  # ids whose join was answered on this connection

    def enter(self, session: Joining) -> None:
        self._sessions[session.id] = session
        self._here.discard(session.id)
        self._join(session)

    def leave(self, session: Joining) -> None:
        self._here.discard(session.id)
        if self._sessions.pop(session.id, None) is not None:  # also where the join is under way
            self.link.tell("leave", {"session_id": session.id})

    async def close(self) -> None:
        await self.link.close()

    # --- what the link tells

    def up(self) -> None:
        self._here.clear()
        self._connection("online", None)
        for session in list(self._sessions.values()):
            self._join(session)

    def down(self, word: str, error: ParleyError | None) -> None:
        self._here.clear()
        self._connection(word, error)
        for session in list(self._sessions.values()):
            session.told(word, error)

    def event(self, name: str, data: Json) -> None:
        self._event(name, data, name != "session" and data.get("session_id") not in self._here)

    # --- joining

    def _join(self, session: Joining) -> None:
        if not self.link.is_up:
            return
        cursor = session.cursor()

        def take(reply: Any) -> None:
            if self._sessions.get(session.id) is not session or reply is None:
                return  # the next connection asks
            if not reply.get("ok"):
                self._refused(session, as_error(reply.get("error")))
                return
            self._here.add(session.id)
            session.joined(reply, "after_revision" in cursor)

        self.link.ask("join", {"session_id": session.id, **cursor}, take)

    def _refused(self, session: Joining, error: ParleyError) -> None:
        if not error.retryable:
            session.refused(error)
            return
        session.told("offline", error)

        def again() -> None:
            if self._sessions.get(session.id) is session and session.id not in self._here:
                self._join(session)

        asyncio.get_running_loop().call_later(error.pause(AGAIN), again)
