"""Everything that a node does from time to time, by name."""

from collections.abc import Iterator

from events import storetime
from events.answering import CLAIM
from events.clock import when
from events.janitor import Job
from events.producers import Producers
from events.snapshots import KEPT
from server import memory, watch
from server.identity.revoked import DROP, REFRESH
from server.node.build import Node
from server.node.features import Features
from server.node.outage import FORGET_EVERY, Outage
from storage.errors import StorageUnavailable

#: Seconds between looks through all contents for those that no row names: each lists the whole storage.
SWEEP = 6 * 3600.0

#: Seconds between looks for sessions that no node remembers to index.
UNINDEXED = 60.0

#: Seconds between looks for sessions whose place in lists is not known: lists look at each of them.
UNLISTED = 5.0

#: Seconds between looks for what people were asked too long ago.
EXPIRY = 2.0

#: Seconds between looks at what agents do while they are busy.
AGENTS = 5.0

#: Seconds between looks for webhooks that another node made and could not tell of, and how long what no
#: webhook took is kept.
WEBHOOKS, UNTOLD = 5.0, 30 * 86400.0

#: Seconds until a name is written, and until each is written again: another node may have erased it.
NAMED, FORGOTTEN = 1.0, 3600.0


def jobs_of(node: Node) -> Iterator[Job]:
    settings, sessions, streams = node.core.settings, node.members.sessions, node.writing.streams
    leases, producers = node.writing.leases, Producers(sessions)
    answering = node.answers.answering
    yield Job("activity", 1.0, sessions.touches.flush)
    yield Job("activity notices", 1.0, node.members.notices.flush)
    # Live members hear within 10 s that their session has expired, however long the interval.
    yield Job("cleanup", min(settings.session_cleanup_interval, 5.0), sessions.cleanup_expired_sessions)
    # A checkpoint takes its time, too: nothing is to be older than promised.
    yield Job("streams", min(0.7 * settings.stream_checkpoint, 1.0), leases.tick)
    yield Job("producers", 2.0, lambda: producers.look(streams.open.values()))
    yield Job("leases", min(5.0, settings.stream_lease / 3), leases.interrupt_lapsed)
    yield Job("turns", CLAIM / 3, answering.sweep)
    yield Job("interrupts", EXPIRY, node.answers.interrupts.sweep)
    yield Job("agents", AGENTS, answering.learn)
    yield Job("time", storetime.INTERVAL, node.stores.time.look)
    yield Job("connections", watch.INTERVAL, lambda: watch.watch(node.services))
    yield Job("memory", memory.INTERVAL, memory.give_back)
    yield Job("snapshots", KEPT / 2, lambda: node.joins.snapshots.forget(node.delivering.hub.rooms))
    if node.delivering.outage is not None:
        yield from _shared(node, node.delivering.outage)


def _shared(node: Node, outage: Outage) -> Iterator[Job]:
    """Where there may be other nodes."""

    async def beat() -> None:
        try:
            await node.members.presence.beat()
        except StorageUnavailable:
            await outage.hold_nodes([node.core.node_id])
            raise
        await outage.let_go()

    yield Job("presence", node.delivering.backends.beat_every, beat)
    yield Job("holds of outages", FORGET_EVERY, outage.forget)


def feature_jobs(node: Node, features: Features) -> Iterator[Job]:
    often, care = node.core.settings.session_cleanup_interval, node.members.file_care
    names, revoked = node.gate.names, node.gate.revoked
    yield Job("retention", often, features.retention.run)
    yield Job("files", often, care.collect)
    yield Job("contents", SWEEP, care.sweep)
    yield Job("search index", UNINDEXED, features.indexer.sweep)
    yield Job("lists", UNLISTED, features.listing.run)
    yield Job("names", NAMED, names.flush)
    yield Job("names to write anew", FORGOTTEN, names.forget_all)
    hooks, notes, clock = features.hooks, node.stores.notes, node.stores.clock
    yield Job("webhooks", WEBHOOKS, hooks.teller.refresh)
    yield Job("notes for webhooks", often, lambda: notes.drop(when(clock() - UNTOLD)))
    yield Job("revocations", REFRESH, revoked.refresh)
    yield Job("old revocations", DROP, revoked.drop_old)
