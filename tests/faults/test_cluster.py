"""A cluster's outages with full counts: 50 rooms, everything flowing, each part dying in turn."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from migrations.run import upgrade
from tests.cluster.conftest import SHORT, Nodes
from tests.cluster.crowd import Crowd
from tests.cluster.proxies import nginx, statuses
from tests.cluster.test_drain import Front
from tests.support.doors import new_session
from tests.support.jsclient import JsClients
from tests.support.proxy import Proxy
from tests.support.services import Postgres, Redis

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

#: Default leases, but those that the table's rows wait for.
SETTINGS = {**SHORT, "NODE_LEASE": "6", "REDIS_TIMEOUT": "0.5"}
ROOMS, PEOPLE = 50, 24


class Everything:
    """PostgreSQL, Redis and nodes of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.postgres = Postgres().start()
        self.redis = Redis().start()
        name = self.postgres.create_database()
        self.url = self.postgres.url(name)
        upgrade(self.url)
        self.folder = folder
        self.nodes: list[Nodes] = []

    def start(self, count: int, redis_url: str | None = None, **settings: str) -> Nodes:
        folder = self.folder / f"nodes-{len(self.nodes)}"
        nodes = Nodes(folder, self.url, redis_url or self.redis.url, count, **{**SETTINGS, **settings})
        self.nodes.append(nodes)
        return nodes.start()

    def close(self) -> None:
        for nodes in self.nodes:
            nodes.close()
        self.redis.close()
        self.postgres.close()


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Everything]:
    everything = Everything(tmp_path)
    yield everything
    everything.close()


Row = Callable[[str], None]


async def test_cluster_node_killed_every_5_s(parts: Everything, row: Row) -> None:
    nodes = parts.start(3)
    async with Crowd(list(nodes), people=PEOPLE, rooms=ROOMS, pace=0.1) as crowd:
        for turn in range(12):
            await crowd.run(5.0)
            victim = nodes[turn % 3]
            victim.kill9()
            await victim.start_async()
        await crowd.settle(90)
        row(f"12 kills in a minute: {crowd.told()}")


@pytest.mark.parametrize("seconds", [2, 12])
async def test_cluster_redis_killed(parts: Everything, row: Row, seconds: int) -> None:
    nodes = parts.start(3)
    async with Crowd(list(nodes), people=PEOPLE, rooms=ROOMS, pace=0.1) as crowd:
        await crowd.run(3.0)
        parts.redis.kill9()
        at, began = crowd.since(), len(crowd.deliveries)
        await crowd.run(float(seconds))
        away = crowd.percentile(0.99, at)
        across = crowd.slowest_delivery(began)
        parts.redis.start()
        await crowd.run(5.0)
        back = len(crowd.deliveries)
        await crowd.run(5.0)
        await crowd.settle(90)
        row(
            f"{seconds} s without Redis: {crowd.told()}; acks p99 {away * 1000:.0f} ms, slowest delivery "
            f"{across:.2f} s, 5 s after its return {crowd.slowest_delivery(back):.2f} s"
        )
        assert away < 1.0 + crowd.stall
        assert across < 2.5 + crowd.stall


async def test_cluster_redis_hung_for_10_s(parts: Everything, row: Row) -> None:
    nodes = parts.start(3)
    async with Crowd(list(nodes), people=PEOPLE, rooms=ROOMS, pace=0.1) as crowd:
        await crowd.run(3.0)
        parts.redis.pause()
        at = crowd.since()
        await crowd.run(10.0)
        hung = crowd.percentile(0.99, at)
        parts.redis.resume()
        await crowd.run(5.0)
        await crowd.settle(90)
        row(f"{crowd.told()}; acks p99 {hung * 1000:.0f} ms while it hung")
        assert hung < 1.0 + crowd.stall


