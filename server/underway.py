"""How much may be under way at a time, by address and in all. Knows not what."""

from collections import Counter

from server.identity import peer


class Underway:
    """`most` in all, `each` for one address (an IPv6 subscriber's /64 is one); where all come from one, as by
    a proxy, it has all but another's share."""

    def __init__(self, most: int, each: int) -> None:
        self._most, self._each = most, min(each, most)
        self._alone = max(self._each, most - each)
        self._by_address: Counter[str] = Counter()
        self._all = 0

    def enter(self, address: str) -> int:
        """0 where one more is let in; it has to `leave`. Else the status that tells why not: 429 for too many
        of this address, 503 for too many in all."""
        address = peer.network_of(address)
        mine = self._by_address.get(address, 0)
        if mine >= (self._alone if mine == self._all else self._each):
            return 429
        if self._all >= self._most:
            return 503
        self._by_address[address] += 1
        self._all += 1
        return 0

    def leave(self, address: str) -> None:
        address = peer.network_of(address)
        self._all -= 1
        self._by_address[address] -= 1
        if self._by_address[address] <= 0:
            del self._by_address[address]
