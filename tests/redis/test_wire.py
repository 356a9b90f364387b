"""Events between nodes of two versions: while a cluster is upgraded they hear each other."""

import msgspec

from storage.interfaces import Event, Kind
from storage.redis import wire

EVENT = Event(
    "room", "stream_end", b"{}", Kind.DURABLE, rev=7, first_rev=5, seq=3, stream="msg", index=2, sizes=(4, 5),
    closed=True, final=9, not_to="conn", only_user="bob", id="ev", epoch="e", pos=11, prev=10,
    at=1.5, mark="m", part="p",
)  # fmt: skip
#: As every version has written it: a new field is added at the end, one that is not used keeps its place.
ARRAY = [
    "room", "stream_end", b"{}", 0, 7, 5, 3, "msg", 2, [4, 5], True, 9, False, "conn", "bob", "ev", "e", 11,
    10, 1.5, "m", "p",
]  # fmt: skip


def test_the_fields_of_an_event_keep_their_places() -> None:
    assert msgspec.msgpack.decode(wire.body(EVENT)) == ARRAY


def test_an_older_or_a_newer_node_is_understood() -> None:
    older = msgspec.msgpack.encode(["room", "typing", b"{}", int(Kind.VOLATILE)])
    assert wire.plain(b"V" + older) == Event("room", "typing", b"{}", Kind.VOLATILE)
    newer = msgspec.msgpack.encode([*ARRAY, "what a later version tells"])
    assert wire.plain(b"V" + newer) == EVENT
