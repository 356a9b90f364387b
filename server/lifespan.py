"""The composition root: the only place that names concrete backends. Starts in order, stops in reverse."""

import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from events import storetime
from events.activity import Activity
from events.agents.nodes import OtherNodes
from events.agents.remote import Workers
from events.agents.replies import Replies
from events.asking import Asking
from events.changes import Changes
from events.chunks import Chunks
from events.clock import Clock, when
from events.commands import Commands
from events.delivery import Delivery
from events.dispatch import Dispatcher
from events.healing import Healer
from events.held import MOST, Held
from events.history import History
from events.hub import Hub
from events.janitor import Janitor
from events.joining import Joining
from events.leases import Leases
from events.membership import Membership
from events.messages import MessageService
from events.observer import Observer
from events.outbox import Flusher
from events.presence import Presence
from events.producers import Producers
from events.ratelimit import RateLimits
from events.sessions import SessionManager
from events.snapshots import KEPT, Snapshots
from events.stall import Stall
from events.storetime import Ask, StoreTime
from events.streams import Streams
from events.takeover import Takeover
from events.tasks import Tasks
from events.typing import Typing
from migrations.revisions import revisions
from server import cluster, memory
from server.admission import Admission
from server.agents import ensure_given, kinds_of, warn_of_unable
from server.auth import Authenticator
from server.backends import Backends, choose
from server.closing import drain
from server.config import Settings
from server.config_values import masked
from server.journal import Journal
from server.origins import Origins
from server.places import Places
from server.requests import Requests
from server.revoked import Revoked
from server.services import Services
from server.watch import INTERVAL, watch
from storage.agents import Agents
from storage.buckets import MemoryBuckets
from storage.copying import ensure_whole
from storage.database import Database
from storage.errors import StorageError
from storage.files import Files
from storage.lineage import Lineages
from storage.messages import Messages
from storage.ops import Committed
from storage.participants import Participants
from storage.revision import ensure_migrated
from storage.revocations import Revocations
from storage.sessions import Sessions
from storage.snapshot import SnapshotReader
from storage.writer import Writer

log = logging.getLogger("parley.node")


def open_database(settings: Settings) -> Database:
    return Database(
        settings.database_url,
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_max_overflow,
    )


@dataclass(frozen=True)
class Outside:
    """What a node has from outside of its process. The simulation in `tests/model/` gives it others."""

    clock: Clock = time.time
    monotonic: Clock = time.monotonic
    database: Callable[[Settings], Database] = open_database
    backends: Callable[[Settings, str, Clock, Clock], Backends] = choose


