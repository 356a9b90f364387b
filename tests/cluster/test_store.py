"""The clients before two nodes, one of which is killed: nothing lost, doubled or turned around."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from parley_client import Answer, Parley, SessionState
from tests.agents.test_pyworker import at_work
from tests.cluster.conftest import Nodes
from tests.support.doors import new_session
from tests.support.proxy import Proxy
from tests.support.pystore import PyStores
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


async def test_a_node_dies_under_clients_and_a_worker_in_python(
    new_cluster: Callable[..., Nodes], own_redis: Redis, tmp_path: Path
) -> None:
    """The worker is connected there, too: it goes on at the other one, in mid answer."""
    here, there = nodes = new_cluster(own_redis.url, 2)
    async with here.api("backend", "service") as api:
        agent: int = (await api.post("/api/chat/agents", json={"name": "Mine", "kind": "remote"})).json()[
            "id"
        ]
    alone = await new_session(here, agent_id=agent)
    killed = asyncio.Event()

    async def at_length(answer: Answer) -> None:
        for number in range(60):
            await answer.text(f"{number} ")
            if number % 20 == 0 and answer.session_id != alone:
                await asyncio.sleep(0)
        if answer.session_id == alone:
            await answer.status("waiting_for_the_end")
            await killed.wait()
        await answer.text(f"to {answer.asked}")

    def half(shown: SessionState) -> bool:
        return shown.messages[-1:] != () and (shown.messages[-1]["content"] or "").endswith("59 ")

    def whole(shown: SessionState) -> bool:
        return shown.messages[-1:] != () and shown.messages[-1]["status"] == "complete" and not shown.turns

    async with (
        Proxy(there.port) as network,
        at_work(here, agent, network.url) as worker,
        Parley(here.url, token=here.token("alice")) as parley,
        World(PyStores(tmp_path), list(nodes), 2, "socketio", agent) as world,
    ):
        worker.answers(at_length)
        await parley.session(alone).send("what was asked")
        async with asyncio.timeout(20):
            await parley.session(alone).until(half)
        await world.live(60)
        world.dies(there)
        network.target = here.port
        network.cut()
        killed.set()
        await world.live(60)
        async with asyncio.timeout(20):
            shown = await parley.session(alone).until(lambda now: len(now.messages) == 2 and whole(now))
        await world.settles()
    content = "".join(f"{number} " for number in range(60))
    assert shown.messages[-1]["content"] == f"{content}to what was asked"
