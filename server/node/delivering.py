"""The way from a commit to the members of a room on this node, and the node's end of the bus."""

from dataclasses import dataclass
from functools import partial

from events.changes import Changes
from events.delivery import Delivery
from events.held import MOST, Held
from events.history import History
from events.hub import Hub
from events.outbox import Flusher
from server.backends import Backends
from server.node.core import Core
from server.node.emitter import emitted
from server.node.outage import Outage
from server.node.stores import Stores


@dataclass(frozen=True)
class Delivering:
    """`outage` is there where there may be other nodes."""

    hub: Hub
    backends: Backends
    history: History
    delivery: Delivery
    outage: Outage | None


def build_delivering(core: Core, stores: Stores) -> Delivering:
    settings, observer, clock = core.settings, core.observer, stores.clock
    largest = max(settings.ws_frame_size_limit, settings.outbox_limit)
    hub = Hub(Flusher(observer, Held(max(MOST, 16 * largest))), hold_limit=settings.outbox_limit)
    outage = Outage(stores.held, clock, settings.node_lease)
    backends = core.outside.backends(
        settings,
        core.node_id,
        clock,
        core.outside.monotonic,
        vouch=outage.live_nodes,
        on_emit=partial(emitted, hub, observer),
    )
    if backends.cluster is not None:
        stores.time.compare_with("redis", backends.cluster.client.time)
    history = History(stores.lineages, observer, core.outside.monotonic)
    changes = Changes(
        stores.sessions, stores.messages, stores.files, stores.participants, stores.people, clock
    )
    delivery = Delivery(
        hub, backends.bus, backends.log, changes, observer, clock, core.tasks, core.signals.heard
    )
    core.signals.on("epoch", lambda channel, body: delivery.epoch_began(body.decode()))
    return Delivering(hub, backends, history, delivery, outage if backends.cluster is not None else None)