def build(
    settings: Settings, observer: Observer, outside: Outside | None = None, processes: int = 1
) -> tuple[Services, Writer, Janitor]:
    """Everything of one node, wired and not yet started. `processes` share the machine."""
    outside = outside or Outside()
    database = outside.database(settings)
    others: dict[str, Ask] = {}
    store_time = StoreTime(outside.clock, outside.monotonic, database.time, others)
    clock = store_time.now
    store_sessions, store, participants = Sessions(database), Messages(database), Participants(database)
    agents, files, revoked = Agents(database), Files(database), Revoked(Revocations(database), clock)

    node_id = f"node_{secrets.token_hex(8)}"
    backends = outside.backends(settings, node_id, clock, outside.monotonic)
    if backends.cluster is not None:
        others["redis"] = backends.cluster.client.time
    # One process alone is nobody's successor, and has none.
    stall = Stall(clock) if backends.cluster is not None else None
    stalled = stall.stood_still if stall is not None else lambda: False
    # Tokens are signed by others. Where the database has a clock of its own it is the better judge of them.
    judge = clock if database.dialect == "postgresql" else outside.clock

    limits = RateLimits(
        backends.buckets,
        MemoryBuckets(outside.monotonic),
        enabled=settings.rate_limit_enabled,
        figures=settings.model_dump(),
    )
    largest = max(settings.ws_frame_size_limit, settings.outbox_limit)
    flusher = Flusher(observer, Held(max(MOST, 16 * largest)))
    hub = Hub(flusher, hold_limit=settings.outbox_limit)
    history = History(Lineages(database), observer)
    changes = Changes(store_sessions, store, files, participants, clock)
    tasks = Tasks("node")
    delivery = Delivery(hub, backends.bus, backends.log, changes, observer, clock, tasks)
    sessions = SessionManager(
        store_sessions,
        participants,
        agents,
        delivery,
        clock,
        ttl_hours=settings.session_hours,
        limits=limits,
        owner_adds=settings.participants_added_by == "owner",
    )
    messages: MessageService
    writer = Writer(
        database, lambda: when(clock()), lambda batch: _committed(services, batch), now=clock, stalled=stalled
    )
    messages = MessageService(writer, store, files, participants, delivery, clock)
    chunks = Chunks(backends.streams, delivery, clock, tasks)
    # A silent producer is noticed by its node; the lease in the log tells that the node is alive.
    held = min(settings.stream_lease, settings.node_lease)
    streams = Streams(
        writer,
        store,
        backends.streams,
        chunks,
        delivery,
        observer,
        clock,
        tasks,
        held=held,
        max_size=settings.stream_max_size,
        max_per_user=settings.max_streams_per_user,
    )
    leases = Leases(
        streams,
        chunks,
        store,
        backends.streams,
        delivery,
        clock,
        outside.monotonic,
        tasks,
        lease=settings.stream_lease,
        held=held,
    )
    messages.final_of = streams.final_of
    messages.lineage_of = history.of
    presence = Presence(
        backends.presence,
        delivery,
        clock,
        tasks,
        grace=settings.presence_grace,
        events_max=settings.presence_events_max,
    )
    typing = Typing(delivery, clock, outside.monotonic, ttl=settings.typing_ttl)
    activity = Activity(participants, delivery, clock)
    messages.on_message = activity.note
    snapshots = Snapshots(sessions, messages, SnapshotReader(database), clock, history)
    snapshots.local_text = streams.local_text
    membership = Membership(
        delivery,
        sessions,
        backends.records,
        presence,
        typing,
        clock,
        tasks,
        window=settings.recovery_window,
        lease=settings.node_lease,
    )
    joining = Joining(
        membership,
        delivery,
        snapshots,
        presence,
        observer,
        tasks,
        max_rooms=settings.max_rooms_per_connection,
        replay_limit=settings.outbox_limit,
    )
    takeover = Takeover(
        membership,
        delivery,
        snapshots,
        store,
        backends.records,
        presence,
        observer,
        max_rooms=settings.max_rooms_per_connection,
        replay_limit=settings.outbox_limit,
    )
    workers = Workers(hub)

    kinds = kinds_of(settings)
    replies = Replies(
        agents,
        store,
        messages,
        streams,
        kinds,
        workers.hand_out,
        first_word=settings.stream_lease,
    )
    delivery.on_stream_start = replies.started
    services: Services
    commands = Commands(
        sessions,
        messages,
        streams,
        replies,
        membership,
        joining,
        presence,
        typing,
        limits,
        lambda caller, conn, token: services.refresh(caller, conn, token),
    )
    dispatcher = Dispatcher(commands, limits, observer, stall)
    healer = Healer(
        delivery,
        sessions,
        tasks,
        on_departure=lambda: membership.spoil_all(),
        history=history,
    )
    healer.on_live.append(leases.on_live)
    authenticator = Authenticator(settings, judge, revoked=revoked.refuses)
    places = Places(hub, settings.ws_max_connections, outside.monotonic)
    origins, journal = Origins(settings), Journal(outside.monotonic)
    services = Services(
        settings=settings,
        observer=observer,
        authenticator=authenticator,
        origins=origins,
        database=database,
        hub=hub,
        bus=backends.bus,
        delivery=delivery,
        healer=healer,
        sessions=sessions,
        messages=messages,
        streams=streams,
        leases=leases,
        replies=replies,
        asking=Asking(sessions, messages, replies, typing, limits),
        membership=membership,
        joining=joining,
        takeover=takeover,
        presence=presence,
        typing=typing,
        limits=limits,
        requests=Requests(limits),
        places=places,
        admission=Admission(hub, places, origins, authenticator, limits, membership, observer, journal),
        journal=journal,
        commands=commands,
        dispatcher=dispatcher,
        agents=agents,
        agent_kinds=kinds,
        files=files,
        store=store,
        revoked=revoked,
        node_id=node_id,
        processes=processes,
        clock=clock,
        store_time=store_time,
        tasks=tasks,
    )
    delivery.on_signal = lambda channel, name, body: _signal(services, channel, name, body)
    janitor = _janitor(services)
    janitor.every(1.0, "activity of sessions", activity.flush)
    janitor.every(KEPT / 2, "snapshots", lambda: snapshots.forget(hub.rooms))
    services.at_stop += [backends.close, *(kind.close for kind in kinds.values())]
    if settings.redis_url is None:
        # Nobody else can be writing what a former process left open.
        services.at_start.append(lambda: leases.interrupt_lapsed(grace=0.0))
    else:
        nodes = OtherNodes(backends.bus, node_id, workers.has, workers.offer, tasks)
        workers.elsewhere = nodes.ask
        services.on_signals["workers"] = nodes.heard
    cluster.join(services, backends, janitor)
    return services, writer, janitor


