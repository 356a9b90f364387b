"""How far the members of a room have what a database that went back has (`events.rewind.common`)."""

from events.event import Event, Kind
from events.rewind import common
from events.room import Room
from events.tails import Found, There
from storage.interfaces import Mark


def message(rev: int) -> Event:
    data = b'{"message_id":"msg_%d"}' % rev
    return Event("room", "message", data, Kind.DURABLE, rev=rev, seq=rev)


def found(messages: dict[str, Found], *given_again: int) -> There:
    return There(messages, {("room", rev) for rev in given_again})


def served(upto: int) -> Room:
    room = Room("room")
    room.delivered = room.seq = upto
    room.tail = message(upto)
    return room


def test_the_log_reaches_to_where_the_database_is() -> None:
    logged = [message(rev) for rev in range(1, 9)]
    there = found({f"msg_{rev}": Found(rev, None) for rev in range(1, 6)})
    assert common(served(8), logged, there, Mark(5, 5)) == Mark(5, 5)


def test_the_log_begins_above_where_the_database_is() -> None:
    """It had been emptied before, and began anew with the eleventh: nobody may wait for less than that."""
    logged = [message(rev) for rev in range(11, 17)]
    assert common(served(16), logged, found({}), Mark(6, 6)) == Mark(6, 6)


def test_all_is_lost() -> None:
    """The database has grown past it meanwhile: nobody may take new messages for known ones."""
    assert common(served(1), [], found({}), Mark(3, 3)) == Mark(0, 0)


def test_nothing_is_lost() -> None:
    logged = [message(rev) for rev in range(1, 4)]
    there = found({f"msg_{rev}": Found(rev, None) for rev in range(1, 4)})
    assert common(served(3), logged, there, Mark(3, 3)) is None


def test_another_edit_has_the_revision_of_a_lost_one() -> None:
    room = served(2)
    data = b'{"message_id":"msg_1","edited_at":"2026-01-01T00:00:00.000Z"}'
    room.tail = Event("room", "message_updated", data, Kind.DURABLE, rev=2)
    logged = [message(1), room.tail]
    there = found({"msg_1": Found(2, "2026-01-01T00:00:05.000Z")})
    assert common(room, logged, there, Mark(2, 1)) == Mark(1, 1)
    there = found({"msg_1": Found(2, "2026-01-01T00:00:00.000Z")})
    assert common(room, logged, there, Mark(2, 1)) is None


def test_a_later_edit_hides_a_lost_one_whose_revision_another_message_has() -> None:
    room = served(2)
    data = b'{"message_id":"msg_1","edited_at":"2026-01-01T00:00:00.000Z"}'
    room.tail = Event("room", "message_updated", data, Kind.DURABLE, rev=2)
    logged = [message(1), room.tail]
    edited = {"msg_1": Found(3, "2026-01-01T00:00:05.000Z")}
    assert common(room, logged, found(edited, 2), Mark(3, 2)) == Mark(1, 2)
    assert common(room, logged, found(edited), Mark(3, 2)) is None
