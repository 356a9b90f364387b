"""What a node of a cluster does beside serving: its heartbeat, others' announcements, and what stock
Socket.IO emitters say. Knows no Redis: `storage` has the keys, `server.backends` the choice."""

import logging
import time
from typing import Any

import msgspec

from events.custom import custom
from events.errors import ChatError
from events.janitor import Janitor
from events.witness import Witness
from server.backends import Backends
from server.engine.requests import FRAME_OVERHEAD
from server.forwarding import Forwarding
from server.services import Services
from storage.redis.presence import BEAT

log = logging.getLogger("parley.cluster")


class Emit(msgspec.Struct):
    """What `socketio.AsyncRedisManager(write_only=True)` publishes for `emit`: JSON since python-socketio
    5.16; the pickles of older ones are not read."""

    method: str
    event: str
    data: list[Any] = []
    room: str | list[str] | None = None
    namespace: str = "/"
    binary: bool = False
    callback: Any = None


def join(services: Services, backends: Backends, janitor: Janitor) -> None:
    """Wire a node to its cluster."""
    cluster, settings = backends.cluster, services.settings
    if cluster is None:
        return
    presence = services.presence
    presence.witness = Witness(services.delivery, services.clock, listed=settings.presence_events_max)
    janitor.every(settings.node_lease * BEAT, "presence", presence.beat)
    services.at_start.append(presence.first_beat)
    cluster.bus.on_emit = lambda message: emitted(services, message)
    forwarding = Forwarding(
        services.node_id,
        lambda owner: cluster.presence.address(f"node_{owner}"),
        lambda scope: services.address_of(scope.get("client"), scope["headers"]),
        cluster.key,
        time.monotonic,
        patience=settings.ws_heartbeat_interval + settings.ws_ping_timeout,
        most=settings.ws_max_connections,
        max_body=settings.ws_message_size_limit + FRAME_OVERHEAD,
    )
    services.extras["forwarding"] = forwarding
    services.at_stop.append(forwarding.close)


def emitted(services: Services, message: bytes) -> None:
    """An event that a stock emitter published for rooms: to this node's members, under our rules."""
    try:
        emit = msgspec.json.decode(message, type=Emit)
        if emit.method != "emit" or emit.namespace != "/" or emit.binary or emit.callback is not None:
            raise ValueError("only plain events to a room are taken")
        if len(emit.data) != 1:
            raise ValueError("an event has one object")
        rooms = [emit.room] if isinstance(emit.room, str) else emit.room or []
        for room in rooms:
            event = custom(room, emit.event, emit.data[0])
            here = services.hub.rooms.get(room)
            if here is not None:
                services.hub.broadcast(here, event)
    except (ChatError, ValueError, msgspec.MsgspecError) as error:
        services.observer.dropped("emitter")
        log.warning("dropped what a stock emitter sent: %s", getattr(error, "text", None) or error)
