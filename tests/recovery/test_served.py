"""How far a room was served: begun once, advanced by cuts, and a fence that falls with the bus."""

import pytest

from events.event import Event, Kind, chunk_event
from events.fence import Fence
from events.hub import Hub
from events.room import Room
from events.seat import Hole
from storage.interfaces import Cut, Mark, RoomState, StreamText


def cut(pos: int) -> Cut:
    return Cut("e", pos, {})


def state(rev: int, text: str = "", chunks: int = 0) -> RoomState:
    streams = {"s": StreamText(text, chunks, 1, False, False)} if chunks else {}
    return RoomState(Mark(rev, rev), rev, True, [], streams)


def message(rev: int, **more: int) -> Event:
    return Event("a", "message", b"{}", Kind.DURABLE, rev=rev, seq=rev, **more)


def test_a_room_begins_with_its_first_cut_and_with_no_other() -> None:
    room = Room("a")
    room.early.append(message(8))
    assert [event.rev for event in room.begin(cut(9), state(7, "hello", 2), ())] == [8]
    assert (room.ready, room.began, room.pos, room.mark) == (True, 9, 9, Mark(7, 7))
    assert (room.have, room.chars) == ({"s": 2}, {"s": 5})
    assert room.begin(cut(12), state(11), ()) == ()
    room.begin_from_sql(Mark(20, 20), [("t", 1, 1)])
    assert (room.began, room.pos, room.mark, room.have) == (9, 9, Mark(7, 7), {"s": 2})


def test_a_room_that_began_without_a_log_has_no_position() -> None:
    room = Room("a")
    room.early.append(message(3))
    room.begin_from_sql(Mark(4, 3), [("s", 2, 5)])
    assert (room.ready, room.pos, room.mark, room.have, room.chars) == (
        True,
        0,
        Mark(4, 3),
        {"s": 2},
        {"s": 5},
    )
    assert room.early == [], "the database has told of it"


def test_what_is_missing_before_an_event_is_a_hole() -> None:
    room = Room("a")
    room.begin(cut(9), state(7, "hello", 2), ())
    with pytest.raises(Hole):
        room.take_durable(message(9))
    with pytest.raises(Hole):
        room.take_chunks(chunk_event("a", "s", 3, ["x"], 0.0), 2)
    assert room.take_durable(message(9, first_rev=8)).rev == 9
    part = room.take_chunks(chunk_event("a", "s", 1, ["lo", "!"], 0.0), 2)
    assert part is not None and (part.index, part.sizes) == (2, (1,))
    assert (room.mark.rev, room.have, room.chars) == (9, {"s": 3}, {"s": 6})


def test_a_fence_falls_with_the_bus_and_with_its_rooms() -> None:
    hub = Hub()
    room = hub.rooms["a"] = Room("a")
    fence = Fence(hub.rooms)
    assert fence.holds() and fence.holds(room)
    hub.rooms["a"] = Room("a")  # everybody left, and somebody entered anew
    assert fence.holds() and not fence.holds(room)
    assert fence.holds(hub.rooms["a"])
    fence.broken = True
    assert not fence.holds() and not fence.holds(hub.rooms["a"])
