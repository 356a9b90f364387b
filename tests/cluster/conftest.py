"""Nodes in processes of their own, on one PostgreSQL and one Redis, with short leases."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes import wait_until
from tests.support.server import Server
from tests.support.services import Postgres, Redis

#: Short enough to wait for in a test, long enough for a busy machine.
SHORT = {
    "NODE_LEASE": "3",
    "PRESENCE_GRACE": "0.5",
    "TYPING_TTL": "2",
    "STREAM_LEASE": "6",
    "SHUTDOWN_GRACE": "8",
    "REDIS_TIMEOUT": "0.5",
    "DATABASE_POOL_SIZE": "5",
    "DATABASE_MAX_OVERFLOW": "15",
    "LOG_LEVEL": "INFO",
    "TRUSTED_PROXIES": "127.0.0.1/32",
}


class Nodes:
    """A cluster: `cluster[0]`, `cluster[1]`, … `redis`: where it is theirs alone."""

    redis: Redis | None = None

    def __init__(self, folder: Path, database_url: str, redis_url: str, count: int, **settings: str) -> None:
        more = {**SHORT, "REDIS_URL": redis_url, **settings}
        self.servers = [Server(folder / f"node-{n + 1}", database_url, **more) for n in range(count)]

    def __getitem__(self, at: int) -> Server:
        return self.servers[at]

    def __len__(self) -> int:
        return len(self.servers)

    def __iter__(self) -> Iterator[Server]:
        return iter(self.servers)

    def start(self) -> "Nodes":
        """All at once: each is busy importing for a second."""
        for server in self.servers:
            server._spawn()
        for server in self.servers:
            assert server.process is not None
            wait_until(server.healthy, server.process, server.log, 40)
        return self

    async def start_async(self) -> "Nodes":
        """With the caller's event loop going on: a proxy of the test's own may stand in between."""
        await asyncio.gather(*[server.start_async() for server in self.servers])
        return self

    def close(self) -> None:
        for server in self.servers:
            if server.running:
                server.process.terminate()  # type: ignore[union-attr]
        for server in self.servers:
            server.close()


@contextmanager
def three_nodes(postgres: Postgres, template: str, folder: Path) -> Iterator[Nodes]:
    """Three nodes with a database and a Redis of their own."""
    name = postgres.create_database(template)
    with Redis() as redis:
        nodes = Nodes(folder, postgres.url(name), redis.url, 3)
        try:
            yield nodes.start()
        finally:
            nodes.close()
    postgres.drop_database(name)


@pytest.fixture(scope="module")
def steady(
    postgres: Postgres, postgres_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nodes]:
    """Three nodes for the tests of a file that breaks nothing."""
    with three_nodes(postgres, postgres_template, tmp_path_factory.mktemp("steady")) as nodes:
        yield nodes


@pytest.fixture
def new_cluster(tmp_path: Path, postgres_url: str) -> Iterator[Callable[..., Nodes]]:
    """`new_cluster(redis.url, 3, **settings)`: nodes of the test's own, started unless `start` is false."""
    made: list[Nodes] = []

    def make(
        redis_url: str,
        count: int = 3,
        database_url: str = postgres_url,
        start: bool = True,
        **settings: str,
    ) -> Nodes:
        nodes = Nodes(tmp_path / f"cluster-{len(made)}", database_url, redis_url, count, **settings)
        made.append(nodes)
        return nodes.start() if start else nodes

    yield make
    for nodes in made:
        nodes.close()
