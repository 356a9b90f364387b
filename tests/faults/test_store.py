"""clients/js and clients/python at length: every transport, other seeds, nodes that die and come back."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import Nodes, new_cluster
from tests.support.pystore import PyStores
from tests.support.server import Server
from tests.support.services import Redis
from tests.support.storeclient import StoreClients, beside
from tests.support.storeworld import World

__all__ = ["new_cluster"]  # a fixture

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

LIVES, DEEDS = 20, 300


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreClients]:
    running = StoreClients(beside(tmp_path_factory.mktemp("package")))
    yield running
    running.close()


@pytest.fixture
def python(tmp_path: Path) -> PyStores:
    return PyStores(tmp_path)


@pytest.mark.parametrize("transport", ["socketio", "websocket", "sse", "python"])
async def test_stores_over_bad_networks(
    shared_server: Server, clients: StoreClients, python: PyStores, transport: str, row: Callable[[str], None]
) -> None:
    said = 0
    for seed in range(100, 100 + LIVES):
        stores = python if transport == "python" else clients
        async with World(stores, [shared_server], seed, transport) as world:
            await world.live(DEEDS)
            await world.settles(120)
            said += sum(map(len, world.said.values()))
    row(f"{LIVES} lives of three tabs, {said} messages said, 0 lost, doubled or out of order")


@pytest.mark.parametrize("language", ["javascript", "python"])
async def test_stores_over_nodes_that_die(
    new_cluster: Callable[..., Nodes],
    own_redis: Redis,
    clients: StoreClients,
    python: PyStores,
    language: str,
    row: Callable[[str], None],
) -> None:
    stores = python if language == "python" else clients
    nodes = new_cluster(own_redis.url, 2)
    said = 0
    for seed in range(200, 200 + LIVES // 2):
        async with World(stores, list(nodes), seed, "socketio") as world:
            await world.live(DEEDS // 2)
            world.dies(nodes[seed % 2])
            await world.live(DEEDS // 2)
            await world.settles(120)
            said += sum(map(len, world.said.values()))
        await nodes[seed % 2].start_async()
    row(f"{LIVES // 2} dead nodes, {said} messages said, 0 lost, doubled or out of order")