async def test_cluster_postgresql_restarted_and_killed(parts: Everything, row: Row) -> None:
    nodes = parts.start(3)
    async with Crowd(list(nodes), people=PEOPLE, rooms=ROOMS, pace=0.1) as crowd:
        await crowd.run(3.0)
        await asyncio.to_thread(parts.postgres.stop)
        await asyncio.to_thread(parts.postgres.start)
        await crowd.run(5.0)
        parts.postgres.kill9()
        await asyncio.to_thread(parts.postgres.start)
        await crowd.run(5.0)
        await crowd.settle(90)
        row(f"{crowd.told()}; {crowd.put_off} put off with UNAVAILABLE")


async def test_cluster_node_cut_off_from_redis(parts: Everything, row: Row) -> None:
    async with Proxy(parts.redis.port) as way:
        nodes = parts.start(2)
        lonely = parts.start(1, parts.redis.url.replace(str(parts.redis.port), str(way.port)))
        async with Crowd([*nodes, *lonely], people=PEOPLE, rooms=ROOMS, pace=0.1) as crowd:
            await crowd.run(3.0)
            way.refusing = True
            way.half_open()
            await crowd.run(10.0)
            way.refusing = False
            await crowd.run(5.0)
            await crowd.settle(90)
            row(crowd.told())


async def test_cluster_rolling_restart(parts: Everything, row: Row) -> None:
    nodes = parts.start(3, TRUSTED_PROXIES="127.0.0.1/32")
    with nginx(list(nodes)) as balancer:
        async with Crowd([Front(balancer.port)], people=PEOPLE, rooms=ROOMS, pace=0.1) as crowd:  # type: ignore[list-item]
            await crowd.run(3.0)
            for node in nodes:
                assert await node.stop_async() == 0
                await node.start_async()
                await crowd.run(3.0)
            await crowd.settle(90)
            row(crowd.told())


async def test_cluster_round_robin_without_stickiness(parts: Everything, row: Row, js: JsClients) -> None:
    """200 polling clients and 200 that begin by polling: connect, chat, recover, without one 400."""
    nodes = parts.start(3, TRUSTED_PROXIES="127.0.0.1/32", DATABASE_POOL_SIZE="10")
    session = await new_session(nodes[0], "alice")
    token = nodes[0].token("alice")
    with nginx(list(nodes)) as balancer:
        async with Proxy(balancer.port) as network:
            kinds = [["polling"]] * 200 + [["polling", "websocket"]] * 200
            clients = []
            for start in range(0, len(kinds), 50):
                some = kinds[start : start + 50]
                opened = await asyncio.gather(
                    *(js.open(network.url, token, transports=k, timeout=60_000, wait=False) for k in some)
                )
                await asyncio.gather(*(client.connected(timeout=60) for client in opened))
                clients += opened
            replies = await asyncio.gather(
                *(c.emit("join", {"session_id": session}, timeout=60) for c in clients)
            )
            assert all(reply["ok"] for reply in replies)

            async def say(text: str) -> None:
                payload = {"session_id": session, "content": text, "reply": False}
                assert (await clients[0].emit("message", payload, timeout=60))["ok"]
                await asyncio.gather(
                    *(c.wait_event("message", lambda m: m["content"] == text, timeout=60) for c in clients)
                )

            await say("one")
            marks = [client.mark() for client in clients]
            network.refusing = True
            cut = time.time()
            network.cut()
            await asyncio.gather(
                *(
                    c.wait_event("disconnect", since=m, timeout=90)
                    for c, m in zip(clients, marks, strict=True)
                )
            )
            cut_until = time.time()
            network.refusing = False
            again = await asyncio.gather(
                *(c.connected(since=m, timeout=90) for c, m in zip(clients, marks, strict=True))
            )
            assert all(each["recovered"] for each in again)
            await say("two")
            for client in clients:
                assert [m["content"] for m in client.named("message")] == ["one", "two"]
        # A POST that crosses the end of its own poll is for a session that is over: nobody hears so.
        counts = statuses(balancer, (cut, cut_until))
        row(f"400 clients, all recovered; statuses {counts}")
        assert not counts.get("400")