def _committed(services: Services, batch: Sequence[Committed]) -> None:
    services.messages.on_committed(batch)
    for follow in services.after_commit:
        follow(batch)


def _janitor(services: Services) -> Janitor:
    settings, sessions, leases = services.settings, services.sessions, services.leases
    janitor = Janitor()
    janitor.every(1.0, "activity", sessions.touches.flush)
    # Live members of a session that expires are told within 10 s, however long the interval.
    janitor.every(min(settings.session_cleanup_interval, 5.0), "cleanup", sessions.cleanup_expired_sessions)
    # A checkpoint takes its time, too: nothing is to be older than promised.
    janitor.every(min(0.7 * settings.stream_checkpoint, 1.0), "streams", leases.tick)
    producers = Producers(sessions)
    janitor.every(2.0, "producers", lambda: producers.look(services.streams.open.values()))
    janitor.every(min(5.0, settings.stream_lease / 3), "leases", leases.interrupt_lapsed)
    janitor.every(storetime.INTERVAL, "time", services.store_time.look)
    janitor.every(INTERVAL, "connections", lambda: watch(services))
    janitor.every(memory.INTERVAL, "memory", memory.give_back)
    return janitor


def _signal(services: Services, channel: str, name: str, body: bytes) -> None:
    """A message from another node (or, on one node, from itself)."""
    if name == "takeover":
        pid, generation = msgspec.json.decode(body, type=tuple[str, int])
        services.membership.taken_over(pid, generation)
    elif name == "access":
        session_id = channel.partition(":")[2]
        services.tasks.spawn(services.membership.access_changed(session_id, body.decode()))
    elif name == "epoch":
        services.delivery.epoch_began(body.decode())
    elif name == "cancel":
        services.streams.cancelled(body.decode())
    elif name == "adopted":
        services.streams.adopted(body.decode())
    elif name in services.on_signals:
        services.on_signals[name](channel, body)


@asynccontextmanager
async def running(services: Services, writer: Writer, janitor: Janitor) -> AsyncIterator[None]:
    """Start in order, stop in reverse."""
    settings = services.settings
    try:
        await _open(services.database)
    except CannotServe as error:
        log.error("%s (%s)", error, masked(settings.database_url, secret=True))
        raise
    await services.store_time.look()
    await ensure_given(services.agents, settings)
    await warn_of_unable(services.agents, services.agent_kinds)
    writer.start()
    await services.healer.start()
    for start in services.at_start:
        await start()
    janitor.start()
    try:
        yield
    finally:
        services.admission.draining = True
        await drain(services)
        # Heartbeat and leases go on until the answers that run here are done.
        await services.leases.finish(settings.shutdown_grace)
        await janitor.stop()
        await services.replies.stop()
        services.typing.stop()
        services.presence.stop()
        await services.healer.stop()
        await services.tasks.drain()
        await writer.stop()
        for stop in reversed(services.at_stop):
            await stop()
        try:
            await services.sessions.touches.flush(everything=True)
        except Exception:
            log.exception("activity could not be written")
        await services.database.disconnect()
        log.info("stopped")


class CannotServe(Exception):
    """A node that cannot start; the log has said why, in one line."""


async def _open(database: Database) -> None:
    """Raises CannotServe."""
    try:
        await database.connect()
    except StorageError as error:
        raise CannotServe(f"the database cannot be reached: {error}") from error
    try:
        await ensure_migrated(database, revisions())
        await ensure_whole(database)
    except StorageError as error:
        await database.disconnect()  # its threads would keep the process
        raise CannotServe(f"the database cannot be served: {error}") from error
