"""`import-sessions`: many rows, one in a hundred damaged, the process killed twice in between."""

import asyncio
import json
import random
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from storage.database import Database
from storage.old_sessions import session_of
from storage.sessions import Sessions
from tests.support.nursery import nursery, run_command
from tests.support.processes import kill_tree
from tests.support.server import Server, environment

ROWS = 24_000
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
TABLE = """CREATE TABLE sessions (session_id TEXT PRIMARY KEY, user_id TEXT, metadata TEXT,
    created_at TIMESTAMP, expires_at TIMESTAMP, last_activity TIMESTAMP, request_count INTEGER)"""
FIELDS = ("session_id", "user_id", "metadata", "created_at", "expires_at", "last_activity", "request_count")
#: (field, value): each makes a row that does not fit.
DAMAGE: list[tuple[str, Any]] = [
    ("session_id", None),
    ("session_id", ""),
    ("session_id", "s" * 101),
    ("session_id", b"\xff\xfe"),
    ("user_id", None),
    ("user_id", ""),
    ("user_id", "u" * 256),
    ("user_id", b"\xc3("),
    ("user_id", "nul\0"),
    ("metadata", "{"),
    ("metadata", "[1]"),
    ("metadata", '{"a": NaN}'),
    ("metadata", '{"a": "\\u0000"}'),
    ("metadata", '{"a": "\\ud800"}'),
    ("metadata", '{"a": 99999999999999999999999}'),
    ("metadata", b"\xff"),
    ("created_at", None),
    ("created_at", "yesterday"),
    ("expires_at", None),
    ("expires_at", "2026-13-45 00:00:00"),
    ("expires_at", "1990-01-01 00:00:00"),
    ("expires_at", 1e300),
    ("last_activity", "never"),
    ("request_count", -1),
    ("request_count", "many"),
    ("request_count", 1.5),
]


def written(time: datetime, number: int) -> str:
    """A time in one of the ways that the old store has them."""
    if number % 3 == 0:
        return time.replace(tzinfo=None).isoformat(" ")
    if number % 3 == 1:
        return time.isoformat()
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def old_row(number: int) -> dict[str, Any]:
    created = NOW - timedelta(minutes=number % 5000, microseconds=number)
    active = created + timedelta(minutes=number % 60)
    return {
        "session_id": f"old:{number:06}",
        "user_id": f"user{number % 900}",
        "metadata": json.dumps({"n": number, "tags": ["가", "b"], "deep": {"x": 1.5}})
        if number % 7
        else None,
        "created_at": written(created, number),
        "expires_at": written(active + timedelta(days=400), number + 1),
        "last_activity": written(active, number + 2),
        "request_count": number % 1000,
    }


def old_store(file: Path, rows: list[dict[str, Any]]) -> None:
    with closing(sqlite3.connect(file)) as store:
        store.execute(TABLE)
        values = [tuple(row[name] for name in FIELDS) for row in rows]
        # A blob in a text column comes back as one; so does damaged text through a cast.
        texts = ("metadata", "user_id", "session_id")
        marks = ", ".join("CAST(? AS TEXT)" if name in texts else "?" for name in FIELDS)
        store.executemany(f"INSERT INTO sessions VALUES ({marks})", values)
        store.commit()


def command(url: str, folder: Path, *more: str) -> tuple[list[str], dict[str, str]]:
    """The arguments of `python -m server`, and its environment."""
    return ["import-sessions", "--from", f"sqlite:///{folder}/old.db", *more], environment(DATABASE_URL=url)


