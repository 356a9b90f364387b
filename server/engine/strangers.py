"""Connections with no request under way, and WebSockets and polling sessions of which nobody knows whose they
are: bounded by place and in all. Knows no token; who has shown one is taken out by whoever saw it. Bodies for
another node's sessions, whose callers this node does not know either, are counted in the same way.

Where there are too many, the one that has waited the longest goes, so that a newcomer always gets in: who
means to authenticate does so within milliseconds, and is not here any more when a flood comes round.
"""

import resource
from collections.abc import Callable
from typing import Any, Final, Protocol

#: Bytes of a request's head that weigh as much as one more stranger.
HEAD: Final = 4096
#: The part of all that one place may have: the others' newcomers keep a third, and a herd that comes back
#: behind one address finds room.
SHARE: Final = 2 / 3
#: Places, however few connections a node takes in all: one address alone sends hundreds a second, and its
#: neighbours on a small node are to have the time that a handshake over a bad line takes.
LEAST: Final = 4096
#: As many as a node has under any bound on its file descriptors.
FEWEST: Final = 256


class Stranger(Protocol):
    def turned_away(self) -> None:
        """There are too many: be gone."""


def places_for(connections: int) -> int:
    """Places of a node that takes so many connections of those who are known. Long polling has a session and,
    while it asks, a connection; strangers take half of the file descriptors at most."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(LEAST, 2 * connections)
    return most if descriptors == resource.RLIM_INFINITY else min(most, max(FEWEST, descriptors // 2))


class Strangers:
    """At most `most`, by weight. `place_of` tells where an address is counted; "" is for those who share
    nothing but the whole (our own proxies, a Unix socket)."""

    def __init__(self, most: int, place_of: Callable[[str], str]) -> None:
        self.most, self._share = most, int(most * SHARE)
        self.place_of = place_of
        self.weight = 0
        self._all: dict[Stranger, tuple[str, int]] = {}  # the oldest first
        self._places: dict[str, _Place] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, one: Stranger, place: str, weight: int = 1) -> None:
        self.discard(one)
        self._all[one] = (place, weight)
        self.weight += weight
        found = self._places.get(place)
        if found is None:
            found = self._places[place] = _Place()
        found.ones[one] = None
        found.weight += weight
        self._keep_within(place)

    def grows(self, one: Stranger, by: int) -> None:
        """It weighs more now, and is as old as before."""
        entry = self._all.get(one)
        if entry is None:
            return
        place, weight = entry
        self._all[one] = (place, weight + by)
        self.weight += by
        self._places[place].weight += by
        self._keep_within(place)

    def _keep_within(self, place: str) -> None:
        found = self._places[place]
        if place:
            while found.weight > self._share:
                self._turn_away(next(iter(found.ones)))
        while self.weight > self.most:
            self._turn_away(next(iter(self._all)))

    def discard(self, one: Stranger) -> None:
        """It is known now, or gone. Idempotent."""
        entry = self._all.pop(one, None)
        if entry is None:
            return
        place, weight = entry
        self.weight -= weight
        found = self._places[place]
        del found.ones[one]
        found.weight -= weight
        if not found.ones:
            del self._places[place]

    def _turn_away(self, one: Stranger) -> None:
        self.discard(one)
        one.turned_away()


class _Place:
    __slots__ = ("ones", "weight")

    def __init__(self) -> None:
        self.ones: dict[Stranger, None] = {}
        self.weight = 0


def of(config: Any) -> Strangers | None:
    """Those of the application that a protocol class of uvicorn serves, if it counts them."""
    found: Strangers | None = getattr(getattr(config, "loaded_app", None), "strangers", None)
    return found


def meet(config: Any, one: Stranger, transport: Any) -> str | None:
    """A connection has been made, or begins to ask for something. Where it is counted, if it is."""
    strangers = of(config)
    if strangers is None:
        return None
    peer = transport.get_extra_info("peername")
    place = strangers.place_of(peer[0] if isinstance(peer, tuple) and peer else "")
    strangers.add(one, place)
    return place


def forget(config: Any, one: Stranger) -> None:
    """It is gone, or somebody else's now."""
    strangers = of(config)
    if strangers is not None:
        strangers.discard(one)
