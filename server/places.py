"""Whether a caller may have another connection on this node. There are `most`; identities and networks share
them.

An identity may have as many as are still free ("dynamic thresholds", Choudhury and Hahne, 1998): one alone
gets half of the node, and where fifty want all, each gets a fiftieth and as much again stays free. The last
tenth is for identities with one connection at most. Networks share only the last twentieth, because everybody
behind a proxy that is not in TRUSTED_PROXIES, or behind an office's address, comes from one network.

An admitted connection is in the hub before the loop's next turn, or has a place kept until then.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from events.access import Caller
from events.bounds import LINK, OPERATORS
from events.errors import ServerFull
from events.hub import Hub
from events.room import Connection
from server.identity.peer import network_of

#: Parts of all places that are kept for identities with one connection at most, and for other networks than
#: the one that has more than half of all.
RESERVE, NETWORK_RESERVE = 10, 20
#: Seconds until networks are counted again: a count looks at every connection, and only a node that is nearly
#: full needs one. In between those who come are added, and those who go are not taken away.
COUNTED = 1.0


class Places:
    """`clock` in seconds, monotonic."""

    def __init__(self, hub: Hub, most: int, clock: Callable[[], float]) -> None:
        self._hub, self._most, self._clock = hub, most, clock
        self._scarce = most // NETWORK_RESERVE
        self._kept: dict[Connection, None] = {}
        self._kept_for: Counter[str] = Counter()  # by account, and by share link
        self._networks: Counter[str] = Counter()  # nobody's while there is room for all networks
        self._counted = float("-inf")

    @property
    def full(self) -> bool:
        return len(self._hub.connections) + len(self._kept) >= self._most

    @contextmanager
    def kept(self, conn: Connection, old: Connection | None) -> Iterator[None]:
        """A place for a connection whose recovery takes a while; when it ends, the hub has the connection, or
        nobody. `old`: the one here that it takes over, if its account is the same; until then that one
        has a place of its own. Raises ServerFull."""
        caller = conn.caller
        same = old is not None and old.caller.account == caller.account
        self.admit(caller, conn.address, leaving=int(same))
        names = [caller.account] if caller.link is None else [caller.account, caller.link]
        self._kept[conn] = None
        self._kept_for.update(names)
        try:
            yield
        finally:
            del self._kept[conn]
            self._kept_for.subtract(names)
            for name in names:
                if not self._kept_for[name]:
                    del self._kept_for[name]

    def admit(self, caller: Caller, address: str, *, leaving: int = 0) -> None:
        """`leaving`: how many of the caller's connections go when this one comes. Raises ServerFull."""
        free = self._most - len(self._hub.connections) - len(self._kept)
        if free <= 0:
            raise ServerFull
        if caller.role in OPERATORS:
            return
        mine = len(self._hub.of_account(caller)) - leaving
        if self._kept_for:
            mine += self._kept_for[caller.account]
        if caller.link is not None:
            if mine > 1 and mine * LINK > free:
                raise ServerFull("this share link has as many connections from there as there is room for")
            mine = len(self._hub.of_link(caller)) + self._kept_for[caller.link] - leaving
        if mine > 1 and (mine > free or free <= self._most // RESERVE):
            raise ServerFull("this user has as many connections as there is room for")
        if self._networks or free <= 2 * self._scarce:
            self._from(address, free)

    def _from(self, address: str, free: int) -> None:
        """Raises ServerFull where a network has more than half of all, and is not the only one."""
        if free > 2 * self._scarce:
            self._networks.clear()
            self._counted = float("-inf")
            return
        network = network_of(address)
        if free <= self._scarce:
            self._count()
            if len(self._networks) > 1 and self._networks[network] > self._most // 2:
                raise ServerFull("this network has as many connections as there is room for")
        if self._networks:
            self._networks[network] += 1

    def _count(self) -> None:
        now = self._clock()
        if now - self._counted > COUNTED:
            self._counted = now
            all_here = (*self._hub.connections.values(), *self._kept)
            self._networks = Counter(network_of(conn.address) for conn in all_here)
