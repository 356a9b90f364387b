"""`copy-database`: equal values in every row of every table, killed twice, never served half made."""

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

import asyncpg
import pytest

from tests.support.nursery import nursery, run_command
from tests.support.processes import kill_tree
from tests.support.server import Server, environment
from tests.support.services import Postgres

MESSAGES = 16_000
CONTENTS = ("", "plain", "한국어 'quotes' \"and\" \\ slashes", "emoji 🎉\n\ttab", "x" * 300)
TABLES = (
    "agents", "chat_sessions", "chat_messages", "chat_participants", "chat_files", "chat_feedback", "people",
    "revocations", "webhooks", "webhook_cursors", "webhook_events", "webhook_dead",
)  # fmt: skip
PARTS = """[
    {"type": "reasoning", "id": "r", "text": "음 \\n", "provider_metadata": {"signature": "s", "n": 1.0}},
    {"type": "tool", "id": "t", "tool_call_id": "c", "name": "n", "state": "input_streaming", "input": null}
]"""
JSON = ("metadata", "config", "error", "parts", "events", "untold", "data")
#: The error of a webhook's is a text.
REFUSED = "HTTP 422"
NOW = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)


def fill(file: Path) -> None:
    """An installation with everything in it."""
    chance = random.Random(9)
    time = plain(NOW)
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE agents SET name = 'Renamed', avatar_url = NULL WHERE id = 1")
        config = '{"b": 1, "a": 1e17}'
        db.execute("INSERT INTO agents (id, name, kind, config) VALUES (7, 'Seven', 'remote', ?)", (config,))
        sessions = []
        for number in range(1000):
            metadata = {"z": number, "a": [1.0, 0.1, 1e22, None, True, '가\\"\n'], "": {}}
            until = plain(NOW + timedelta(days=400))
            sessions.append(
                (f"s{number}", f"t{number}", f"user{number % 50}", 7 if number % 3 else None, "active",
                 json.dumps(metadata, ensure_ascii=number % 2 == 0), 24.5, time, time, time, until,
                 40, 41, 40, number)
            )  # fmt: skip
        db.executemany(
            "INSERT INTO chat_sessions (session_id, trace_id, user_id, agent_id, status, metadata, ttl_hours,"
            " created_at, updated_at, last_activity, expires_at, last_seq, last_revision, message_count,"
            " request_count) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            sessions,
        )
        messages = []
        for number in range(MESSAGES):
            room, seq = number % 1000, number // 1000 + 1
            content = chance.choice(
                ("", "plain", "한국어 'quotes' \"and\" \\ slashes", "emoji 🎉\n\ttab", "x" * 300)
            )
            messages.append(
                (f"s{room}", f"m{number}", seq, seq, f"c{number}" if number % 2 else None, "user",
                 f"user{room % 50}", "text", "complete", content, '{"k": -0.0}', time,
                 time if number % 11 == 0 else None, number % 11 == 0,
                 '{"code": "X"}' if number % 13 == 0 else None, PARTS if number % 17 == 0 else None)
            )  # fmt: skip
        db.executemany(
            "INSERT INTO chat_messages (session_id, message_id, seq, revision, client_message_id,"
            " sender_type, sender_id, message_type, status, content, metadata, created_at, edited_at,"
            " is_edited, error, parts)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            messages,
        )
        people = [(f"s{n % 1000}", f"User-{n // 1000}_{chr(97 + n % 26)}", time) for n in range(3000)]
        db.executemany(
            "INSERT INTO chat_participants (session_id, user_id, role, read_seq, joined_at)"
            " VALUES (?, ?, 'member', 3, ?)",
            people,
        )
        files = [(f"f{n}", "m1" if n % 2 else None, "이름.png", n, f"/files/f{n}", time) for n in range(50)]
        db.executemany(
            "INSERT INTO chat_files (file_id, session_id, message_id, file_name, file_type, file_size,"
            " file_url, uploaded_by, uploaded_at) VALUES (?, 's1', ?, ?, 'image/png', ?, ?, 'u', ?)",
            files,
        )
        db.execute("UPDATE chat_sessions SET rated = 1 WHERE session_id = 's1'")
        opinions = [
            (f"m{n}", f"user{n % 3}", "up" if n % 2 else "down", "왜" * n or None, time) for n in range(9)
        ]
        db.executemany(
            "INSERT INTO chat_feedback (session_id, message_id, user_id, value, comment, given_at)"
            " VALUES ('s1', ?, ?, ?, ?, ?)",
            opinions,
        )
        known = [("user1", "하나", None, None), ("user2", None, "https://example.com/2.png", time)]
        db.executemany("INSERT INTO people (user_id, name, avatar_url, seen) VALUES (?, ?, ?, ?)", known)
        db.execute("INSERT INTO revocations VALUES ('user49', ?)", (time,))
        told = (
            ("webhooks", "('wh', 's1', 'https://x/', '[\"message\"]', 'w', NULL, NULL, 0, ?, NULL, NULL, ?)"),
            ("webhook_cursors", "('wh', 's1', 3, 3, '[[1, 1]]', 0, 4, ?, 0, NULL, ?)"),
            ("webhook_events", "(5, 's1', 'evt', 'session', 1, 'u', '{\"a\": 1.0}', coalesce(?, ?))"),
            ("webhook_dead", f"(6, 'wh', 's1', 'evt', 'message', 2, 8, '{REFUSED}', coalesce(?, ?))"),
        )  # fmt: skip
        for table, row in told:
            db.execute(f"INSERT INTO {table} VALUES {row}", (time, time))
        db.commit()


