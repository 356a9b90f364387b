"""Who joins is served with the others, as soon as nothing lies between."""

from events.access import Caller
from events.event import Event, Kind
from events.hub import Hub
from events.outbox import Flusher, Sink
from events.room import Connection, Member, Room
from server.transports.codecs import SocketIOCodec
from storage.interfaces import Cut, Mark, RoomState


class Reader(Sink):
    """Takes what it is given."""

    def write(self, data: bytes) -> None: ...


def room_at(hub: Hub, pos: int) -> Room:
    """A room that was served all of its log up to a position."""
    room = hub.rooms["a"] = Room("a")
    room.ready, room.pos = True, pos
    return room


def joined(hub: Hub, name: str, cut: int) -> Member:
    conn = Connection(name, Caller("user", name), _codec, Reader(Flusher()), "socketio", 0)
    member = hub.enter(conn, "a")
    member.pos = cut
    return member


def state(pos: int) -> RoomState:
    return RoomState(Mark(0, 0), pos, True, [], {})


class _Counting(SocketIOCodec):
    """Counts how often it encodes."""

    count = 0

    def encode(self, event: Event) -> bytes:
        self.count += 1
        return super().encode(event)


_codec = _Counting()


async def test_an_event_is_encoded_once_for_all_who_have_joined() -> None:
    hub = Hub()
    room = room_at(hub, 5)
    # Other rooms' entries have moved the position on; the last of this room's is at 5.
    members = [joined(hub, f"user{n}", 9) for n in range(3)]
    room.advance(Cut("e", 9, {}), state(5))
    for member in members:
        room.level(member)
    assert not room.guarded
    _codec.count = 0
    hub.broadcast(room, Event("a", "typing", b"{}", Kind.VOLATILE))
    assert _codec.count == 1


def test_who_is_ahead_of_the_room_is_guarded() -> None:
    hub = Hub()
    room = room_at(hub, 5)
    member = joined(hub, "alice", 9)
    room.advance(Cut("e", 9, {}), state(7))  # an entry at 7 is still on its way here
    room.level(member)
    assert room.pos == 5
    assert list(room.guarded.values()) == [member]


def test_a_room_is_never_put_back() -> None:
    room = room_at(Hub(), 12)
    room.advance(Cut("e", 9, {}), state(7))
    assert room.pos == 12


async def test_who_is_cut_off_on_the_way_takes_nothing_from_the_others() -> None:
    """Also where it is the last that its codec serves."""
    hub = Hub()
    room = room_at(hub, 5)
    other = _Counting()
    for name, codec in (("slow", SocketIOCodec()), ("well", other)):
        member = joined(hub, name, 5)
        hub.spoil(member.conn, codec)
    slow = hub.rooms["a"].members
    cut = next(conn for conn in slow if conn.id == "slow")
    cut.sink.cut = lambda: hub.remove(cut) and None  # type: ignore[method-assign]
    cut.sink.pause(1)
    assert hub.broadcast(room, Event("a", "read", b"{}", Kind.LOGGED)) == 1
    assert other.count == 1 and cut not in room.members
