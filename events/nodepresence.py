"""Who is in this node's rooms, as its heartbeat says it to the store. Reads, and changes nothing."""

from collections.abc import Iterator, Mapping
from typing import Any

from events.room import Room
from storage.interfaces import Presences


class NodePresence(Mapping[str, Presences]):
    """This node's part, for its heartbeat, as of the moment it is asked for: room -> user -> (status,
    connections). Who has the grace to come back is there."""

    def __init__(
        self, rooms: Mapping[str, Room], leaving: Mapping[str, Mapping[str, tuple[Any, str]]]
    ) -> None:
        self._rooms, self._leaving = rooms, leaving

    def __iter__(self) -> Iterator[str]:
        here = [name for name, room in self._rooms.items() if room.users]
        return iter(here + [n for n in self._leaving if (r := self._rooms.get(n)) is None or not r.users])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        room = self._rooms.get(name)  # type: ignore[call-overload]
        return (room is not None and bool(room.users)) or name in self._leaving

    def __getitem__(self, name: str) -> Presences:
        room, leaving = self._rooms.get(name), self._leaving.get(name)
        users = {k: (here.status, here.connections) for k, here in room.users.items()} if room else {}
        if leaving:
            users = {key: (status, 1) for key, (_, status) in leaving.items()} | users
        if not users:
            raise KeyError(name)
        return users
