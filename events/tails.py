"""Compares a room's last messages with the database: if one of them is missing there, the history is lost,
whatever the counters say (docs/adr/0011)."""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from typing import NamedTuple, Protocol

import msgspec

from events.event import Event, Kind, to_json
from events.room import Room
from events.schema import Message

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


class There(NamedTuple):
    """What the database has of what members were told: the messages, and the revisions of those events whose
    message was changed since that are another message's now, by (room, revision)."""

    messages: Mapping[str, Found]
    given_again: Set[tuple[str, int]]


class Revisions(Protocol):
    async def revisions(self, message_ids: Sequence[str]) -> Mapping[str, Found]:
        """Newest revisions of those of the messages that are there. Raises Unavailable."""

    async def taken(self, room: str, revisions: Sequence[int]) -> Collection[int]:
        """Those of the revisions that are the newest of some message. Raises Unavailable."""


def shown(room: str, messages: Iterable[Message], revision: int) -> Event | None:
    """The change of this revision, as far as it is to be found in the database again; None where a snapshot's
    page does not show it."""
    for message in messages:
        if message.revision == revision:
            data = to_json({"message_id": message.message_id, "edited_at": message.edited_at})
            return Event(room, "message", data, Kind.DURABLE, rev=revision)
    return None


def message_of(event: Event) -> str:
    """The message that a durable event tells of."""
    return _told(event).message_id


def _told(event: Event) -> _Told:
    return msgspec.json.decode(event.data, type=_Told)


async def there(changes: Revisions, events: Collection[Event], more: Iterable[str] = ()) -> There:
    """What there is of these events, and of `more` messages. Raises Unavailable."""
    wanted, found = list({*map(message_of, events), *more}), dict[str, Found]()
    for start in range(0, len(wanted), AT_ONCE):
        found.update(await changes.revisions(wanted[start : start + AT_ONCE]))
    overtaken: dict[str, list[int]] = {}
    for event in events:
        message = found.get(message_of(event))
        if message is not None and message.revision > event.rev:
            overtaken.setdefault(event.room, []).append(event.rev)
    again = {(room, rev) for room, revs in overtaken.items() for rev in await changes.taken(room, revs)}
    return There(found, again)


def holds(event: Event, there: There) -> bool:
    """Of a history that is lost may be a change, too, that a later change of that message hides: then its
    revision is another edit's now, or another message's."""
    told = _told(event)
    found = there.messages.get(told.message_id)
    if found is None or found.revision < event.rev:
        return False
    if found.revision > event.rev:
        return (event.room, event.rev) not in there.given_again
    return found.edited_at == told.edited_at


async def lost(changes: Revisions, rooms: Iterable[Room]) -> list[Room]:
    """Rooms that were told of something that is not in the database. Of the others the last event is looked
    at again next time, whatever comes behind it. Raises Unavailable."""
    told = [(room, room.tail, room.tails()) for room in rooms]
    found = await there(changes, [event for _, _, events in told for event in events])
    gone = []
    for room, tail, events in told:
        if all(holds(event, found) for event in events):
            room.found(tail, events)
        else:
            gone.append(room)
    return gone
