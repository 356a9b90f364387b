"""A room's members are told what a sender is called with the first of its messages that they may not know it
from: whoever joins is told of everybody whom the session has. Knows no SQL and no transport.

Why who joins later knows it, too: a sender counts as told of only where its name was in the database before
the message was committed, and where all names of a session fit into the reply to `join`.
"""

from collections.abc import Mapping

from events.access import Caller
from events.names import Names
from events.room import Room
from storage.ops import Introduction

#: Senders remembered of a room: more than a reply to `join` names.
MOST = 1000


class Introductions:
    """One per node: on another one a sender is told of once more."""

    def __init__(self, names: Names, rooms: Mapping[str, Room]) -> None:
        self._names, self._rooms = names, rooms

    def of(self, session_id: str, caller: Caller) -> Introduction | None:
        """What a message of this caller's has to tell of it; asked before the message is stored."""
        person = caller.person
        if person is None:
            return None
        room = self._rooms.get(session_id)
        if room is not None and room.introduced and room.introduced.get(caller.key) == person:
            return None
        return Introduction(caller.key, person, self._names.is_written(caller.key, person))

    def told(self, session_id: str, one: Introduction) -> None:
        """The message that has it is committed."""
        room = self._rooms.get(session_id)
        if room is None or not room.all_named or not one.written:
            return
        if room.introduced is None or len(room.introduced) >= MOST:
            room.introduced = {}
        room.introduced[one.user_id] = one.person
