"""Where turns are tried: on one node with SQLite, and over two with PostgreSQL and Redis."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from storage.database import Database
from storage.ops import Op
from storage.writer import Writer
from tests.cluster.conftest import Nodes
from tests.support.server import Server
from tests.support.services import Postgres, Redis


class Place(NamedTuple):
    """People are connected to `front`, workers to `back`."""

    front: Server
    back: Server


@contextmanager
def two_nodes(folder: Path, postgres: Postgres, template: str) -> Iterator[Nodes]:
    """With a database and a Redis of their own."""
    name = postgres.create_database(template)
    with Redis() as redis:
        nodes = Nodes(folder, postgres.url(name), redis.url, 2)
        nodes.redis = redis
        try:
            yield nodes.start()
        finally:
            nodes.close()
    postgres.drop_database(name)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("turns")
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        with Server.on_sqlite(template, folder) as node:
            yield Place(node, node)
        return
    given = request.getfixturevalue("postgres"), request.getfixturevalue("postgres_template")
    with two_nodes(folder, *given) as nodes:
        yield Place(nodes[0], nodes[1])


@pytest.fixture(scope="module")
def nodes(
    postgres: Postgres, postgres_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nodes]:
    with two_nodes(tmp_path_factory.mktemp("nodes"), postgres, postgres_template) as running:
        yield running


async def commit(database_url: str, op: Op) -> None:
    """By a writer of its own: who took the command does nothing more."""
    database = Database(database_url)
    await database.connect()
    writer = Writer(database, lambda: datetime.now(UTC), lambda _: None)
    writer.start()
    try:
        await writer.submit(op)
    finally:
        await writer.stop()
        await database.disconnect()


@pytest.fixture
async def agent(nodes: Nodes) -> int:
    async with nodes[0].api("backend", "service") as api:
        made = await api.post("/api/chat/agents", json={"name": "Remote", "kind": "remote"})
        agent_id: int = made.json()["id"]
        return agent_id