def run(url: str, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return run_command(*command(url, folder, *more), folder, timeout=100)


async def counted(url: str) -> int:
    async with connected(url) as db:
        return await Sessions(db).count_active(NOW)


class connected:
    def __init__(self, url: str) -> None:
        self.db = Database(url)

    async def __aenter__(self) -> Database:
        await self.db.connect()
        return self.db

    async def __aexit__(self, *_: object) -> None:
        await self.db.disconnect()


@pytest.mark.timeout(120)
async def test_killed_twice_every_good_row_is_there_once(
    database_url: str, tmp_path: Path, new_server: Callable[..., Server]
) -> None:
    chance = random.Random(5)
    rows = [old_row(number) for number in range(ROWS)]
    bad = set(chance.sample(range(ROWS), ROWS // 100))
    for place, number in enumerate(sorted(bad)):
        field, value = DAMAGE[place % len(DAMAGE)]
        if field == "session_id" and value is not None:
            # Still one of its kind: an id is the primary key.
            value = value if place < len(DAMAGE) else None
        rows[number][field] = value
    old_store(tmp_path / "old.db", rows)
    arguments, env = command(database_url, tmp_path)
    for least in (2_000, 8_000):
        log = tmp_path / f"log{least}"
        process = nursery().start(arguments, log=log, errors=log, env=env, cwd=tmp_path)
        async with asyncio.timeout(60):
            while await counted(database_url) < least:
                assert process.poll() is None, log.read_text()
        kill_tree(process)
    interrupted = await counted(database_url)
    assert 8_000 <= interrupted < ROWS - len(bad)
    done = run(database_url, tmp_path, "--report", str(tmp_path / "report"))
    assert done.returncode == 0, done.stderr
    assert f"{ROWS} rows: {ROWS - len(bad) - interrupted} imported" in done.stderr
    assert (tmp_path / "report").stat().st_mode & 0o777 == 0o600, "it holds messages"
    report = [json.loads(line) for line in (tmp_path / "report").read_text().splitlines()]
    assert {line["row"] - 1 for line in report} == bad
    assert len(report) == len(bad)
    assert all(line["problem"] for line in report)
    assert await counted(database_url) == ROWS - len(bad)
    assert f"{interrupted} already there, {len(bad)} that do not fit" in done.stderr
    async with connected(database_url) as db:
        for number in [n for n in chance.sample(range(ROWS), 300) if n not in bad]:
            found = await Sessions(db).get(f"old:{number:06}")
            old = rows[number]
            assert found is not None
            assert found.user_id == old["user_id"]
            assert found.metadata == json.loads(old["metadata"] or "{}")
            assert found.request_count == old["request_count"]
            for name in ("created_at", "expires_at", "last_activity"):
                time = datetime.fromisoformat(old[name])
                assert getattr(found, name) == (time if time.tzinfo else time.replace(tzinfo=UTC))
            assert found.ttl_hours == pytest.approx(400 * 24)
    # A client goes on with the id it has.
    server = new_server(database_url)
    number = next(n for n in range(ROWS) if n not in bad)
    async with server.api(f"user{number % 900}") as api:
        path = f"/api/chat/sessions/old:{number:06}/messages"
        answer = await api.post(path, json={"content": "still here"})
        assert answer.status_code == 201, answer.text
        assert answer.json()["seq"] == 1


@pytest.mark.parametrize(("field", "value"), DAMAGE, ids=lambda value: str(value)[:20])
def test_each_damage_is_named(field: str, value: Any) -> None:
    row = {**old_row(1), field: value}
    row = {name: one.encode() if isinstance(one, str) else one for name, one in row.items()}
    problem = session_of(row, 24.0)
    assert isinstance(problem, str)
    assert problem.startswith(f"{field}: ")


def test_an_expired_session_keeps_its_times() -> None:
    row: dict[str, Any] = {
        "session_id": b"x",
        "user_id": 7,
        "created_at": b"2020-01-01 00:00:00",
        "expires_at": b"2020-01-02T00:00:00+09:00",
    }
    found = session_of(row, 24.0)
    assert not isinstance(found, str)
    assert found.user_id == "7"
    assert found.expires_at == datetime(2020, 1, 1, 15, tzinfo=UTC)
    assert found.ttl_hours == 15.0


def test_a_dry_run_changes_nothing(database_url: str, tmp_path: Path) -> None:
    old_store(tmp_path / "old.db", [old_row(n) for n in range(50)] + [{**old_row(50), "user_id": None}])
    done = run(database_url, tmp_path, "--dry-run")
    assert done.returncode == 0
    assert "51 rows: 50 would be imported, 0 already there, 1 that do not fit" in done.stderr
    assert json.loads(done.stdout) == {"row": 51, "session_id": "old:000050", "problem": "user_id: missing"}
    assert asyncio.run(counted(database_url)) == 0


def test_anothers_session_is_not_overwritten(sqlite_url: str, tmp_path: Path) -> None:
    old_store(tmp_path / "old.db", [old_row(1)])
    assert run(sqlite_url, tmp_path).returncode == 0
    (tmp_path / "old.db").unlink()
    old_store(tmp_path / "old.db", [{**old_row(1), "user_id": "mallory"}, old_row(2)])
    done = run(sqlite_url, tmp_path)
    assert "1 imported, 0 already there, 1 that do not fit" in done.stderr
    assert "another user" in done.stdout


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100, None])
def test_what_is_no_store_is_refused(sqlite_url: str, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "old.db").write_bytes(content)
    done = run(sqlite_url, tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "old.db: " in done.stderr
