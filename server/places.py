"""Who may have another connection on this node. There are `most`; identities and networks share them.

An identity may have as many as are still free ("dynamic thresholds", Choudhury and Hahne, 1998): one alone
gets half of the node, and where fifty want all, each gets a fiftieth and as much again stays free. The last
tenth is for identities with one connection at most. Networks share only the last twentieth: behind a proxy
that is not in TRUSTED_PROXIES, or one office's address, everybody comes from one.
"""

from collections import Counter
from collections.abc import Callable

from events.access import Caller
from events.bounds import LINK, OPERATORS
from events.errors import ServerFull
from events.hub import Hub
from server.peer import network_of

#: Parts of all places that are kept for identities with one connection at most, and for other networks than
#: the one that has more than half of all.
RESERVE, NETWORK_RESERVE = 10, 20
#: Seconds for which a count of networks holds: it looks at every connection, and only a node that is nearly
#: full needs one.
COUNTED = 1.0


class Places:
    """`clock` in seconds, monotonic."""

    def __init__(self, hub: Hub, most: int, clock: Callable[[], float]) -> None:
        self._hub, self._most, self._clock = hub, most, clock
        self._networks: Counter[str] = Counter()
        self._counted = float("-inf")

    @property
    def full(self) -> bool:
        return len(self._hub.connections) >= self._most

    def any_left(self) -> None:
        """Before anybody has said who is calling. Raises ServerFull."""
        if self.full:
            raise ServerFull

    def admit(self, caller: Caller, address: str) -> None:
        """Raises ServerFull."""
        free = self._most - len(self._hub.connections)
        if free <= 0:
            raise ServerFull
        if caller.role in OPERATORS:
            return
        mine = len(self._hub.of_account(caller))
        if caller.link is not None:
            if mine > 1 and mine * LINK > free:
                raise ServerFull("this share link has as many connections from there as there is room for")
            mine = len(self._hub.of_link(caller))
        if mine > 1 and (mine > free or free <= self._most // RESERVE):
            raise ServerFull("this user has as many connections as there is room for")
        if free <= self._most // NETWORK_RESERVE and self._crowds_out(network_of(address)):
            raise ServerFull("this network has as many connections as there is room for")

    def _crowds_out(self, network: str) -> bool:
        """Whether it has more than half of all, and is not the only one."""
        now = self._clock()
        if now - self._counted > COUNTED:
            self._counted = now
            self._networks = Counter(network_of(conn.address) for conn in self._hub.connections.values())
        return len(self._networks) > 1 and self._networks[network] > self._most // 2
