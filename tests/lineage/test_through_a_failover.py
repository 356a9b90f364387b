"""A store fails over to one that was behind: every door, with answers under way. `make faults`
has the others of the kind, and rooms of one member and of 200.
"""

from collections.abc import Callable

from tests.cluster.conftest import Nodes
from tests.lineage.faults import failover, promotion
from tests.lineage.scene import POLL, REDIS, SETTINGS, SLACK, scene
from tests.support.proxy import Proxy
from tests.support.services import Postgres, Redis, Sentinel, Standby

NewCluster = Callable[..., Nodes]


async def test_redis_through_sentinel(new_cluster: NewCluster, own_redis: Redis) -> None:
    with Redis() as replica, Sentinel(own_redis, replica) as sentinel:
        async with scene(list(new_cluster(sentinel.url, 2, **SETTINGS))) as at:
            outcome = await at.play(failover(sentinel))
    outcome.held(REDIS + SLACK)


async def test_a_standby_that_was_behind(
    new_cluster: NewCluster, redis: Redis, own_postgres: tuple[Postgres, str]
) -> None:
    """It is promoted, and takes over the address; the old primary is alive and silent."""
    postgres, url = own_postgres
    with Standby(postgres) as standby:
        async with Proxy(postgres.port) as way:

            async def lose() -> None:
                way.silence()

            there = url.replace(str(postgres.port), str(way.port))
            nodes = await new_cluster(redis.url, 2, there, start=False, **SETTINGS).start_async()
            async with scene(list(nodes), loses=True) as at:
                outcome = await at.play(promotion(standby, way, lose))
                assert outcome.gone > 0
    outcome.held(POLL + 2 * SLACK)
