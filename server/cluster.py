"""What a node of a cluster does beside serving: its heartbeat, others' announcements, and what stock
Socket.IO emitters say. Knows no Redis: `storage` has the keys, `server.backends` the choice."""

import logging
import time
from functools import partial

from events.janitor import Janitor
from events.witness import Witness
from server import peer
from server.backends import Backends
from server.engine.requests import FRAME_OVERHEAD
from server.forwarding import Forwarding
from server.node.emitter import emitted
from server.node.outage import FORGET_EVERY, Outage
from server.services import Services
from storage.errors import Unavailable
from storage.held import Held
from storage.redis.presence import BEAT

log = logging.getLogger("parley.cluster")


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
    outage = Outage(Held(services.database), services.clock, settings.node_lease)

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
