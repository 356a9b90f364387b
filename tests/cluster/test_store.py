"""clients/js before two nodes, one of which is killed: nothing lost, doubled or turned around."""

from collections.abc import Callable
from pathlib import Path

from tests.cluster.conftest import Nodes
from tests.support.services import Redis
from tests.support.storeclient import StoreClients, beside
from tests.support.storeworld import World


async def test_a_node_dies_under_its_readers(
    new_cluster: Callable[..., Nodes], own_redis: Redis, tmp_path: Path
) -> None:
    nodes = new_cluster(own_redis.url, 2)
    clients = StoreClients(beside(tmp_path / "package"))
    try:
        async with World(clients, list(nodes), 2, "socketio") as world:
            await world.live(60)
            world.dies(nodes[1])
            await world.live(60)
            await world.settles()
    finally:
        clients.close()
