"""PostgreSQL as people have it: a strict default isolation, and fewer connections than all pools together."""

import asyncio
from collections.abc import Callable

import pytest

from migrations.run import upgrade
from tests.cluster.conftest import Nodes
from tests.support.doors import enter, new_session
from tests.support.server import Server
from tests.support.services import Postgres, Redis

NewCluster = Callable[..., Nodes]
#: As they are by default.
POOLS = {"DATABASE_POOL_SIZE": "20", "DATABASE_MAX_OVERFLOW": "40"}


async def reads(node: Server, session: str, count: int) -> list[int]:
    async with node.api("alice") as api:
        answers = [api.get(f"/api/chat/sessions/{session}/messages") for _ in range(count)]
        return [answer.status_code for answer in await asyncio.gather(*answers)]


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
async def test_nobody_is_refused(new_cluster: NewCluster, redis: Redis, level: str) -> None:
    """Three nodes with default pools on a server for 60; two people write in one session at every node."""
    with Postgres({"max_connections": "60"}) as postgres:
        name = postgres.create_database()
        postgres.sql(f"ALTER DATABASE {name} SET default_transaction_isolation TO '{level}'")
        await asyncio.to_thread(upgrade, postgres.url(name))
        nodes = new_cluster(redis.url, 3, database_url=postgres.url(name), **POOLS)
        session = await new_session(nodes[0], "alice", members=("bob",))
        async with (
            enter("socketio", nodes[0], "alice", session) as alice,
            enter("websocket", nodes[1], "bob", session) as bob,
            enter("rest", nodes[2], "alice", session) as third,
        ):
            doors = (alice, bob, third)

            async def write(number: int) -> None:
                for n in range(20):
                    await doors[number].message(f"{number}.{n}", reply=False)

            told = asyncio.gather(*[write(number) for number in range(3)])
            statuses = await asyncio.gather(*[reads(node, session, 80) for node in nodes])
            await told
            assert [status for each in statuses for status in each if status != 200] == []
            for door in doors:
                seqs = [m["seq"] for m in await door.inbox.wait_count("message", 60)]
                assert seqs == list(range(1, 61))
        assert postgres.sql("SELECT 1") == "1"  # there is room for others
