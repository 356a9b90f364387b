"""What a room was told last, held against the database: a history that was lost shows by the message that is
not there any more, whatever the counters say (docs/adr/0011).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from events.event import Event
from events.hub import Room

#: Messages looked for in one statement.
AT_ONCE = 1000


class _Told(msgspec.Struct):
    """Of an event's payload."""

    message_id: str


class Revisions(Protocol):
    async def revisions(self, message_ids: Sequence[str]) -> Mapping[str, int]:
        """Newest revisions of those of the messages that are there. Raises Unavailable."""


def message_of(event: Event) -> str:
    """The message that a durable event tells of."""
    return msgspec.json.decode(event.data, type=_Told).message_id


async def revisions(changes: Revisions, message_ids: Iterable[str]) -> dict[str, int]:
    """The same of any number. Raises Unavailable."""
    wanted, there = list(message_ids), dict[str, int]()
    for start in range(0, len(wanted), AT_ONCE):
        there.update(await changes.revisions(wanted[start : start + AT_ONCE]))
    return there


def holds(event: Event, there: Mapping[str, int]) -> bool:
    return there.get(message_of(event), 0) >= event.rev


def tails(room: Room) -> list[Event]:
    """What is held against the database, the oldest first."""
    return [event for event in (room.doubt, room.tail) if event is not None]


async def lost(changes: Revisions, rooms: Iterable[Room]) -> list[Room]:
    """Rooms that were told of something that is not in the database. Of the others the last event is looked
    at again next time, whatever comes behind it. Raises Unavailable."""
    told = [(room, room.tail, tails(room)) for room in rooms]
    there = await revisions(changes, {message_of(event) for _, _, events in told for event in events})
    gone = []
    for room, tail, events in told:
        if not all(holds(event, there) for event in events):
            gone.append(room)
        elif room.doubt in (None, *events):
            room.doubt = tail
    return gone
