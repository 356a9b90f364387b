"""Things that weigh on a node, by their owner and oldest first. If they weigh too much together, one is
removed; a subclass decides which. Does not know what the things are."""

from typing import Any


class Weighed:
    """At most `most`, by weight; of one place `share`."""

    def __init__(self, most: int, share: int) -> None:
        self.most, self._share = most, share
        self.weight = 0
        self._all: dict[Any, Place] = {}  # the oldest first
        self._places: dict[str, Place] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, one: Any, name: str, weight: int = 1) -> None:
        """A newcomer of the place `name`, also where it was one before."""
        if one in self._all:
            self.discard(one)
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = Place(name)
        self._all[one] = place
        place.ones[one] = weight
        place.weight += weight
        self.weight += weight
        if place.weight > self._share or self.weight > self.most:
            self._make_room(place)

    def grows(self, one: Any, by: int) -> None:
        """It weighs more now, and is as old as before."""
        place = self._all.get(one)
        if place is not None:
            place.ones[one] += by
            place.weight += by
            self.weight += by
            if place.weight > self._share or self.weight > self.most:
                self._make_room(place)

    def discard(self, one: Any) -> None:
        """It is known now, or gone. Idempotent."""
        place = self._all.pop(one, None)
        if place is None:
            return
        weight = place.ones.pop(one)
        place.weight -= weight
        self.weight -= weight
        if not place.ones:
            del self._places[place.name]

    def _make_room(self, place: "Place") -> None:
        """There is too much, in all or in `place`."""
        raise NotImplementedError


class Place:
    __slots__ = ("name", "ones", "weight")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ones: dict[Any, int] = {}  # with what each weighs, the oldest first
        self.weight = 0
