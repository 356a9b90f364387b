"""Connections without a request that somebody counts, and WebSockets and polling sessions of which nobody
knows whose they are: bounded by place and in all. Knows no token; who has shown one is taken out by whoever
saw it. Bodies for another node's sessions, whose callers this node does not know either, are counted in the
same way.

Where there are too many, the one that has waited the longest goes, so that a newcomer always gets in: who
means to authenticate does so within milliseconds, and is not here any more when a flood comes round.
"""

import resource
from collections.abc import Callable
from typing import Any, Final

from events.weighed import Place, Weighed

#: Bytes of a request's head, or of an answer that waits, that weigh as much as one more stranger.
HEAD: Final = 4096
#: The part of all that one place may have: the others' newcomers keep a third, and a herd that comes back
#: behind one address finds room.
SHARE: Final = 2 / 3
#: Places, however few connections a node takes in all: one address alone sends hundreds a second, and its
#: neighbours on a small node are to have the time that a handshake over a bad line takes.
LEAST: Final = 4096
#: As many as a node has under any bound on its file descriptors.
FEWEST: Final = 256


def places_for(connections: int) -> int:
    """Places of a node that takes so many connections of those who are known. Long polling has a session and,
    while it asks, a connection; strangers take half of the file descriptors at most."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(LEAST, 2 * connections)
    return most if descriptors == resource.RLIM_INFINITY else min(most, max(FEWEST, descriptors // 2))


class Strangers(Weighed):
    """At most `most`, by weight: connections' transports, polling sessions, bodies on their way. `place_of`
    tells where an address is counted; "" is for those who share nothing but the whole (our own proxies, a
    Unix socket)."""

    def __init__(self, most: int, place_of: Callable[[str], str]) -> None:
        super().__init__(most, int(most * SHARE))
        self.place_of = place_of

    def meet(self, transport: Any) -> str:
        """A connection is a newcomer, or has come a step further and is the youngest again. Its place."""
        place = self._all.pop(transport, None)
        if place is not None:
            self._all[transport] = place
            place.ones[transport] = place.ones.pop(transport)
            return place.name
        peer = transport.get_extra_info("peername")
        name = self.place_of(peer[0] if isinstance(peer, tuple) and peer else "")
        self.add(transport, name)
        return name

    def _make_room(self, place: Place) -> None:
        while place.weight > self._share and place.name:
            self._turn_away(next(iter(place.ones)))
        while self.weight > self.most:
            self._turn_away(next(iter(self._all)))

    def _turn_away(self, one: Any) -> None:
        self.discard(one)
        one.abort()


def meet(config: Any, transport: Any) -> str | None:
    """A connection has been made, goes over to another protocol, or begins to ask for something. Where it is
    counted, if it is. `config` is uvicorn's (`server.engine.run.Config`)."""
    strangers: Strangers | None = getattr(config, "strangers", None)
    return None if strangers is None else strangers.meet(transport)


def weigh(config: Any, transport: Any, size: int) -> None:
    """So many bytes wait for it, and it counts for nobody else."""
    strangers: Strangers | None = getattr(config, "strangers", None)
    if strangers is not None:
        strangers.meet(transport)
        strangers.grows(transport, size // HEAD)


def forget(config: Any, transport: Any) -> None:
    """It has said who it is, or is gone."""
    strangers: Strangers | None = getattr(config, "strangers", None)
    if strangers is not None:
        strangers.discard(transport)
