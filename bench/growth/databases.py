"""Filled databases and copies of them: PostgreSQL's templates, or files."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import asyncpg  # type: ignore[import-untyped]

from bench.growth.seed import Size, seed
from storage.url import sqlite_file
from tests.support.services import Postgres

#: As a server of two cores would have them.
SETTINGS = {"shared_buffers": "512MB", "maintenance_work_mem": "256MB", "max_wal_size": "4GB"}


class Databases(Protocol):
    """Addresses of databases of one kind."""

    def seeded(self, size: Size, root: Path) -> str:
        """A filled one, as the build in `root` migrates it."""

    def copy(self, url: str, name: str) -> str: ...

    def drop(self, url: str) -> None: ...

    def processes(self, url: str) -> list[int]:
        """Those that work for a node, besides its own."""


def migrate(root: Path, url: str) -> None:
    """By the build in this folder."""
    settings = {
        "DATABASE_URL": url,
        "PYTHONPATH": str(root),
        "JWT_SECRET_KEY": "s" * 40,
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-m", "server", "migrate"]
    subprocess.run(command, env=settings, cwd=root, check=True, stdout=subprocess.DEVNULL, timeout=600)


class _Server:
    def __init__(self, url: str) -> None:
        self._url = url

    def _at(self, name: str) -> str:
        return f"{self._url}/{name}"

    def _do(self, *statements: str) -> list[str]:
        """The first column of the last one."""

        async def run() -> list[str]:
            connection = await asyncpg.connect(self._at("postgres"))
            try:
                rows = []
                for statement in statements:
                    rows = await connection.fetch(statement)
                return [row[0] for row in rows]
            finally:
                await connection.close()

        return asyncio.run(run())

    def seeded(self, size: Size, root: Path) -> str:
        name = f"growth_{size.name}"
        if name not in self._do("SELECT datname FROM pg_database"):
            self._do(f"CREATE DATABASE {name}_filling")
            migrate(root, self._at(f"{name}_filling"))
            asyncio.run(seed(self._at(f"{name}_filling"), size))
            self._do(f"ALTER DATABASE {name}_filling RENAME TO {name}")
        return self._at(name)

    def copy(self, url: str, name: str) -> str:
        source = url.rpartition("/")[2]
        self._do(
            f"DROP DATABASE IF EXISTS {name} WITH (FORCE)",
            f"CREATE DATABASE {name} TEMPLATE {source}",
            "CHECKPOINT",
        )
        return self._at(name)

    def processes(self, url: str) -> list[int]:
        name = url.rpartition("/")[2]
        sql = f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND backend_type = 'client backend'"
        return [int(number) for number in self._do(sql)]

    def drop(self, url: str) -> None:
        self._do(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")


class _Files:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def seeded(self, size: Size, root: Path) -> str:
        url = f"sqlite:///{self._folder}/{size.name}.db"
        migrate(root, url)
        asyncio.run(seed(url, size))
        return url

    def copy(self, url: str, name: str) -> str:
        target = self._folder / f"{name}.db"
        shutil.copyfile(sqlite_file(url), target)
        return f"sqlite:///{target}"

    def processes(self, url: str) -> list[int]:
        return []

    def drop(self, url: str) -> None:
        for end in ("", "-wal", "-shm"):
            Path(f"{sqlite_file(url)}{end}").unlink(missing_ok=True)


@contextmanager
def server(url: str | None) -> Iterator[Databases]:
    """The PostgreSQL at this address; without one, one of its own."""
    if url is not None:
        yield _Server(url.rstrip("/"))
        return
    with Postgres(SETTINGS) as own:
        yield _Server(own.url("").rstrip("/"))


@contextmanager
def files(folder: Path) -> Iterator[Databases]:
    yield _Files(folder)
