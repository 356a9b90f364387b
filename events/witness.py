"""Compares what this node's members were told of presence with the present state.

An announcement may be lost (the bus was away, Redis went back, a key was lost, a node died). So each node
remembers what its members believe, compares, and tells them the difference. Knows no store.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec

from events.clock import Clock
from events.delivery import Delivery
from events.event import Event, Kind, make
from storage.interfaces import Presences

#: The belief about a user if members were told different things.
DOUBT = "?"
#: A status of nobody who is there.
GONE = "offline"


class _Told(msgspec.Struct):
    """The payload of a `presence` or `system` event."""

    event: str = ""
    user_id: str = ""
    status: str = ""
    online: int = -1


class Belief:
    """Of one room: each user's status as last told, and the number where numbers are told."""

    __slots__ = ("first", "moved", "number", "suspects", "users")

    def __init__(self) -> None:
        self.users: dict[str, str] | None = None  # None: not known
        self.number = -1
        self.first = ""  # the first one to join, which hears of its own coming, too
        self.moved = False  # by an announcement, which may be older than what was found last
        self.suspects: dict[
            str, str
        ] = {}  # user -> what is so, found once: its announcement may be on its way


class Witness:
    """`listed`: rooms with more users are told a number. Nothing is kept for rooms without members here."""

    def __init__(self, delivery: Delivery, clock: Clock, *, listed: int) -> None:
        self._delivery, self._clock, self._listed = delivery, clock, listed
        self._beliefs: dict[str, Belief] = {}
        delivery.watches |= {"presence": self._status_told, "system": self._coming_told}

    # --- notes of what members hear

    def _coming_told(self, event: Event) -> bool:
        """A user whose change the witness has sent already is not sent again."""
        belief = self._beliefs.get(event.room)
        if belief is None or belief.users is None:
            return True
        told = msgspec.json.decode(event.data, type=_Told)
        if told.event == "user_left":
            return told.user_id in belief.users
        if told.user_id == belief.first:
            return True
        if told.event != "user_joined":
            return True
        if belief.users.get(told.user_id, DOUBT) != DOUBT:
            return False
        belief.users[told.user_id] = DOUBT  # until its status follows, which may be lost
        return True

    def _status_told(self, event: Event) -> bool:
        belief = self._beliefs.get(event.room)
        if belief is None:
            return True
        told = msgspec.json.decode(event.data, type=_Told)
        belief.suspects.pop(told.user_id, None)
        belief.moved = True
        if told.online >= 0:
            belief.number = told.online
            return True
        if belief.users is None:
            return True
        if told.status == GONE:
            return belief.users.pop(told.user_id, None) is not None
        changed = belief.users.get(told.user_id) != told.status or told.user_id == belief.first
        belief.first = ""
        belief.users[told.user_id] = told.status
        return changed

    def entered(self, room: str) -> None:
        """A member is there that may have heard nothing yet: a connection that came back."""
        if room not in self._beliefs:
            self._beliefs[room] = Belief()

    def joined(self, room: str, key: str, online: Presences) -> None:
        """A member, user `key`, was told this list; of its own coming it hears with the others. Where they
        believe something else, all will be told."""
        belief = self._beliefs.setdefault(room, Belief())
        if len(online) > self._listed:
            belief.users, belief.number = None, len(online)
            return
        if belief.users is None:
            belief.users, belief.first = {user: status for user, (status, _) in online.items()}, key
            return
        users = belief.users
        for user, (status, _) in online.items():
            if users.get(user) != status and user != key:
                users[user] = DOUBT
        for user in users.keys() - online.keys():
            users[user] = DOUBT

    # --- what is so

    def doubted(self, rooms: Iterable[str]) -> list[str]:
        """Those of the rooms that have to be looked at again, changed or not."""
        return [room for room in rooms if (belief := self._beliefs.get(room)) is None or _open(belief)]

    def hold(self, found: Mapping[str, Presences | int], truth: Callable[[str, Presences], Presences]) -> int:
        """Compares with what the store has found; `truth` adds what this node knows itself. Sends a
        difference that was found twice. Returns how many were sent."""
        told = 0
        for room, users in found.items():
            if isinstance(users, int):
                told += self._hold_number(room, users)
            else:
                told += self._hold(room, truth(room, users))
        return told

    def _hold(self, room: str, online: Presences) -> int:
        if len(online) > self._listed:
            return self._hold_number(room, len(online))
        belief = self._beliefs.setdefault(room, Belief())
        belief.moved = False
        if belief.users is None:
            belief.users = {user: status for user, (status, _) in online.items()}
            return 0
        differs = {u: status for u, (status, _) in online.items() if belief.users.get(u) != status}
        differs |= dict.fromkeys(belief.users.keys() - online.keys(), GONE)
        sure = {user: status for user, status in differs.items() if belief.suspects.get(user) == status}
        belief.suspects = {user: status for user, status in differs.items() if user not in sure}
        for user, status in sure.items():
            self._tell(room, user, status, belief.users.get(user, GONE))
        return len(sure)

    def _hold_number(self, room: str, number: int) -> int:
        belief = self._beliefs.setdefault(room, Belief())
        belief.users, belief.moved = None, False
        if belief.number in (number, -1):
            belief.number = number
            return 0
        sure = belief.suspects.get("") == str(number)
        belief.suspects = {} if sure else {"": str(number)}
        if sure:
            payload = {"online": number}
            self._delivery.on_volatile((make(room, "presence", Kind.VOLATILE, payload, self._clock()),))
        return int(sure)

    def _tell(self, room: str, user: str, status: str, before: str) -> None:
        """To the members here alone: every node looks after its own."""
        now = self._clock()
        events = [make(room, "presence", Kind.VOLATILE, {"user_id": user, "status": status}, now)]
        came, went = before in (GONE, DOUBT), status == GONE
        if came or went:
            payload = {"event": "user_left" if went else "user_joined", "user_id": user}
            events.insert(0, make(room, "system", Kind.VOLATILE, payload, now))
        self._delivery.on_volatile(events)

    def forget(self, rooms: Collection[str]) -> None:
        """All but these."""
        for room in self._beliefs.keys() - rooms:
            del self._beliefs[room]


def _open(belief: Belief) -> bool:
    return (
        belief.moved or bool(belief.suspects) or (belief.users is not None and DOUBT in belief.users.values())
    )
