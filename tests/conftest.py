"""Fixtures for everybody: databases, Redis, running servers and clients, all real.

Scopes say what a test may do: what is `session` or `module` wide is shared and stays up;
a test that stops, kills or pauses something takes the `own_…` variant.
"""

import gc
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from migrations.run import upgrade
from scripts import build_site
from tests.support.bundled import ExampleBrowser
from tests.support.jsclient import JsClients
from tests.support.memory import use_memory
from tests.support.processes import free_port, tail
from tests.support.server import Server
from tests.support.services import Postgres, Redis

#: Files that take long, the longest first: the run would end with one of them, and the other workers idle.
LONG = (
    "people/test_commands.py", "people/test_playground.py", "people/test_turns.py",
    "doors/test_hostile.py", "cluster/test_make_cluster.py", "cluster/test_clocks.py",
    "server/test_serve.py", "people/test_testing.py", "lineage/test_sql_goes_back.py",
    "service/test_bounds.py", "model/test_model.py", "people/test_turn_stories.py",
    "clients/test_come_back.py", "doors/test_one_way_in.py", "files/test_uploads.py",
    "house/test_recipes.py", "storage/test_outage.py", "cluster/test_living.py",
    "people/test_schemathesis.py", "turns/test_waiting_nodes.py", "cluster/test_stores.py",
    "conformance/test_api_parity.py", "people/test_snippets.py", "people/test_react.py",
    "cluster/test_one_port.py", "cluster/test_outages.py", "service/test_places.py",
    "doors/test_identity.py", "streams/test_memory.py", "clients/test_event_source.py",
    "lineage/test_through_a_failover.py", "cluster/test_proxies.py", "service/test_service.py",
    "cluster/test_dead_node.py", "cluster/test_parts.py", "server/test_doctor.py", "storage/test_pool.py",
    "recovery/test_recovery.py", "clients/test_offline.py", "engine/test_after_answer.py",
    "storage/test_health.py", "doors/test_openai_answers.py", "streams/test_examples.py",
    "cluster/test_fencing.py", "search/test_search.py", "lineage/test_redis_goes_back.py",
    "test_conversation.py", "doors/test_aisdk_pages.py", "cluster/test_openai_nodes.py",
    "doors/test_copilotkit.py", "cluster/test_agui_nodes.py", "clients/test_everybody.py",
    "clients/test_react.py", "people/test_chat.py",
)  # fmt: skip

use_memory()


def pytest_configure(config: pytest.Config) -> None:
    """Each worker begins to read the tests elsewhere: what one has compiled the others find."""
    gc.disable()  # all of it stays
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None and config.args == ["tests"]:
        parts = sorted({str(test.parent) for test in Path("tests").glob("*/test_*.py")})
        parts += sorted(map(str, Path("tests").glob("test_*.py")))
        first = int(worker.removeprefix("gw")) * len(parts) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        config.args[:] = parts[first:] + parts[:first]


def pytest_collection_finish() -> None:
    """The collector looks at what tests leave, and not at thousands of tests each time."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files come first, then those with many tests: `--dist loadfile` hands them out so."""
    place = {f"tests/{name}": at for at, name in enumerate(LONG)}
    tests = Counter(_file(item) for item in items)
    items.sort(key=lambda item: (place.get(_file(item), len(LONG)), -tests[_file(item)], _file(item)))


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # a wrapper: the value passes through
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Server):
                report.sections.append((f"log of {name}", tail(value.log)))
    return report


# Databases.


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """No power fails beneath it, and nobody follows it: no disk is waited for, no copy logged."""
    with Postgres({"fsync": "off", "wal_level": "minimal", "max_wal_senders": "0"}) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    """A migrated database, to be copied: that takes milliseconds."""
    name = postgres.create_database()
    upgrade(postgres.url(name))
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sqlite-template") / "parley.db"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def site() -> None:
    """The documentation as it is now, where servers have it."""
    build_site.ensure()


@pytest.fixture
def postgres_url(postgres: Postgres, postgres_template: str) -> Iterator[str]:
    """A fresh, migrated PostgreSQL database."""
    name = postgres.create_database(postgres_template)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh, migrated SQLite file."""
    shutil.copyfile(sqlite_template, tmp_path / "parley.db")
    return f"sqlite:///{tmp_path}/parley.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh, migrated database: the test runs on each kind."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
def own_postgres() -> Iterator[tuple[Postgres, str]]:
    """A cluster of the test's own, which it may stop and kill, and a migrated database in it."""
    with Postgres() as cluster:
        name = cluster.create_database()
        upgrade(cluster.url(name))
        yield cluster, cluster.url(name)


@pytest.fixture(scope="session")
def _redis() -> Iterator[Redis]:
    with Redis() as service:
        yield service


@pytest.fixture
def redis(_redis: Redis) -> Redis:
    """An empty Redis, shared by tests one after the other."""
    _redis.cli("FLUSHALL")
    return _redis


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A Redis of the test's own, which it may stop, pause and kill."""
    with Redis() as service:
        yield service


# Servers and clients.


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """`new_server(database_url, **settings)`: a started server; several make a cluster."""
    servers: list[Server] = []

    def start(database_url: str, **settings: str) -> Server:
        node = Server(tmp_path / f"node-{len(servers) + 1}", database_url, **settings)
        servers.append(node)
        return node.start()

    yield start
    for node in servers:
        node.close()


@pytest.fixture
def server(sqlite_url: str, new_server: Callable[..., Server]) -> Server:
    """A server of the test's own on a fresh SQLite file."""
    return new_server(sqlite_url)


@pytest.fixture
def postgres_server(postgres_url: str, new_server: Callable[..., Server]) -> Server:
    """A server of the test's own on a fresh PostgreSQL database."""
    return new_server(postgres_url)


@pytest.fixture
def any_server(database_url: str, new_server: Callable[..., Server]) -> Server:
    """The test runs on SQLite and on PostgreSQL."""
    return new_server(database_url)


@pytest.fixture(scope="module")
def shared_server(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of a file: each works in sessions of its own and leaves it up."""
    folder = tmp_path_factory.mktemp("shared-server")
    with Server.on_sqlite(sqlite_template, folder) as node:
        yield node


@pytest.fixture(scope="module")
def port() -> int:
    """Where a page stands, or what a server asks."""
    return free_port()


@pytest.fixture(scope="module")
def browser(port: int) -> Iterator[ExampleBrowser]:
    """Its pages stand at `port`."""
    running = ExampleBrowser(port)
    yield running
    running.close()


@pytest.fixture
async def js() -> AsyncIterator[JsClients]:
    """A Node process for the official client."""
    async with JsClients() as clients:
        yield clients
