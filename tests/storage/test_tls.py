"""TLS to PostgreSQL: what asks for it has it, or has no connection. Against real servers."""

import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from migrations.run import current, upgrade
from storage.database import Database
from storage.errors import StorageError, StorageUnavailable
from storage.statement import Statement
from tests.support.certificate import Authority, self_signed
from tests.support.nursery import run_command
from tests.support.processes import free_port
from tests.support.server import Server, environment
from tests.support.services import Postgres

ENCRYPTED = Statement(
    sa.text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").columns(sa.column("ssl", sa.Boolean))
)


class Servers:
    """One cluster for each certificate, started when it is asked for."""

    def __init__(self, folder: Path) -> None:
        authority = Authority()
        past = timedelta(days=-2)
        made = {
            "good": authority.sign("127.0.0.1"),
            "revoked": authority.sign("127.0.0.1", serial=66),
            "expired": authority.sign("127.0.0.1", begins=past, ends=timedelta(days=-1)),
            "other": authority.sign("db.example.com"),
            "self": self_signed(),
        }
        self._certificates = made
        self._running: dict[str, Postgres] = {}
        self.root, self.crl = folder / "root.crt", folder / "root.crl"
        self.root.write_bytes(authority.pem)
        self.crl.write_bytes(authority.revoke(66))

    def of(self, kind: str) -> Postgres:
        if kind not in self._running:
            cluster = self._running[kind] = Postgres()
            if kind != "none":
                cluster.use_tls(*self._certificates[kind])
            cluster.start()
        return self._running[kind]

    def url(self, kind: str, query: str) -> str:
        return f"{self.of(kind).url()}?{query.format(root=self.root, crl=self.crl)}"

    def close(self) -> None:
        for cluster in self._running.values():
            cluster.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    made = Servers(tmp_path_factory.mktemp("tls"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_files_of_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


async def encrypted(url: str) -> bool:
    db = Database(url)
    await db.connect()
    try:
        row = await db.fetch_one(ENCRYPTED)
    finally:
        await db.disconnect()
    assert row is not None
    return bool(row[0])


ROOT = "&sslrootcert={root}"


MAY = [
    ("none", "sslmode=disable", False),
    ("none", "sslmode=allow", False),
    ("none", "sslmode=prefer", False),
    ("none", "", False),
    ("self", "sslmode=disable", False),
    ("self", "sslmode=allow", False),
    ("self", "sslmode=prefer", True),
    ("self", "", True),
    ("self", "sslmode=require", True),
    ("self", "ssl=true", True),
    ("good", "sslmode=require" + ROOT, True),
    ("good", "connect_timeout=0", True),
    ("good", "connect_timeout=7&application_name=x&options=-c%20work_mem%3D8MB&keepalives_idle=30", True),
    ("good", "sslmode=verify-ca" + ROOT, True),
    ("good", "sslmode=verify-full" + ROOT, True),
    ("good", "sslmode=verify-full&sslcrl={crl}" + ROOT, True),
    ("good", "sslmode=verify-full&ssl_min_protocol_version=TLSv1.3" + ROOT, True),
    ("other", "sslmode=require" + ROOT, True),
    ("other", "sslmode=verify-ca" + ROOT, True),
]
MAY_NOT = [
    ("none", "sslmode=require"),
    ("none", "ssl=true"),
    ("none", "sslmode=verify-ca" + ROOT),
    ("none", "sslmode=verify-full" + ROOT),
    ("none", "sslrootcert=system"),
    ("self", "sslmode=require" + ROOT),
    ("self", "sslmode=verify-ca" + ROOT),
    ("self", "sslmode=verify-full" + ROOT),
    ("good", "sslrootcert=system"),
    ("revoked", "sslmode=verify-full&sslcrl={crl}" + ROOT),
    ("expired", "sslmode=require" + ROOT),
    ("expired", "sslmode=verify-ca" + ROOT),
    ("expired", "sslmode=verify-full" + ROOT),
    ("other", "sslmode=verify-full" + ROOT),
]


@pytest.mark.parametrize(("kind", "query", "expected"), MAY)
async def test_connections_that_may_be(servers: Servers, kind: str, query: str, expected: bool) -> None:
    assert await encrypted(servers.url(kind, query)) is expected


@pytest.mark.parametrize(("kind", "query"), MAY_NOT)
async def test_connections_that_may_not_be(servers: Servers, kind: str, query: str) -> None:
    with pytest.raises(StorageUnavailable):
        await encrypted(servers.url(kind, query))


async def test_the_environment_asks_too(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(servers.root))
    assert await encrypted(servers.of("good").url())
    with pytest.raises(StorageUnavailable):
        await encrypted(servers.of("self").url())
    with pytest.raises(StorageUnavailable):
        await encrypted(servers.of("none").url())


# The commands.


def run(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return run_command(arguments, {**environment(**settings), "HOME": str(folder)}, folder)


def refuses(done: subprocess.CompletedProcess[str], *named: str) -> None:
    told = done.stderr.strip()
    assert done.returncode, told
    assert "Traceback" not in told
    for word in named:
        assert word in told


REFUSED = [
    ("none", "sslmode=require", "rejected SSL upgrade"),
    ("self", "sslmode=verify-full" + ROOT, "certificate"),
    ("expired", "sslmode=verify-full" + ROOT, "expired"),
    ("other", "sslmode=verify-full" + ROOT, "127.0.0.1"),
]


@pytest.mark.parametrize(("kind", "query", "named"), REFUSED)
def test_no_command_does_without(servers: Servers, tmp_path: Path, kind: str, query: str, named: str) -> None:
    url = servers.url(kind, query)
    port = str(free_port())
    serve = run(tmp_path, "serve", DATABASE_URL=url, SERVICE_PORT=port)
    refuses(serve, named)
    assert len([line for line in serve.stderr.splitlines() if named in line]) == 1, serve.stderr
    migrate = run(tmp_path, "migrate", DATABASE_URL=url)
    refuses(migrate, named)
    assert len(migrate.stderr.strip().splitlines()) == 1
    here = f"sqlite:///{tmp_path}/here.db"
    upgrade(here)
    copy = run(tmp_path, "copy-database", "--from", here, "--to", url)
    refuses(copy, named)
    assert len(copy.stderr.strip().splitlines()) == 1
    assert current(servers.of(kind).url()) is None, "nothing was written without TLS"


@pytest.mark.parametrize("query", ["channel_binding=require", "sslmod=require", "sslrootcert=/nowhere/root"])
def test_what_cannot_be_kept_refuses_to_start(tmp_path: Path, query: str) -> None:
    url, name = f"postgresql://u:hunter2@127.0.0.1:9/chat?{query}", query.partition("=")[0]
    here = f"sqlite:///{tmp_path}/here.db"
    for arguments in (
        ("serve",),
        ("migrate",),
        ("check-config",),
        ("import-sessions", "--from", here),
        ("copy-database", "--from", here, "--to", url),
        ("copy-database", "--from", url, "--to", here),
    ):
        told = run(tmp_path, *arguments, DATABASE_URL="" if "copy-database" in arguments else url)
        refuses(told, name)
        assert len([line for line in told.stderr.splitlines() if name in line]) == 1
        assert "hunter2" not in told.stderr


def test_a_copy_over_tls_and_over_a_socket(servers: Servers, tmp_path: Path) -> None:
    cluster = servers.of("good")
    there, third = cluster.create_database(), cluster.create_database()
    here = f"sqlite:///{tmp_path}/here.db"
    upgrade(here)
    tls = f"{cluster.url(there)}?sslmode=verify-full&sslrootcert={servers.root}&application_name=copying"
    done = run(tmp_path, "copy-database", "--from", here, "--to", tls)
    assert done.returncode == 0, done.stderr
    socket = f"postgresql+asyncpg://postgres@/{third}?host={cluster.socket_folder}&port={cluster.port}"
    done = run(tmp_path, "copy-database", "--from", tls, "--to", socket)
    assert done.returncode == 0, done.stderr


async def test_a_client_with_a_certificate(tmp_path: Path) -> None:
    authority = Authority()
    files = {name: tmp_path / name for name in ("root", "cert", "key")}
    with_key = (authority.pem, *authority.sign("chat"))
    for file, content in zip(files.values(), with_key, strict=True):
        file.write_bytes(content)
        file.chmod(0o600)
    cluster = Postgres()
    cluster.use_tls(*authority.sign("127.0.0.1"), clients=authority.pem)
    with cluster:
        asked = f"{cluster.url()}?sslmode=verify-full&sslrootcert={files['root']}"
        with pytest.raises(StorageError, match="client certificate"):
            await encrypted(asked)
        assert await encrypted(f"{asked}&sslcert={files['cert']}&sslkey={files['key']}")
        assert await encrypted(f"{cluster.url()}?sslcert={files['cert']}&sslkey={files['key']}")


def test_psql_takes_the_same_addresses(servers: Servers) -> None:
    """What runs with us runs in the documents' `psql "$DATABASE_URL"`, and the other way round."""
    for cases, works in ((MAY, True), (MAY_NOT, False)):
        for kind, query, *_ in cases:
            if "system" in query:  # known to psql 16 and later
                continue
            done = subprocess.run(
                [servers.of(kind).program("psql"), "-X", "-c", "SELECT 1", servers.url(kind, query)],
                env=environment(),
                capture_output=True,
                text=True,
            )
            assert (done.returncode == 0) is works, (kind, query, done.stderr)


def test_serving_over_a_socket(servers: Servers, new_server: Callable[..., Server]) -> None:
    cluster = servers.of("good")
    name = cluster.create_database()
    upgrade(cluster.url(name))
    node = new_server(f"postgresql://postgres@/{name}?host={cluster.socket_folder}&port={cluster.port}")
    ready = httpx.get(f"{node.url}/readyz", trust_env=False)
    assert ready.status_code == 200, ready.text


async def test_several_hosts(servers: Servers) -> None:
    cluster = servers.of("good")
    nobody = free_port()
    rest = "/postgres?sslmode=verify-full&sslrootcert="
    assert await encrypted(
        f"postgresql://postgres@127.0.0.1:{nobody},127.0.0.1:{cluster.port}{rest}{servers.root}"
        "&target_session_attrs=read-write"
    )
    with pytest.raises(StorageUnavailable):
        await encrypted(
            f"postgresql://postgres@127.0.0.1:{nobody},127.0.0.1:{cluster.port}{rest}{servers.root}"
            "&target_session_attrs=standby"
        )
