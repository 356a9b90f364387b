"""Whether the database is still the one that this node's rooms were served from: what members were told of is
looked up, wherever there is a doubt (docs/adr/0011).
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from events.delivery import Delivery
from events.event import Event
from events.history import History
from events.rewind import Rewind
from events.room import Room
from events.tails import lost, message_of
from storage.errors import StorageError
from storage.records import SessionState


class Remade(Protocol):
    """Sessions by their ids (`events.sessions` implements it)."""

    async def remade(self, room: Room) -> bool:
        """Whether another session has this room's id now; ends the memberships of the one before."""


class Proving:
    """What is found is told to `history`. A node that was served from another one leaves the bus, and comes
    back by `rewind`."""

    def __init__(self, delivery: Delivery, sessions: Remade, history: History, rewind: Rewind) -> None:
        self._delivery, self._sessions = delivery, sessions
        self._history, self._rewind = history, rewind
        delivery.behind, delivery.logs.doubted, delivery.proved = self.behind, self.doubted, self.proved

    async def look_back(self, lineage: str, rooms: Mapping[str, tuple[int, SessionState]]) -> None:
        """Whether the database is still the one that the rooms were served from. Raises Unavailable."""
        hub = self._delivery.hub
        left = list(hub.left)
        await self._history.check()
        behind = [name for name, (served, state) in rooms.items() if state.last_revision < served]
        behind = [name for name in behind if not await self._remade(name)]
        if behind and self._history.name == self._rewind.served == lineage:
            served, state = rooms[behind[0]]
            text = f"a session is at revision {state.last_revision}, its members were at {served}"
            await self._history.went_back(lineage, text)
        self.leave_behind()
        there = [room for name in rooms if (room := hub.rooms.get(name)) is not None]
        if await self.all_proved([*there, *left], lineage):
            hub.proved(left)

    async def _remade(self, name: str) -> bool:
        room = self._delivery.hub.rooms.get(name)
        return room is not None and await self._sessions.remade(room)

    async def all_proved(self, rooms: Iterable[Room], lineage: str) -> bool:
        """Whether the database, of `lineage`, has what the members of these were told of last. Raises
        Unavailable."""
        for room in await lost(self._delivery.changes, rooms):
            if await self._delivery.changes.mark(room.name) is None or await self._sessions.remade(room):
                continue  # the session itself is gone
            await self.behind("a message that members were told of is not there", lineage)
            return False
        return True

    async def proved(self, room: Room) -> bool:
        try:
            return await self.all_proved([room], self._rewind.served)
        except StorageError:
            return False  # the poll will look

    def leave_behind(self) -> None:
        if self._rewind.served and self._history.name != self._rewind.served:
            self._delivery.lost()

    async def behind(self, why: str, served: str = "") -> None:
        """`served`: the lineage that was good when that was found. Raises Unavailable."""
        served = served or self._rewind.served
        await self._history.check()
        if self._history.name == served == self._rewind.served:
            await self._history.went_back(served, why)
        self.leave_behind()

    async def doubted(self, room: str, events: Sequence[Event]) -> None:
        """Committed just now, and known to the log: another node saw them first, or these revisions were
        given out before, on a history that is lost."""
        served = self._rewind.served
        mine = {event.rev: message_of(event) for event in events}
        with suppress(StorageError):
            state = (await self._delivery.log.read({room: 0})).rooms[room]
            # First what needs no question to the database: until this is said, members are served a mixture.
            known = {e.rev: message_of(e) for e in state.entries if e.rev in mine and e.data} if state else {}
            if any(known[rev] != mine[rev] for rev in known):
                await self.behind("revisions were given out a second time", served)
                return
            mark = await self._delivery.changes.mark(room)
            if state is not None and mark is not None and mark.rev < state.last.rev:
                text = f"a session is at revision {mark.rev}, its log at {state.last.rev}"
                await self.behind(text, served)
                return
            here = self._delivery.hub.rooms.get(room)
            await self.all_proved([here] if here is not None else [], served)
