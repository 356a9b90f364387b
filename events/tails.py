"""Compares a room's last messages with the database: if one of them is missing there, the history is lost,
whatever the counters say (docs/adr/0011)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from events.event import Event
from events.room import Room

#: Messages looked for in one statement.
AT_ONCE = 1000


class _Told(msgspec.Struct):
    """Of an event's payload."""

    message_id: str
    edited_at: str | None = None


class Found(NamedTuple):
    """A message as the database has it."""

    revision: int
    edited_at: str | None


class Revisions(Protocol):
    async def revisions(self, message_ids: Sequence[str]) -> Mapping[str, Found]:
        """Newest revisions of those of the messages that are there. Raises Unavailable."""


def message_of(event: Event) -> str:
    """The message that a durable event tells of."""
    return _told(event).message_id


def _told(event: Event) -> _Told:
    return msgspec.json.decode(event.data, type=_Told)


async def revisions(changes: Revisions, message_ids: Iterable[str]) -> dict[str, Found]:
    """The same of any number. Raises Unavailable."""
    wanted, there = list(message_ids), dict[str, Found]()
    for start in range(0, len(wanted), AT_ONCE):
        there.update(await changes.revisions(wanted[start : start + AT_ONCE]))
    return there


def holds(event: Event, there: Mapping[str, Found]) -> bool:
    """Of a history that is lost may be an edit, too, whose revision another edit of that message has now."""
    told = _told(event)
    found = there.get(told.message_id)
    if found is None or found.revision < event.rev:
        return False
    return found.revision > event.rev or found.edited_at == told.edited_at


async def lost(changes: Revisions, rooms: Iterable[Room]) -> list[Room]:
    """Rooms that were told of something that is not in the database. Of the others the last event is looked
    at again next time, whatever comes behind it. Raises Unavailable."""
    told = [(room, room.tail, room.tails()) for room in rooms]
    there = await revisions(changes, {message_of(event) for _, _, events in told for event in events})
    gone = []
    for room, tail, events in told:
        if all(holds(event, there) for event in events):
            room.found(tail, events)
        else:
            gone.append(room)
    return gone
