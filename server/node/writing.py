"""Messages and streams on their way into the database."""

from dataclasses import dataclass

from events.agentstatus import AgentStatuses
from events.chunks import Chunks
from events.clock import when
from events.introductions import Introductions
from events.leases import Leases
from events.messages import MessageService
from events.names import Names
from events.streams import Streams
from events.uncommitted import Uncommitted
from server.node.core import Core
from server.node.delivering import Delivering
from server.node.members import Members
from server.node.publishing import guarded, has_hook
from server.node.stores import Stores
from storage.questions import Questions
from storage.writer import Writer


@dataclass(frozen=True)
class Writing:
    writer: Writer
    uncommitted: Uncommitted
    messages: MessageService
    streams: Streams
    leases: Leases
    statuses: AgentStatuses


def build_writing(
    core: Core, stores: Stores, delivering: Delivering, members: Members, names: Names
) -> Writing:
    clock, delivery, stall = stores.clock, delivering.delivery, members.stall
    writer = Writer(
        stores.database,
        lambda: when(clock()),
        core.after_commit,
        now=clock,
        stalled=stall.stood_still if stall is not None else lambda: False,
        notes=stores.notes,
    )
    uncommitted = Uncommitted(writer)
    streams, leases = _streams(core, stores, delivering, writer, uncommitted)
    messages = MessageService(
        writer,
        guarded(core, uncommitted, clock),
        stores.messages,
        stores.paths,
        stores.participants,
        names,
        Introductions(names, delivery.hub.rooms),
        delivery,
        clock,
        final_of=streams.final_of,
        lineage_of=delivering.history.of,
        on_message=members.notices.note,
    )
    core.after_commit.follow(messages.on_committed)
    statuses = AgentStatuses(delivering.backends.streams, delivery, clock)
    return Writing(writer, uncommitted, messages, streams, leases, statuses)


def _streams(
    core: Core, stores: Stores, delivering: Delivering, writer: Writer, uncommitted: Uncommitted
) -> tuple[Streams, Leases]:
    settings, clock, delivery = core.settings, stores.clock, delivering.delivery
    log = delivering.backends.streams
    # A silent producer is noticed by its node; the lease in the log tells that the node is alive.
    held = min(settings.stream_lease, settings.node_lease)
    chunks = Chunks(log, delivery, clock, core.tasks)
    streams = Streams(
        writer,
        uncommitted,
        stores.messages,
        Questions(stores.database),
        log,
        chunks,
        delivery,
        core.observer,
        clock,
        core.tasks,
        held=held,
        max_size=settings.stream_max_size,
        max_per_user=settings.max_streams_per_user,
        people=not has_hook(settings),
    )
    leases = Leases(
        streams,
        chunks,
        stores.messages,
        log,
        delivery,
        clock,
        core.outside.monotonic,
        core.tasks,
        lease=settings.stream_lease,
        held=held,
        elsewhere=delivering.outage,
    )
    core.signals.on("cancel", lambda channel, body: streams.cancelled(body.decode()))
    core.signals.on("adopted", lambda channel, body: streams.adopted(body.decode()))
    return streams, leases
