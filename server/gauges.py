"""A node's present state, for /metrics: read from the parts themselves, so that nothing can drift."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from server.metrics import Metrics
from server.node.build import Node
from server.node.features import Features
from server.transports.listed import TRANSPORTS
from storage.ops import Committed

#: As `storage.database.Database.trouble` has them.
TROUBLES = ("full", "read-only", "exhausted", "failing")


def watch(metrics: Metrics, node: Node, features: Features) -> None:
    """Adds this node's gauges and the account of its group commits to `metrics`."""
    hub, database, services = node.delivering.hub, node.stores.database, node.services

    def connections() -> dict[str, float]:
        counted = Counter(conn.transport for conn in list(hub.connections.values()))
        return {transport.name: float(counted[transport.name]) for transport in TRANSPORTS}

    def committed(batch: Sequence[Committed]) -> None:
        metrics.committed(len(batch), asyncio.get_running_loop().time() - node.writing.writer.begun)

    node.core.after_commit.follow(committed)
    metrics.watch("connections", "Open connections", connections, label="transport")
    metrics.watch("rooms", "Rooms with members on this node", lambda: len(hub.rooms))
    metrics.watch(
        "uploading_bytes",
        "Bytes of uploads under way, with the fields beside their files",
        lambda: features.files.uploading,
    )
    metrics.watch("open_streams", "Streams being written through this node", node.writing.streams.count)
    metrics.watch(
        "database_connections", "The pool's connections", lambda: dict(database.usage()), label="state"
    )
    metrics.watch(
        "database_trouble",
        "1 for what keeps the database from taking writes or connections",
        lambda: {kind: float(database.trouble == kind) for kind in TROUBLES},
        label="kind",
    )
    outlets = features.hooks.teller.outlets
    metrics.watch(
        "webhooks",
        "Webhooks that this node knows, and those that fail",
        lambda: Counter("failing" if outlet.failing else "told" for outlet in list(outlets.values())),
        label="state",
    )
    metrics.watch("draining", "1 from the signal to stop on", lambda: float(services.admission.draining))
    metrics.watch(
        "clock_skew_seconds",
        "How far this machine's clock is ahead of another's",
        lambda: dict(node.stores.time.skews),
        label="against",
    )