def environment_of(folder: Path) -> dict[str, Any]:
    return {"env": environment(), "cwd": folder}


def arguments(source: str, target: str) -> list[str]:
    return ["copy-database", "--from", source, "--to", target]


def copy(source: str, target: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return run_command(arguments(source, target), **environment_of(folder), timeout=100)


def plain(value: Any) -> Any:
    """A value of either driver, for comparing: written without the product's own reading."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    return value


async def rows_of(url: str, table: str) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetch(f"SELECT * FROM {table}")
    finally:
        await connection.close()
    return [{name: plain(value) for name, value in row.items()} for row in found]


def old_rows(file: Path, table: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(file)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(f"SELECT * FROM {table}")]


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """JSON by value, truth by value."""
    out = {}
    for name, value in row.items():
        if name in JSON and value is not None and value != REFUSED:
            value = json.loads(value)
        if name in ("is_edited", "is_active", "rated"):
            value = bool(value)
        out[name] = value
    return out


def key(row: dict[str, Any]) -> str:
    return str(row.get("id") or (row.get("session_id"), row.get("user_id")))


@pytest.fixture
def empty(postgres: Postgres) -> Any:
    name = postgres.create_database()
    yield postgres.url(name), lambda sql: postgres.sql(sql, name)
    postgres.drop_database(name)


@pytest.mark.timeout(120)
async def test_killed_twice_every_row_is_equal(
    sqlite_url: str,
    tmp_path: Path,
    empty: tuple[str, Callable[[str], str]],
    new_server: Callable[..., Server],
) -> None:
    file = tmp_path / "parley.db"
    fill(file)
    target, sql = empty
    for least in (2_000, 6_000):
        log = tmp_path / f"log{least}"
        process = nursery().start(
            arguments(sqlite_url, target), log=log, errors=log, **environment_of(tmp_path)
        )
        async with asyncio.timeout(60):
            while True:
                assert process.poll() is None, log.read_text()
                try:
                    if int(await asyncio.to_thread(sql, "SELECT count(*) FROM chat_messages")) >= least:
                        break
                except subprocess.CalledProcessError:  # not migrated yet
                    continue
        kill_tree(process)
    assert 6_000 <= int(sql("SELECT count(*) FROM chat_messages")) < MESSAGES
    # A half-made copy is not served, and nothing else is copied into it.
    node = Server(tmp_path / "refused", target)
    with pytest.raises(RuntimeError, match="unfinished copy"):
        node.start()
    node.close()
    other = tmp_path / "other.db"
    other.write_bytes(file.read_bytes())
    assert "another database" in copy(f"sqlite:///{other}", target, tmp_path).stderr
    done = copy(sqlite_url, target, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the copy is whole" in done.stdout
    for table in TABLES:
        mine = sorted(map(comparable, old_rows(file, table)), key=key)
        theirs = sorted(map(comparable, await rows_of(target, table)), key=key)
        assert len(mine) == len(theirs), table
        for one, two in zip(mine, theirs, strict=True):
            assert one == two, table
    assert "not empty" in copy(sqlite_url, target, tmp_path).stderr
    server = new_server(target)
    async with server.api("user1") as api:
        answer = await api.post("/api/chat/sessions/s1/messages", json={"content": "goes on"})
        assert answer.status_code == 201, answer.text
        assert answer.json()["seq"] == 41
        created = await api.post("/api/chat/sessions", json={})
        assert created.status_code == 201, created.text
        found = (await api.get("/api/chat/search", params={"q": "quotes", "session_id": "s1"})).json()
        assert found["results"]
    async with server.api("backend", "service") as service:
        agent = await service.post("/api/chat/agents", json={"name": "Next", "kind": "echo"})
        assert agent.json()["id"] == 8, agent.text


def test_a_source_that_changes_meanwhile_is_told(
    sqlite_url: str, tmp_path: Path, empty: tuple[str, Callable[[str], str]]
) -> None:
    target, sql = empty
    assert copy(sqlite_url, target, tmp_path).returncode == 0
    # As if it had been killed before the comparison, and the source been written to since.
    sql("DELETE FROM agents")
    name = "0" * 64
    sql(f"INSERT INTO unfinished_copies VALUES (1, '{name}', now(), '{{}}')")
    assert "another database" in copy(sqlite_url, target, tmp_path).stderr
    import hashlib

    name = hashlib.sha256(sqlite_url.encode()).hexdigest()
    sql(f"UPDATE unfinished_copies SET source = '{name}', progress = '{{\"agents\": true}}'")
    done = copy(sqlite_url, target, tmp_path)
    assert done.returncode == 1
    assert "agents differs: 1 rows here, 0 there" in done.stderr
    assert sql("SELECT count(*) FROM unfinished_copies") == "1"


def test_back_from_postgresql_to_sqlite(postgres_url: str, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/new/back.db"
    done = copy(postgres_url, target, tmp_path)
    assert done.returncode == 0, done.stderr
    assert copy(target, target, tmp_path).returncode == 1
    assert copy(f"sqlite:///{tmp_path}/nothing.db", target, tmp_path).returncode == 1
