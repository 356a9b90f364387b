"""Which side of `storage.interfaces` a node has: its own memory, or the cluster's Redis (REDIS_URL); files on
its disk, or in S3. The only place that names concrete backends; `make check` sees to it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from events.clock import Clock
from server import keys
from server.config import Settings
from storage.blobs.local import LocalBlobs
from storage.buckets import MemoryBuckets
from storage.interfaces import (
    BlobStore,
    Buckets,
    Bus,
    PresenceStore,
    Records,
    RoomLog,
    StreamLog,
    Vouch,
    longest_absence,
)
from storage.memory import Memory, MemoryPresence, MemoryStreams
from storage.redis import BEAT, Cluster


@dataclass(frozen=True)
class Backends:
    """One node's. `own_buckets` are counted on this node alone. `cluster` is there with REDIS_URL alone: then
    `beat_every` is how often a node says that it lives, in seconds."""

    bus: Bus
    log: RoomLog
    streams: StreamLog
    records: Records
    presence: PresenceStore
    buckets: Buckets
    own_buckets: Buckets
    close: Callable[[], Awaitable[None]]
    cluster: Cluster | None = None
    beat_every: float = 0.0


class Choose(Protocol):
    """`vouch` knows nodes that live although Redis has not heard of them; `on_emit` gets what stock Socket.IO
    emitters publish. Both are for a cluster."""

    def __call__(
        self,
        settings: Settings,
        node_id: str,
        clock: Clock,
        monotonic: Clock,
        *,
        vouch: Vouch,
        on_emit: Callable[[bytes], None],
    ) -> Backends: ...


def address(settings: Settings) -> str:
    """Where other nodes reach this one; empty where nobody can tell."""
    if settings.node_url is not None:
        return settings.node_url
    if settings.host in ("0.0.0.0", "::", "") or settings.ws_use_ssl:
        return ""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.service_port}"


def node_key(settings: Settings) -> bytes:
    """The key with which nodes prove to each other that they are nodes."""
    assert settings.secret_key is not None  # `Settings.load` sees to it
    return bytes.fromhex(keys.derive(settings.secret_key, "between nodes"))


def blob_store(settings: Settings) -> BlobStore:
    if settings.file_storage_type == "local":
        return LocalBlobs(settings.file_storage_path)
    # Its library is an extra: not there on every installation.
    from storage.blobs.s3 import S3Blobs

    assert settings.s3_bucket_name is not None
    return S3Blobs(
        settings.s3_bucket_name,
        endpoint=settings.s3_endpoint_url,
        access_key_id=settings.aws_access_key_id,
        secret_access_key=settings.aws_secret_access_key,
    )


def choose(
    settings: Settings,
    node_id: str,
    clock: Clock,
    monotonic: Clock,
    *,
    vouch: Vouch,
    on_emit: Callable[[bytes], None],
) -> Backends:
    """`Choose`."""
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
            own_buckets=MemoryBuckets(monotonic),
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
        vouch=vouch,
        on_emit=on_emit,
    )
    return Backends(
        bus=cluster.bus,
        log=cluster.log,
        streams=cluster.streams,
        records=cluster.records,
        presence=cluster.presence,
        buckets=cluster.buckets,
        own_buckets=MemoryBuckets(monotonic),
        close=cluster.close,
        cluster=cluster,
        beat_every=settings.node_lease * BEAT,
    )
