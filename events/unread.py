"""Activity in sessions, told to users' connections here with how much they have not read of it.

Counted where it is heard, for those alone who hear it: most participants of a session are in its room, or
have no connection. What comes while some are being counted is counted together.
"""

from collections.abc import Collection

import msgspec

from events.event import Event
from events.hub import Hub
from events.tasks import Tasks
from storage.errors import StorageError
from storage.turns import in_steps
from storage.unread import UnreadReader

#: Sessions that are asked for at once, and users told in one turn of the loop.
SESSIONS, STEP = 10, 50
#: Users who wait for their count at most; beyond it they are told without one.
WAITING = 10_000


class UnreadCounts:
    """One per node."""

    def __init__(self, unread: UnreadReader, hub: Hub, tasks: Tasks) -> None:
        self._unread, self._hub, self._tasks = unread, hub, tasks
        self._due: dict[str, dict[str, Event]] = {}  # session -> user -> the newest
        self._waiting = 0
        self._busy = False

    def tell(self, event: Event) -> None:
        """`event.not_to` names the session, `event.only_user` the user."""
        session_id, user = event.not_to, event.only_user
        if not self._hub.outside(user, session_id):
            return
        users = self._due.setdefault(session_id, {})
        if user not in users:
            if self._waiting >= WAITING:
                self._send(event, None)
                return
            self._waiting += 1
        elif users[user].seq > event.seq:
            return  # an older message, of which another node tells later
        users[user] = event
        if not self._busy:
            self._busy = True
            self._tasks.spawn(self._work())

    async def _work(self) -> None:
        try:
            while self._due:
                due, self._due, self._waiting = self._due, {}, 0
                async for some in in_steps(due, SESSIONS):
                    await self._tell({session_id: due[session_id] for session_id in some})
        finally:
            self._busy = False

    async def _tell(self, due: dict[str, dict[str, Event]]) -> None:
        counts = await self._counted(due)
        for session_id, events in due.items():
            async for step in in_steps(events.items(), STEP):
                for user, event in step:
                    self._send(event, counts.get((session_id, user)))

    async def _counted(self, asked: dict[str, dict[str, Event]]) -> dict[tuple[str, str], int]:
        users: dict[str, Collection[str]] = {session_id: list(events) for session_id, events in asked.items()}
        try:
            return await self._unread.of(users)
        except StorageError:
            return {}

    def _send(self, event: Event, count: int | None) -> None:
        """A share link's holder is told without: what is read is its user's own."""
        plain = msgspec.structs.replace(event, seq=0)
        told = plain
        if count is not None:
            data = b'%b,"unread_count":%d}' % (event.data[:-1], count)
            told = msgspec.structs.replace(plain, data=data)
        for conn in self._hub.outside(event.only_user, event.not_to):
            conn.send(told if conn.caller.sessions is None else plain)
