"""Which side of `storage.interfaces` a node has: its own memory, or the cluster's Redis (REDIS_URL)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from events.clock import Clock
from server import keys
from server.config import Settings
from storage.buckets import MemoryBuckets
from storage.interfaces import Buckets, Bus, PresenceStore, Records, RoomLog, StreamLog, longest_absence
from storage.memory import Memory, MemoryPresence, MemoryStreams
from storage.redis import Cluster


@dataclass(frozen=True)
class Backends:
    """One node's. `cluster` is there with REDIS_URL alone."""

    bus: Bus
    log: RoomLog
    streams: StreamLog
    records: Records
    presence: PresenceStore
    buckets: Buckets
    close: Callable[[], Awaitable[None]]
    cluster: Cluster | None = None


def address(settings: Settings) -> str:
    """Where other nodes reach this one; empty where nobody can tell."""
    if settings.node_url is not None:
        return settings.node_url
    if settings.host in ("0.0.0.0", "::", "") or settings.ws_use_ssl:
        return ""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.service_port}"


def node_key(settings: Settings) -> bytes:
    """What nodes prove to each other that they are nodes with."""
    assert settings.secret_key is not None  # `Settings.load` sees to it
    return bytes.fromhex(keys.derive(settings.secret_key, "between nodes"))


def choose(settings: Settings, node_id: str, clock: Clock, monotonic: Clock) -> Backends:
    if settings.redis_url is None:
        memory = Memory(
            clock,
            window=settings.recovery_window,
            log_size=settings.recovery_log_size,
            log_bytes=settings.recovery_log_bytes,
        )
        return Backends(
            bus=memory,
            log=memory,
            streams=MemoryStreams(memory, clock),
            records=memory,
            presence=MemoryPresence(monotonic, kept=longest_absence(settings.recovery_window)),
            buckets=MemoryBuckets(monotonic),
            close=memory.close,
        )
    cluster = Cluster(
        settings.redis_url,
        node_id,
        monotonic,
        key=node_key(settings),
        now=clock,
        prefix=settings.redis_prefix,
        timeout=settings.redis_timeout,
        window=settings.recovery_window,
        log_size=settings.recovery_log_size,
        log_bytes=settings.recovery_log_bytes,
        node_lease=settings.node_lease,
        address=address(settings),
    )
    return Backends(
        bus=cluster.bus,
        log=cluster.log,
        streams=cluster.streams,
        records=cluster.records,
        presence=cluster.presence,
        buckets=cluster.buckets,
        close=cluster.close,
        cluster=cluster,
    )
