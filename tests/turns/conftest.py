"""Where turns are tried: on one node with SQLite, and over two with PostgreSQL and Redis."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cluster.conftest import Nodes
from tests.support.server import Server
from tests.support.services import Postgres, Redis


class Place(NamedTuple):
    """People are connected to `front`, workers to `back`."""

    front: Server
    back: Server


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("turns")
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        shutil.copyfile(template, folder / "parley.db")
        with Server(folder, f"sqlite:///{folder}/parley.db") as node:
            yield Place(node, node)
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = postgres.create_database(request.getfixturevalue("postgres_template"))
    with Redis() as redis:
        nodes = Nodes(folder, postgres.url(name), redis.url, 2)
        try:
            nodes.start()
            yield Place(nodes[0], nodes[1])
        finally:
            nodes.close()
    postgres.drop_database(name)
