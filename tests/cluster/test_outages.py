"""Parts of a cluster die, hang and are cut off under load: 0 lost, 0 twice, 0 out of order, acks go on."""

import asyncio
from collections.abc import Callable

from tests.cluster.conftest import Nodes
from tests.cluster.crowd import Crowd
from tests.support.proxy import Proxy
from tests.support.services import Postgres, Redis

NewCluster = Callable[..., Nodes]


async def test_a_node_is_killed(new_cluster: NewCluster, redis: Redis) -> None:
    nodes = new_cluster(redis.url)
    async with Crowd(list(nodes), people=9, rooms=4) as crowd:
        await crowd.flow(60)
        nodes[1].kill9()
        await crowd.flow(60)
        await nodes[1].start_async()
        await crowd.flow(30)
        await crowd.settle()
        assert crowd.recoveries > 0, crowd.told()


async def test_redis_is_killed(new_cluster: NewCluster, own_redis: Redis) -> None:
    nodes = new_cluster(own_redis.url)
    async with Crowd(list(nodes), people=9, rooms=4) as crowd:
        await crowd.flow(50)
        own_redis.kill9()
        at = crowd.since()
        await crowd.flow(50)
        assert crowd.percentile(0.99, at) < 1.0 + crowd.stall
        own_redis.start()
        await crowd.flow(50)
        await crowd.settle()


async def test_redis_hangs(new_cluster: NewCluster, own_redis: Redis) -> None:
    nodes = new_cluster(own_redis.url)
    async with Crowd(list(nodes), people=9, rooms=4) as crowd:
        await crowd.flow(50)
        own_redis.pause()
        at = crowd.since()
        await crowd.flow(80)
        assert crowd.percentile(0.99, at) < 1.0 + crowd.stall
        own_redis.resume()
        await crowd.flow(50)
        await crowd.settle()


async def test_postgresql_restarts(
    new_cluster: NewCluster, redis: Redis, own_postgres: tuple[Postgres, str]
) -> None:
    postgres, url = own_postgres
    nodes = new_cluster(redis.url, database_url=url)
    async with Crowd(list(nodes), people=9, rooms=4) as crowd:
        await crowd.flow(50)
        await asyncio.to_thread(postgres.stop)
        await asyncio.to_thread(postgres.start)
        await crowd.flow(50)
        postgres.kill9()
        await asyncio.to_thread(postgres.start)
        await crowd.flow(50)
        await crowd.settle()


async def test_a_node_is_cut_off_from_redis(new_cluster: NewCluster, redis: Redis) -> None:
    async with Proxy(redis.port) as way:
        there = redis.url.replace(str(redis.port), str(way.port))
        nodes = new_cluster(redis.url, 2)
        lonely = new_cluster(there, 1)
        everyone = [*nodes, *lonely]
        async with Crowd(everyone, people=9, rooms=4) as crowd:
            await crowd.flow(50)
            way.refusing = True
            way.half_open()
            await crowd.flow(80)
            way.refusing = False
            await crowd.flow(50)
            await crowd.settle()
