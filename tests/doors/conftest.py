"""One server for the suite over all doors: every test works in sessions of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.aisdk import AISdk
from tests.support.server import Server
from tests.support.services import Postgres

QUICK = {"PRESENCE_GRACE": "0.3", "TYPING_TTL": "1"}
"""Times that tests wait for; the product's own defaults are longer."""
PATIENT = {"PRESENCE_GRACE": "3", "TYPING_TTL": "4"}
"""For what has to come back in time, on a busy machine too."""


@pytest.fixture(scope="session")
def parley(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """On SQLite."""
    folder = tmp_path_factory.mktemp("doors")
    with Server.on_sqlite(sqlite_template, folder, **QUICK) as node:
        yield node


@pytest.fixture(scope="session")
def patient(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("doors-patient")
    with Server.on_sqlite(sqlite_template, folder, **PATIENT) as node:
        yield node


@pytest.fixture(scope="session")
def parley_on_postgresql(
    postgres: Postgres, postgres_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    name = postgres.create_database(postgres_template)
    with Server(tmp_path_factory.mktemp("doors-postgresql"), postgres.url(name), **QUICK) as node:
        yield node
    postgres.drop_database(name)


@pytest.fixture(params=["parley", "parley_on_postgresql"], ids=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest) -> Server:
    """Where the database has a say: the test runs on both."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="module")
def pages() -> Iterator[AISdk]:
    sdk = AISdk()
    yield sdk
    sdk.close()
