"""Who is there is told after what waits of it, to one who comes back and to one who joins."""

from typing import Any, cast

import pytest

from events.access import Caller
from events.delivery import Delivery
from events.event import Kind, make
from events.hub import Hub
from events.outbox import Flusher, Sink
from events.presence import Presence
from events.room import Connection, Member
from events.tasks import Tasks
from server.transports.codecs import SocketIOCodec
from storage.memory import MemoryPresence


class Reader(Sink):
    """Takes what it is given."""

    def write(self, data: bytes) -> None: ...


class There:
    """A `Delivery` as far as presence looks at it."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.watches: dict[str, Any] = {}


@pytest.mark.parametrize("comes_back", [True, False])
async def test_what_waits_is_older_than_the_list(comes_back: bool) -> None:
    """Another node has said of a user that it has gone, late: it has come since."""
    hub, store = Hub(), MemoryPresence(lambda: 0.0, kept=60.0)
    delivery = cast(Delivery, There(hub))
    presence = Presence(store, delivery, lambda: 0.0, Tasks("test"), grace=0.0, events_max=100)
    conn = Connection("c", Caller("user", "bob"), SocketIOCodec(), Reader(Flusher()), "socketio", 0)
    hub.hold(conn)
    member: Member = hub.enter(conn, "room")
    for name, payload in (
        ("system", {"event": "user_left", "user_id": "ann"}),
        ("presence", {"user_id": "ann", "status": "offline"}),
        ("typing", {"user_id": "ann", "is_typing": True}),
    ):
        hub.broadcast(member.room, make("room", name, Kind.VOLATILE, payload, 0.0))
    store.enter("room", "ann", "online")
    if comes_back:
        told = [event.data for event in await presence.news(member, "bob")]
        assert len(told) == 1 and b'"online"' in told[0]
    else:
        assert [user["user_id"] for user in await presence.welcome(member)] == ["ann"]
    assert conn.held is not None and [event.name for _, event in conn.held] == ["typing"]
