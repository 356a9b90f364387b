"""A database that takes no writes says so, at /readyz, in the log and in a metric; and when it does again."""

import asyncio
import secrets
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from migrations.run import upgrade
from storage.health import trouble_of
from tests.support.server import Server
from tests.support.services import Postgres, program

SOURCE = Path(__file__).parent.parent / "support" / "full_disk.c"
#: Text that no compression makes small.
LONG = 8000


@pytest.fixture(scope="module")
def disk() -> Iterator[dict[str, str]]:
    """The environment of a program whose disk is full while $FULL_DISK exists."""
    folder = Path(tempfile.mkdtemp(prefix="parley-disk-"))
    folder.chmod(0o755)  # PostgreSQL's user looks into it
    library = folder / "full_disk.so"
    subprocess.run([program("cc"), "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    yield {"LD_PRELOAD": str(library), "FULL_DISK": str(folder / "full")}
    shutil.rmtree(folder)


async def ready(client: httpx.AsyncClient, database: str, seconds: float = 15) -> dict[str, object]:
    """Waits until /readyz says this of the database; its answer."""
    async with asyncio.timeout(seconds):
        while True:
            answer = await client.get("/readyz")
            if answer.json()["checks"]["database"] == database:
                assert answer.status_code == (200 if database == "ok" else 503)
                body: dict[str, object] = answer.json()
                return body
            await asyncio.sleep(0.05)


async def say(client: httpx.AsyncClient, session_id: str, text: str) -> httpx.Response:
    return await client.post(f"/api/chat/sessions/{session_id}/messages", json={"content": text})


async def metric(client: httpx.AsyncClient, kind: str) -> float:
    text = (await client.get("/metrics")).text
    line = next(each for each in text.splitlines() if f'parley_database_trouble{{kind="{kind}"}}' in each)
    return float(line.rpartition(" ")[2])


async def fills_and_empties(node: Server, full: Path) -> None:
    async with node.api() as client:
        created = await client.post("/api/chat/sessions", json={"title": "x"})
        session_id = created.json()["session_id"]
        assert (await say(client, session_id, "before")).status_code == 201
        await ready(client, "ok")
        await asyncio.to_thread(full.touch)
        try:
            async with asyncio.timeout(20):
                while (answer := await say(client, session_id, secrets.token_hex(LONG))).status_code == 201:
                    pass
            assert answer.status_code == 503
            assert answer.json()["error"]["retryable"] is True
            await ready(client, "full")
            assert await metric(client, "full") == 1
            assert (await client.get(f"/api/chat/sessions/{session_id}/messages")).status_code == 200
        finally:
            await asyncio.to_thread(full.unlink)
        await ready(client, "ok")
        assert await metric(client, "full") == 0
        assert (await say(client, session_id, "after")).status_code == 201
    log = node.log_text()
    assert log.count("takes no writes: its disk is full") == 1
    assert log.count("takes writes again") == 1


async def test_postgresql_on_a_full_disk(disk: dict[str, str], new_server: Callable[..., Server]) -> None:
    with Postgres(env=disk) as cluster:
        name = cluster.create_database()
        await asyncio.to_thread(upgrade, cluster.url(name))
        await fills_and_empties(new_server(cluster.url(name)), Path(disk["FULL_DISK"]))


async def test_sqlite_on_a_full_disk(
    disk: dict[str, str], sqlite_url: str, new_server: Callable[..., Server]
) -> None:
    await fills_and_empties(new_server(sqlite_url, **disk), Path(disk["FULL_DISK"]))


async def test_a_primary_that_is_read_only(
    own_postgres: tuple[Postgres, str], new_server: Callable[..., Server]
) -> None:
    cluster, url = own_postgres
    node = new_server(url)
    async with node.api() as client:
        created = await client.post("/api/chat/sessions", json={"title": "x"})
        session_id = created.json()["session_id"]
        await ready(client, "ok")
        cluster.sql("ALTER SYSTEM SET default_transaction_read_only = on")
        cluster.sql("SELECT pg_reload_conf()")
        await ready(client, "read-only")
        assert await metric(client, "read-only") == 1
        assert (await say(client, session_id, "meanwhile")).status_code == 503
        cluster.sql("ALTER SYSTEM RESET default_transaction_read_only")
        cluster.sql("SELECT pg_reload_conf()")
        await ready(client, "ok")
        assert (await say(client, session_id, "after")).status_code == 201
    log = node.log_text()
    assert log.count("takes no writes: it is read-only") == 1
    assert log.count("takes writes again") == 1


def test_sqlite_tells_its_troubles_apart(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    with sqlite3.connect(file) as made:
        made.execute("CREATE TABLE t (x)")
    made.close()
    reader = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as read_only:
        reader.execute("INSERT INTO t VALUES (1)")
    reader.close()
    assert trouble_of(read_only.value) == "read-only"
    small = sqlite3.connect(file)
    small.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as full:
        small.execute("INSERT INTO t VALUES (zeroblob(100000))")
    small.close()
    assert trouble_of(full.value) == "full"
    assert trouble_of(sqlite3.OperationalError("x")) == ""
