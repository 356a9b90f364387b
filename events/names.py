"""Users' names, as their tokens give them: known here at once, written a little later. Knows no token and no
SQL."""

from contextlib import suppress

from events.access import Caller
from storage.errors import StorageError
from storage.people import People

#: Names remembered, so that each is written once, and at most written together.
REMEMBERED, TOGETHER = 50_000, 1_000


class Names:
    """One per node."""

    def __init__(self, people: People) -> None:
        self._people = people
        self._known: dict[str, str] = {}
        self._new: dict[str, str] = {}

    def heard(self, caller: Caller) -> None:
        """Of everybody whose token was good. Does not block. A share link's holders name nobody: the user of
        that `sub` has a name of his own."""
        name, key = caller.name, caller.key
        if (
            name is None
            or caller.role != "user"
            or caller.sessions is not None
            or self._known.get(key) == name
        ):
            return
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[key] = name
        if len(self._new) < REMEMBERED:
            self._new[key] = name

    def of(self, user_id: str) -> str | None:
        """What is not written yet."""
        return self._new.get(user_id)

    async def flush(self) -> None:
        """Raises Unavailable; what was not written stays due."""
        while self._new:
            due = dict(list(self._new.items())[:TOGETHER])
            for user_id in due:
                del self._new[user_id]
            try:
                await self._people.put(due)
            except StorageError:
                self._new = due | self._new
                raise

    async def erase(self, user_id: str) -> None:
        """Raises Unavailable."""
        self._known.pop(user_id, None)
        self._new.pop(user_id, None)
        await self._people.erase(user_id)

    async def forget_all(self) -> None:
        """Each is written anew when it is heard again."""
        self._known.clear()

    async def stop(self) -> None:
        """What is not written is heard again with the next token."""
        with suppress(StorageError):
            await self.flush()
