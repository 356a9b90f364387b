"""What a node of a cluster does beside serving: its heartbeat, others' announcements, and what stock
Socket.IO emitters say. Knows no Redis: `storage` has the keys, `server.backends` the choice."""

import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from events.clock import Clock, when
from events.custom import custom
from events.errors import ChatError
from events.janitor import Janitor
from events.witness import Witness
from server import peer
from server.backends import Backends
from server.engine.requests import FRAME_OVERHEAD
from server.forwarding import Forwarding
from server.services import Services
from storage.errors import StorageError, Unavailable
from storage.held import Held
from storage.redis.presence import BEAT

log = logging.getLogger("parley.cluster")

#: Seconds after which what was held in an outage is cleared away.
FORGET_EVERY = 600.0


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
    stall = services.dispatcher.stall
    if stall is not None:
        stall.look = partial(_find_out, services)
        services.at_start.append(stall.start)
        services.at_stop.append(stall.stop)
    outage = _Outage(Held(services.database), services.clock, settings.node_lease)

    async def beat() -> None:
        try:
            await presence.beat()
        except Unavailable:
            await outage.hold_nodes([services.node_id])
            raise

    janitor.every(settings.node_lease * BEAT, "presence", beat)
    janitor.every(FORGET_EVERY, "holds of outages", outage.forget)
    services.at_start.append(presence.beat_at_once)

    async def back() -> None:
        services.tasks.spawn(presence.beat_at_once())

    services.healer.on_live.append(back)
    cluster.presence.vouch = outage.live_nodes
    services.leases.hold, services.leases.held = outage.hold_streams, outage.live_streams
    cluster.bus.on_emit = lambda message: emitted(services, message)
    forwarding = Forwarding(
        services.node_id,
        lambda owner: cluster.presence.address(f"node_{owner}"),
        lambda scope: services.address_of(scope.get("client"), scope["headers"]),
        cluster.key,
        time.monotonic,
        patience=settings.ws_heartbeat_interval + settings.ws_ping_timeout,
        most=settings.ws_max_connections,
        max_body=settings.ws_frame_size_limit + FRAME_OVERHEAD,
        place_of=peer.places(settings),
        processes=services.processes,
    )
    services.extras["forwarding"] = forwarding
    services.at_stop.append(forwarding.close)


async def _find_out(services: Services, lasted: float) -> None:
    services.typing.disown()
    await services.membership.find_out(lasted)


class _Outage:
    """What a node holds through the database while Redis cannot be reached from it, for `lease` seconds each
    time: others do not take it for dead, and its streams go on."""

    def __init__(self, held: Held, clock: Clock, lease: float) -> None:
        self._held, self._clock, self._lease = held, clock, lease

    async def hold_nodes(self, nodes: Sequence[str]) -> None:
        await self._held.hold([f"node:{node}" for node in nodes], when(self._clock() + self._lease))

    async def hold_streams(self, streams: Sequence[str]) -> None:
        await self._held.hold([f"stream:{name}" for name in streams], when(self._clock() + self._lease))

    async def live_nodes(self, nodes: Sequence[str]) -> set[str]:
        return await self._live("node:", nodes)

    async def live_streams(self, streams: Sequence[str]) -> set[str]:
        return await self._live("stream:", streams)

    async def _live(self, kind: str, names: Sequence[str]) -> set[str]:
        try:
            held = await self._held.held([kind + name for name in names], when(self._clock()))
        except StorageError:
            return set()  # nobody can hold anything there just now
        return {name.removeprefix(kind) for name in held}

    async def forget(self) -> None:
        await self._held.forget(when(self._clock() - FORGET_EVERY))


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
        log.warning("dropped a stock emitter's message: %s", getattr(error, "text", None) or error)
