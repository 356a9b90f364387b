"""Bytes that a node holds for its connections: messages that have not ended, and backlogs of slow readers.
All together, by account; the bound of one connection is elsewhere.

If there are too many, one connection is closed: of the account that holds the most, the one that has held
bytes the longest. So a user on one slow line does not pay for another user's thousands.
"""

import asyncio
from typing import Final, Protocol

from events.weighed import Place, Weighed

#: Bytes, in all. The largest message of some hundred clients may be on its way at a time.
MOST: Final = 128 * 1024 * 1024
#: Bytes of one connection that are not counted: the connections themselves are bounded.
SMALL: Final = 4096


class Holder(Protocol):
    """A connection. `account` is None when it is over."""

    @property
    def account(self) -> str | None: ...

    def crowded(self) -> None:
        """Be gone: there is no room for what it holds."""


class Held(Weighed):
    """By account."""

    def __init__(self, most: int = MOST) -> None:
        super().__init__(most, most)

    def change(self, one: Holder, by: int) -> None:
        """It holds so many bytes more, or fewer."""
        place = self._all.get(one)
        if place is None:
            account = one.account
            if by > 0 and account is not None:
                self.add(one, account, by)
        elif place.ones[one] + by > 0:
            self.grows(one, by)
        else:
            self.discard(one)

    def of(self, account: str) -> int:
        place = self._places.get(account)
        return 0 if place is None else place.weight

    def _make_room(self, place: Place) -> None:
        while self.weight > self.most:
            most = max(self._places.values(), key=_weight)
            one = next(iter(most.ones))
            self.discard(one)
            # Not now: its neighbours may be in the middle of being given something.
            asyncio.get_running_loop().call_soon(one.crowded)


def _weight(place: Place) -> int:
    return place.weight
