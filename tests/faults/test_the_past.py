"""The past changes: stores go back, move or lose single keys, nodes sleep and die, clocks jump. A row of the
table for each, which asserts what is promised.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from migrations.run import upgrade
from tests.cluster.conftest import SHORT, Nodes
from tests.cluster.conftest import new_cluster as new_cluster
from tests.cluster.test_clocks import WallClock
from tests.lineage import faults
from tests.lineage.scene import POLL, REDIS, SETTINGS, SLACK, Fault, Outcome, scene
from tests.storage.test_health import disk as disk
from tests.support.proxy import Proxy
from tests.support.server import Server
from tests.support.services import Postgres, Redis, Sentinel, Standby

NewCluster = Callable[..., Nodes]
Past = Callable[[Outcome], None]

#: Seconds in which a database that has moved answers.
MOVED = 5.0

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]


# Redis.


@pytest.mark.parametrize("fault", [faults.dump_is_put_back, faults.stale_replica_is_followed,
                                   faults.snapshot_is_started, faults.flush])  # fmt: skip
async def test_redis(
    new_cluster: NewCluster, own_redis: Redis, fault: Callable[[Redis], Fault], past: Past
) -> None:
    async with scene(list(new_cluster(own_redis.url, 2, **SETTINGS))) as at:
        outcome = await at.play(*[fault(own_redis)] * 3)
    past(outcome)
    outcome.held(REDIS)


@pytest.mark.parametrize("members", [1, 10, 200])
async def test_redis_fails_over(new_cluster: NewCluster, own_redis: Redis, members: int, past: Past) -> None:
    with Redis() as replica, Sentinel(own_redis, replica) as sentinel:
        async with scene(list(new_cluster(sentinel.url, 2, **SETTINGS)), members) as at:
            outcome = await at.play(faults.failover(sentinel))
    past(outcome)
    outcome.held(REDIS)


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
async def test_redis_evicts(new_cluster: NewCluster, own_redis: Redis, policy: str, past: Past) -> None:
    async with scene(list(new_cluster(own_redis.url, 2, **SETTINGS))) as at:
        outcome = await at.play(*[faults.evictions(own_redis, policy)] * 3)
    past(outcome)
    outcome.held(REDIS)


@pytest.mark.parametrize("pattern", faults.KEYS)
async def test_redis_loses_a_key(new_cluster: NewCluster, own_redis: Redis, pattern: str, past: Past) -> None:
    async with scene(list(new_cluster(own_redis.url, 2, **SETTINGS))) as at:
        outcome = await at.play(faults.keys_are_deleted(own_redis, pattern))
    past(outcome)
    outcome.held(REDIS)
    assert not outcome.ghosts


# The database.


@pytest.mark.parametrize("members", [1, 10, 200])
async def test_postgresql_is_put_back(
    new_cluster: NewCluster,
    redis: Redis,
    own_postgres: tuple[Postgres, str],
    tmp_path: Path,
    members: int,
    past: Past,
) -> None:
    postgres, url = own_postgres
    async with scene(
        list(new_cluster(redis.url, 2, database_url=url, **SETTINGS)), members, loses=True
    ) as at:
        outcome = await at.play(faults.copy_is_put_back(postgres, tmp_path))
    past(outcome)
    outcome.held(POLL + SLACK)


async def test_a_backup_is_restored(
    new_cluster: NewCluster, redis: Redis, own_postgres: tuple[Postgres, str], tmp_path: Path, past: Past
) -> None:
    postgres, url = own_postgres
    nodes = list(new_cluster(redis.url, 2, database_url=url, **SETTINGS))
    async with scene(nodes, loses=True) as at:
        outcome = await at.play(faults.restored(nodes, postgres, tmp_path))
    past(outcome)
    outcome.held(POLL + SLACK)


async def test_both_stores_are_put_back(
    new_cluster: NewCluster, own_redis: Redis, own_postgres: tuple[Postgres, str], tmp_path: Path, past: Past
) -> None:
    postgres, url = own_postgres
    fault = faults.together(faults.copy_is_put_back(postgres, tmp_path), faults.dump_is_put_back(own_redis))
    async with scene(list(new_cluster(own_redis.url, 2, database_url=url, **SETTINGS)), loses=True) as at:
        outcome = await at.play(fault)
    past(outcome)
    outcome.held(POLL + SLACK)


@pytest.mark.parametrize("primary", ["dead", "silent"])
async def test_a_standby_is_promoted(
    new_cluster: NewCluster, redis: Redis, own_postgres: tuple[Postgres, str], primary: str, past: Past
) -> None:
    """It was behind, and takes over the address."""
    postgres, url = own_postgres
    with Standby(postgres) as standby:
        async with Proxy(postgres.port) as way:

            async def lose() -> None:
                postgres.kill9() if primary == "dead" else way.silence()

            there = url.replace(str(postgres.port), str(way.port))
            nodes = await new_cluster(redis.url, 2, there, start=False, **SETTINGS).start_async()
            async with scene(list(nodes), loses=True) as at:
                outcome = await at.play(faults.promotion(standby, way, lose))
    past(outcome)
    outcome.held(POLL + SLACK)


async def test_the_databases_address_moves(
    new_cluster: NewCluster, redis: Redis, own_postgres: tuple[Postgres, str], past: Past
) -> None:
    postgres, url = own_postgres
    async with Proxy(postgres.port) as way:
        there = url.replace(str(postgres.port), str(way.port))
        nodes = await new_cluster(redis.url, 2, there, start=False, **SETTINGS).start_async()
        async with scene(list(nodes)) as at:
            outcome = await at.play(*[faults.address_moves(way)] * 2)
    past(outcome)
    outcome.held(MOVED)


async def test_sqlite_is_put_back(
    new_server: Callable[..., Server], sqlite_url: str, tmp_path: Path, past: Past
) -> None:
    node = new_server(sqlite_url, PRESENCE_GRACE=SHORT["PRESENCE_GRACE"])
    async with scene([node], loses=True) as at:
        outcome = await at.play(
            faults.sqlite_is_put_back(Path(sqlite_url.removeprefix("sqlite:///")), tmp_path / "copy.db")
        )
    past(outcome)
    outcome.held(POLL + SLACK)


async def test_the_disk_is_full(
    disk: dict[str, str], new_cluster: NewCluster, redis: Redis, past: Past
) -> None:
    full = Path(disk["FULL_DISK"])
    with Postgres(env=disk) as postgres:
        url = postgres.url(postgres.create_database())
        await asyncio.to_thread(upgrade, url)
        async with scene(list(new_cluster(redis.url, 2, database_url=url, **SETTINGS))) as at:
            outcome = await at.play(faults.takes_no_writes(full.touch, full.unlink, "full"))
    past(outcome)
    outcome.held(MOVED)


async def test_the_primary_is_read_only(
    new_cluster: NewCluster, redis: Redis, own_postgres: tuple[Postgres, str], past: Past
) -> None:
    postgres, url = own_postgres

    def turn(value: str) -> None:
        postgres.sql(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        postgres.sql("SELECT pg_reload_conf()")

    async with scene(list(new_cluster(redis.url, 2, database_url=url, **SETTINGS))) as at:
        fault = faults.takes_no_writes(lambda: turn("on"), lambda: turn("off"), "read-only")
        outcome = await at.play(fault)
    past(outcome)
    outcome.held(MOVED)


# Nodes.


async def test_a_node_dies(new_cluster: NewCluster, redis: Redis, past: Past) -> None:
    nodes = new_cluster(redis.url, 2, **SETTINGS)
    async with scene(list(nodes)) as at:
        outcome = await at.play(faults.a_node_dies(nodes[1]))
    past(outcome)
    outcome.held(REDIS)


async def test_a_node_sleeps(new_cluster: NewCluster, redis: Redis, past: Past) -> None:
    """With commands in hand, for longer than every lease."""
    nodes = new_cluster(redis.url, 2, **SETTINGS)
    async with scene(list(nodes)) as at:
        outcome = await at.play(faults.a_node_sleeps(nodes[1], float(SHORT["NODE_LEASE"]) + 1))
    past(outcome)
    outcome.held(REDIS)


async def test_a_clock_jumps(new_cluster: NewCluster, redis: Redis, tmp_path: Path, past: Past) -> None:
    """Of one node: an hour ahead, then an hour behind."""
    wall = WallClock(tmp_path)
    nodes = [new_cluster(redis.url, 1, **SETTINGS)[0], new_cluster(redis.url, 1, **wall.settings)[0]]
    async with scene(nodes) as at:
        jumps = [faults.at_once(lambda jump=jump: wall.set(jump)) for jump in ("+1h", "-1h")]
        outcome = await at.play(*jumps)
    past(outcome)
    outcome.held(REDIS)
