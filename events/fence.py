"""Whether what was read a while ago still holds: the bus was not lost since, and the rooms are the same."""

from collections.abc import Mapping

from events.room import Room


class Fence:
    """One stretch of time in which a node hears the bus; `Delivery.fence` is that of now, or of last time."""

    __slots__ = ("_rooms", "broken")

    def __init__(self, rooms: Mapping[str, Room]) -> None:
        self._rooms = rooms
        self.broken = False  # the bus was lost

    def holds(self, *rooms: Room) -> bool:
        """A room that everybody left, and somebody entered anew, is another room."""
        if self.broken:
            return False
        for room in rooms:  # noqa: SIM110
            if self._rooms.get(room.name) is not room:
                return False
        return True
