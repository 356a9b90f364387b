"""What users are called, as their tokens say: known here at once, written a little later.

Knows no token and no SQL."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress

from events.access import Caller
from events.clock import Clock, when
from events.identity import agent_id, key_of
from storage.errors import StorageError
from storage.people import Counts, People
from storage.records import MessageRecord, Person

#: Users remembered, so that each is written once, and at most written together.
REMEMBERED, TOGETHER = 50_000, 1_000


class Names:
    """One per node."""

    def __init__(self, people: People, clock: Clock) -> None:
        self._people, self._clock = people, clock
        self._known: dict[str, Person] = {}
        self._due: dict[str, Person] = {}
        self._written: dict[str, Person] = {}  # at this moment
        self._erased: set[str] = set()  # who may be written by what is under way

    def heard(self, caller: Caller) -> None:
        """Of everybody whose token was good. Does not block. A share link's holders name nobody: the user of
        that `sub` has a name of his own."""
        person, key = caller.person, caller.key
        if person is None or self._known.get(key) == person:
            return
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[key] = person
        if len(self._due) < REMEMBERED:
            self._due[key] = person

    def of(self, user_id: str) -> Person | None:
        """What is not written yet."""
        return self._due.get(user_id)

    def over(self, found: dict[str, Person], user_ids: Iterable[str]) -> dict[str, Person]:
        """What the database has of these users, with what is not written yet."""
        if self._due:
            found |= {user: self._due[user] for user in user_ids if user in self._due}
        return found

    async def of_all(self, user_ids: Collection[str]) -> dict[str, Person]:
        """Those who have a name or a picture. Raises Unavailable."""
        return self.over(await self._people.of(user_ids), user_ids) if user_ids else {}

    async def of_page(
        self, session_id: str, records: Sequence[MessageRecord]
    ) -> tuple[Counts, dict[str, Person]]:
        """What a page says of its session, and who sent its messages, by key. Raises Unavailable."""
        users = {key_of("user", r.sender_id) for r in records if r.sender_type == "user"}
        agents = {int(r.sender_id) for r in records if r.sender_type == "agent" and agent_id(r.sender_id)}
        counts, found = await self._people.counts(session_id, users, agents)
        return counts, self.over(found, users)

    def is_written(self, user_id: str, person: Person) -> bool:
        """Whether who asks the database from now on finds this, unless another token says otherwise."""
        return user_id not in self._due and self._known.get(user_id) == person

    async def flush(self) -> None:
        """Raises Unavailable; what was not written stays due."""
        while self._due or self._erased:
            for user_id in tuple(self._erased):
                await self._people.erase(user_id)
                self._erased.discard(user_id)
            some = self._written = dict(list(self._due.items())[:TOGETHER])
            if some:
                await self._people.put(some, when(self._clock()))
            for user_id, person in some.items():
                if self._due.get(user_id) is person:
                    del self._due[user_id]
            self._written = {}

    async def erase(self, user_id: str) -> None:
        """Raises Unavailable."""
        self.forget(user_id)
        await self._people.erase(user_id)

    def forget(self, user_id: str) -> None:
        """Erased, here or by another node: what is heard from now on counts alone."""
        self._known.pop(user_id, None)
        self._due.pop(user_id, None)
        if user_id in self._written:
            self._erased.add(user_id)

    async def forget_all(self) -> None:
        """Each is written anew when it is heard again."""
        self._known.clear()

    async def stop(self) -> None:
        """What is not written is heard again with the next token."""
        with suppress(StorageError):
            await self.flush()
