"""What holds conversations or keys is its owner's alone, whatever the umask says."""

import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from server.keys import development_key
from storage import private
from storage.blobs.local import LocalBlobs
from storage.database import Database
from tests.server.test_cli import run


@pytest.fixture(autouse=True)
def _generous() -> Iterator[None]:
    """The usual umask, so that only what is closed on purpose is closed."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_database_and_what_sqlite_puts_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "new" / "deeper" / "parley.db"
    database = Database(f"sqlite:///{file}")
    await database.connect()
    try:
        async with database.transaction() as connection:
            await connection.command("CREATE TABLE some (x)")
        beside = sorted(path.name for path in file.parent.iterdir())
        assert "parley.db-wal" in beside
        assert {mode(path) for path in file.parent.iterdir()} == {0o600}
    finally:
        await database.disconnect()
    assert mode(file.parent) == mode(file.parent.parent) == 0o700


@pytest.mark.parametrize(
    ("before", "after"), [(0o644, 0o600), (0o666, 0o600), (0o640, 0o640), (0o600, 0o600)]
)
async def test_a_database_open_to_everybody_is_closed(tmp_path: Path, before: int, after: int) -> None:
    """Nobody chose that. A group's rights were given on purpose."""
    file = tmp_path / "parley.db"
    file.touch()
    file.chmod(before)
    database = Database(f"sqlite:///{file}")
    await database.connect()
    await database.disconnect()
    assert mode(file) == after


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o750)
    private.folder(shared / "ours" / "deeper")
    assert [mode(path) for path in (shared, shared / "ours", shared / "ours" / "deeper")] == [
        0o750,
        0o700,
        0o700,
    ]


async def test_contents(tmp_path: Path) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"hello"

    blobs = LocalBlobs(tmp_path / "files")
    await blobs.put("file_1", content(), "text/plain")
    made = [tmp_path / "files", *(tmp_path / "files").rglob("*")]
    assert {mode(path) for path in made if path.is_dir()} == {0o700}
    assert [mode(path) for path in made if path.is_file()] == [0o600]


def test_the_development_keys_folder(tmp_path: Path) -> None:
    development_key(tmp_path / "data")
    assert (mode(tmp_path / "data"), mode(tmp_path / "data" / "dev-secret")) == (0o700, 0o600)


def test_what_the_commands_make(tmp_path: Path) -> None:
    """`migrate` makes a database, `copy-database` another one."""
    first, second = (f"sqlite:///{tmp_path}/{name}/parley.db" for name in ("first", "second"))
    assert run(tmp_path, "migrate", DATABASE_URL=first).returncode == 0
    done = run(tmp_path, "copy-database", "--from", first, "--to", second)
    assert done.returncode == 0, done.stderr
    for name in ("first", "second"):
        assert mode(tmp_path / name) == 0o700
        assert mode(tmp_path / name / "parley.db") == 0o600
