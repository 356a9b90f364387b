"""What members were told of who is there, held against what the store has."""

from typing import Any, cast

from events.delivery import Delivery
from events.event import Event, Kind, make
from events.witness import Witness
from storage.interfaces import Presences

THERE = {"ann": ("online", 1), "bob": ("online", 1)}


class Told:
    """A `Delivery` that keeps what it is to tell."""

    def __init__(self) -> None:
        self.watches: dict[str, Any] = {}
        self.events: list[Event] = []

    def on_volatile(self, events: list[Event]) -> None:
        self.events += [event for event in events if self.watches[event.name](event)]


def _as_found(room: str, online: Presences) -> Presences:
    return online


def test_an_announcement_that_is_older_than_what_was_found_last() -> None:
    """The store has said "there" already, and says it again to whoever asks: the room has to be asked for."""
    told = Told()
    witness = Witness(cast(Delivery, told), lambda: 0.0, listed=100)
    witness.joined("room", "ann", THERE)
    assert witness.hold({"room": THERE}, _as_found) == 0
    assert witness.doubted(["room"]) == []
    told.on_volatile([make("room", "presence", Kind.VOLATILE, {"user_id": "bob", "status": "offline"}, 0.0)])
    assert witness.doubted(["room"]) == ["room"]
    assert (
        witness.hold({"room": THERE}, _as_found) == 0
    )  # found once: the other announcement may be on its way
    assert witness.doubted(["room"]) == ["room"]
    assert witness.hold({"room": THERE}, _as_found) == 1
    assert [event.name for event in told.events][-2:] == ["system", "presence"]
    assert witness.hold({"room": THERE}, _as_found) == 0
    assert witness.doubted(["room"]) == []


def test_a_coming_whose_status_was_lost() -> None:
    """The two are told one after the other, and the bus may break in between."""
    told = Told()
    witness = Witness(cast(Delivery, told), lambda: 0.0, listed=100)
    alone = {"ann": THERE["ann"]}
    witness.joined("room", "ann", alone)
    came = make("room", "system", Kind.VOLATILE, {"event": "user_joined", "user_id": "cho"}, 0.0)
    told.on_volatile([came])
    assert [event.name for event in told.events] == ["system"]
    assert witness.doubted(["room"]) == ["room"]
    assert witness.hold({"room": alone}, _as_found) == 0
    assert witness.hold({"room": alone}, _as_found) == 1
    assert [event.name for event in told.events[1:]] == ["system", "presence"]
    assert b"user_left" in told.events[1].data and b"offline" in told.events[2].data
